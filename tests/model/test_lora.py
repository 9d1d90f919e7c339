"""Adapters: applied, merged and plain."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t2sql.model import factory, lora

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.fixture(scope="module")
def dummy():
    made = factory.LLMModuleFactory(factory.config_for("dummy", "dummy:0", dtype="float32"))
    return made.model, made.load_params()


def _random(adapter):
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) * 0.1, jnp.float32), adapter
    )


def _logits(dummy, params):
    model, _ = dummy
    tokens = jnp.asarray(np.random.default_rng(1).integers(110, 500, (2, 33)))
    return jax.jit(model.apply)({"params": params}, tokens).logits


@pytest.mark.parametrize(
    "targets", [tuple(lora.TARGETS), ("q_einsum", "attn_vec_einsum"), ("gating_einsum",)]
)
def test_merged_equals_applied(dummy, targets):
    _, params = dummy
    adapter = _random(lora.init(params, 3, targets, seed=0))
    with lora.applied(3, targets):
        applied = _logits(dummy, lora.attach(params, adapter))
    merged = _logits(dummy, lora.merge(params, adapter))
    np.testing.assert_allclose(applied, merged, atol=2e-6)
    assert abs(merged - _logits(dummy, params)).max() > 1e-2


def test_a_new_adapter_changes_nothing(dummy):
    _, params = dummy
    adapter = lora.init(params, 4, tuple(lora.TARGETS), seed=0)
    merged = lora.merge(params, adapter)
    jax.tree.map(np.testing.assert_array_equal, merged, params)


def test_every_linear_layer_is_adapted(dummy):
    _, params = dummy
    names = {name.split("/", 1)[1] for name in lora.shapes(params, 2, tuple(lora.TARGETS))}
    assert names == {
        "attn/q_einsum/w",
        "attn/kv_einsum/w",
        "attn/attn_vec_einsum/w",
        "mlp/gating_einsum",
        "mlp/linear",
    }


def test_the_same_seed_gives_the_same_adapter(dummy):
    _, params = dummy
    one, same, other = (lora.init(params, 2, ("linear",), seed) for seed in (0, 0, 1))
    name = "layer_0/mlp/linear"
    np.testing.assert_array_equal(one[name]["a"], same[name]["a"])
    assert abs(one[name]["a"] - other[name]["a"]).max() > 0
    assert abs(one[name]["a"] - one["layer_1/mlp/linear"]["a"]).max() > 0

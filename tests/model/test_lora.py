"""Adapters: applied, merged and plain."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gemma.peft import _einsum_utils

from t2sql.model import factory, linear, lora

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


@pytest.mark.parametrize("name", linear.EQUATIONS)
def test_low_rank_products_and_gradients_are_those_of_einsum(name):
    sizes = {"C": 2, "S": 3, "N": 4, "K": 5, "D": 6, "F": 7, "H": 8, "B": 1, "T": 9}
    of_x, of_weight, _ = linear.axes(linear.EQUATIONS[name])
    equation, *shapes = _einsum_utils.get_lora_einsum_str_and_shapes(
        einsum_str=linear.EQUATIONS[name],
        weights_shape=[sizes[axis] for axis in of_weight],
        rank=2,
    )
    shapes = [[sizes[axis] for axis in of_x.replace("...", "BT")], *shapes]
    draw = np.random.default_rng(0)
    arrays = [jnp.asarray(draw.normal(size=shape), jnp.float32) for shape in shapes]

    def found(product):
        def loss(*arrays):
            out = product(equation, *arrays)
            return jnp.sum(out * jnp.cos(jnp.arange(out.size).reshape(out.shape)))

        return jax.value_and_grad(loss, argnums=(0, 1, 2))(*arrays)

    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4),
        found(lora._low_rank_product),
        found(jnp.einsum),
    )

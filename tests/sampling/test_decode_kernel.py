"""The kernel of a decode step does what XLA's own operations do, and is chosen where it serves."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from t2sql.sampling import attention, decode_kernel, kv_cache, weights

SLOTS, ENTRIES, STEP = 32, 32, 21


@pytest.fixture(scope="module")
def past():
    """Two prefixes side by side, questions of any length, answers with gaps in the ring."""
    draw = np.random.default_rng(0)

    def kv(rows: int, length: int) -> kv_cache.KeysValues:
        empty = kv_cache.init_kv(tiny.MODEL, rows=rows, length=length)
        return jax.tree.map(lambda x: jnp.asarray(draw.normal(size=x.shape), x.dtype), empty)

    starts, prefix_lengths = jnp.repeat(jnp.array([[3, 20], [15, 9]]), SLOTS // 2, axis=1)
    lengths = jnp.asarray(draw.integers(1, 16, SLOTS))
    fed = jnp.where(jnp.asarray(draw.random((SLOTS, ENTRIES)) < 0.4), jnp.arange(ENTRIES), -1)
    fed = fed.at[:, STEP:].set(-1)
    positions = prefix_lengths + lengths + jnp.max(fed, axis=1) + 1
    blocks = [
        kv_cache.prefix_block(kv(1, 40), starts, prefix_lengths),
        kv_cache.suffix_block(kv(SLOTS, 16), prefix_lengths, lengths),
        kv_cache.ring_block(kv(SLOTS, ENTRIES), fed, prefix_lengths + lengths),
    ]
    return blocks, positions


def test_a_step_in_the_kernel_is_a_step_without_it(past):
    blocks, positions = past
    params = weights.arrange(tiny.make_params())
    forward = functools.partial(
        attention.forward,
        tiny.MODEL,
        params,
        jnp.arange(300, 300 + SLOTS)[:, None],
        positions=positions[:, None],
        mask=jnp.ones((SLOTS, 1, 1), bool),
        past=blocks,
    )
    entry = jnp.int32(STEP)
    logits, token = jax.jit(forward)()
    ring = kv_cache.write_ring(blocks[2].kv, token, entry)
    with jax.sharding.use_abstract_mesh(tiny.make_mesh().abstract_mesh):
        ours, written = jax.jit(
            functools.partial(forward, kernel=decode_kernel.INTERPRETED, entry=entry)
        )()
    np.testing.assert_allclose(ours, logits, rtol=1e-4, atol=1e-5)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), written, ring)


@pytest.mark.parametrize(
    ("platform", "heads", "parallel", "rows", "kernel"),
    [
        ("tpu", (4, 1), 1, 64, decode_kernel.TPU),
        ("tpu", (8, 4), 1, 64, ""),  # several key heads
        ("tpu", (4, 1), 2, 64, ""),  # weights in two parts
        ("tpu", (4, 1), 1, 24, ""),  # not as many as a program takes
        ("cpu", (4, 1), 1, 64, ""),
    ],
)
def test_the_kernel_is_for_tpus_and_models_of_one_key_head(platform, heads, parallel, rows, kernel):
    device = types.SimpleNamespace(platform=platform)
    mesh = types.SimpleNamespace(
        shape={"data": 1, "model": parallel}, devices=np.array([[device] * parallel])
    )
    config = types.SimpleNamespace(
        num_heads=heads[0], num_kv_heads=heads[1], head_dim=256, attn_logits_soft_cap=None
    )
    model = types.SimpleNamespace(config=config)
    assert decode_kernel.choose(mesh, model, rows) == kernel

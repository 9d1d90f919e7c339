"""Attention over blocks is pinned to gemma's own, to float32 rounding."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from t2sql.sampling import attention, kv_cache, weights

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.fixture(scope="module", params=[(2, 1), (4, 2), (2, 2)], ids="{0[0]} of {0[1]}".format)
def model(request):
    """With that many heads, of that many key heads."""
    heads, key_heads = request.param
    config = dataclasses.replace(tiny.MODEL.config, num_heads=heads, num_kv_heads=key_heads)
    return tiny.MODEL.clone(config=config)


@pytest.fixture(scope="module")
def params(model):
    return model.init(jax.random.key(0), jnp.ones((1, 4), jnp.int32))["params"]


def _tokens(count: int) -> jnp.ndarray:
    return jnp.array(np.random.default_rng(count).integers(300, 500, (2, count)))


@functools.partial(jax.jit, static_argnums=0)
def _gemma(model, params, tokens):
    length = tokens.shape[1]
    return model.apply(
        {"params": params},
        tokens,
        positions=jnp.broadcast_to(jnp.arange(length), tokens.shape),
        attention_mask=jnp.broadcast_to(
            jnp.tril(jnp.ones((length, length), bool)), (2, length, length)
        ),
    ).logits


@functools.partial(jax.jit, static_argnums=0)
def _arranged(model, params, tokens, start: int, past=()):
    length = tokens.shape[1]
    return attention.forward(
        model,
        params,
        tokens,
        positions=start + jnp.broadcast_to(jnp.arange(length), tokens.shape),
        mask=kv_cache.causal_mask(jnp.full((2,), length), length),
        past=past,
    )


def _ours(model, params, *args):
    return _arranged(model, weights.arrange(params), *args)


def test_without_a_past_it_is_gemmas(model, params):
    tokens = _tokens(40)
    np.testing.assert_allclose(
        _ours(model, params, tokens, 0)[0], _gemma(model, params, tokens), rtol=1e-4, atol=1e-5
    )


def test_a_text_in_three_blocks_is_the_text(model, params):
    """40 tokens, longer than the local layers' window: 22 shared, then 10 and 7 of a slot's own."""
    tokens = _tokens(40)
    tokens = tokens.at[1, :22].set(tokens[0, :22])
    expected = _gemma(model, params, tokens)
    _, prefix = _ours(model, params, tokens[:, :22], 0)
    one = {
        layer: {part: array[:1] for part, array in parts.items()} for layer, parts in prefix.items()
    }
    cache = kv_cache.write_prefix(kv_cache.init_kv(model, rows=1, length=40), one, 9, 22)
    starts, lengths = jnp.array([9, 9]), jnp.array([22, 22])
    _, suffix = _ours(
        model, params, tokens[:, 22:32], 22, [kv_cache.prefix_block(cache, starts, lengths, 10)]
    )
    ring, fed = kv_cache.init_kv(model, rows=2, length=12), jnp.full((2, 12), -1)
    for step in range(8):
        past = [
            kv_cache.prefix_block(cache, starts, lengths),
            kv_cache.suffix_block(suffix, lengths, jnp.array([10, 10])),
            kv_cache.ring_block(ring, fed, jnp.full(2, 32)),
        ]
        logits, token = _ours(model, params, tokens[:, 32 + step : 33 + step], 32 + step, past)
        ring = kv_cache.write_ring(ring, token, jnp.int32(step + 7))
        fed = kv_cache.write_ring(fed, jnp.full((2, 1), step), jnp.int32(step + 7))
        np.testing.assert_allclose(logits[:, 0], expected[:, 32 + step], rtol=1e-4, atol=1e-5)

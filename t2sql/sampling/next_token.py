"""Choosing the next token from the logits: greedy, or drawn with a row's own key."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt32

_BLOCK = 512
_SIGN = np.uint32(1 << 31)  # of a float32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """How a token is chosen. The limits apply in the order temperature, top-k, top-p.

    Attributes:
      temperature: 0 takes the most likely token; above, logits are divided by it.
      top_k: keep the k most likely tokens, and those as likely as the last; 0 keeps all.
      top_p: keep the fewest most likely tokens whose probability reaches p, and those as likely
        as the last (nucleus sampling, Holtzman et al. 2020); 1 keeps all.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0


def choose_tokens(
    logits: Float[Array, "B V"],
    choice: Choice,
    seed: int,
    sample_ids: UInt32[Array, "B"],
    generated: Int[Array, "B"],
    forbidden: Sequence[int] = (),
) -> Int[Array, "B"]:
    """The next token of each row.

    A draw depends on the run's seed, the example and the number of tokens it already
    has, never on the batch, the row or the host.

    Args:
      logits: scores of the whole vocabulary.
      choice: how to choose.
      seed: the run's seed.
      sample_ids: the number of each row's example.
      generated: tokens each row already has.
      forbidden: token ids that are never chosen.

    Returns:
      A token id per row.
    """
    logits = logits.astype(jnp.float32)
    if choice.temperature == 0:
        return _argmax(logits, forbidden)
    logits = _forbid(logits, jnp.arange(logits.shape[-1]), forbidden)
    logits = (logits - logits.max(axis=-1, keepdims=True)) / choice.temperature
    if choice.top_k:
        kth = jax.lax.top_k(logits, min(choice.top_k, logits.shape[-1]))[0][:, -1:]
        logits = jnp.where(logits < kth, -jnp.inf, logits)
    if choice.top_p < 1:
        logits = jnp.where(logits < _nucleus_floor(logits, choice.top_p), -jnp.inf, logits)
    fold_in = jax.vmap(jax.random.fold_in, (0, 0))
    run_keys = jnp.broadcast_to(jax.random.key(seed), sample_ids.shape)
    keys = fold_in(fold_in(run_keys, sample_ids), generated)
    return jax.vmap(_draw)(keys, logits)


def _draw(key: jax.Array, logits: Float[Array, "V"]) -> Int[Array, ""]:
    """A token with the probabilities of the softmax: first its block, then its place there.

    A random number for each of 262,144 tokens takes a CPU longer than all of the model's layers.
    """
    blocks = logits.reshape(-1, math.gcd(len(logits), _BLOCK))
    of_block, inside = jax.random.split(key)
    block = jax.random.categorical(of_block, jax.nn.logsumexp(blocks, axis=-1))
    place = jax.random.categorical(inside, blocks[block])
    return (block * blocks.shape[1] + place).astype(jnp.int32)


def _argmax(logits: Float[Array, "B V"], forbidden: Sequence[int]) -> Int[Array, "B"]:
    """The first of the largest logits that are not forbidden, found block by block.

    `jnp.argmax` keeps an index beside each maximum, which XLA's CPU backend does not
    vectorise: of 262,144 logits it takes 20 times as long as the maximum alone. Masking them
    all would take half as long; so only the blocks with a forbidden id are masked.
    """
    rows, vocab = logits.shape
    size = math.gcd(vocab, _BLOCK)
    blocks = logits.reshape(rows, vocab // size, size)
    maxima = jnp.max(blocks, axis=-1)
    for block in {token // size for token in forbidden}:
        ids = block * size + jnp.arange(size)
        maxima = maxima.at[:, block].set(_forbid(blocks[:, block], ids, forbidden).max(axis=-1))
    best = jnp.argmax(maxima, axis=-1)
    inside = jnp.take_along_axis(blocks, best[:, None, None], axis=1)[:, 0]
    ids = best[:, None] * size + jnp.arange(size)
    inside = _forbid(inside, ids, forbidden)
    return jnp.take_along_axis(ids, jnp.argmax(inside, axis=-1)[:, None], axis=1)[:, 0].astype(
        jnp.int32
    )


def _forbid(logits: jax.Array, ids: jax.Array, forbidden: Sequence[int]) -> jax.Array:
    """The logits of `ids`, those of the forbidden ones at minus infinity."""
    if not forbidden:
        return logits
    return jnp.where(jnp.isin(ids, jnp.asarray(forbidden)), -jnp.inf, logits)


def _nucleus_floor(logits: Float[Array, "B V"], p: float) -> Float[Array, "B 1"]:
    """The lowest logit within the nucleus: the highest that those above it, and it, reach p with.

    Found by halving the range of float32, 32 times: sorting 262,144 logits takes ten times as
    long.
    """
    highest = jnp.max(logits, axis=-1, keepdims=True)
    weights = jnp.exp(logits - highest)
    wanted = p * jnp.sum(weights, axis=-1, keepdims=True)

    def halve(_, bounds):
        low, high = bounds
        middle = low + (high - low) // 2
        above = jnp.sum(jnp.where(logits >= _float_of(middle), weights, 0), axis=-1, keepdims=True)
        enough = above >= wanted
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    lowest = _rank_of(jnp.full_like(highest, -jnp.inf))
    return _float_of(jax.lax.fori_loop(0, 32, halve, (lowest, _rank_of(highest) + 1))[0])


def _rank_of(values: Float[Array, "*S"]) -> UInt32[Array, "*S"]:
    """The place of each float32 among all of them."""
    bits = jax.lax.bitcast_convert_type(values, jnp.uint32)
    return jnp.where(bits >= _SIGN, ~bits, bits + _SIGN)


def _float_of(ranks: UInt32[Array, "*S"]) -> Float[Array, "*S"]:
    bits = jnp.where(ranks >= _SIGN, ranks - _SIGN, ~ranks)
    return jax.lax.bitcast_convert_type(bits, jnp.float32)

"""The next token from the logits: greedy, or drawn with a key of the example's own."""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt32

from t2sql.config import SamplingConfig

_BLOCK = 512
_SIGN = np.uint32(1 << 31)  # of a float32


def next_tokens(
    logits: Float[Array, "B V"],
    config: SamplingConfig,
    sample_ids: UInt32[Array, "B"],
    generated: Int[Array, "B"],
    forbidden: Sequence[int] = (),
) -> Int[Array, "B"]:
    """The next token of each row.

    Temperature, top-k and top-p apply in this order. Tokens as likely as the last one that top-k or
    top-p keeps are kept too. A draw depends on the run's seed, the example and the number of tokens
    its answer already has, never on the batch, the row or the host.

    Args:
      logits: scores of the whole vocabulary.
      config: temperature, top-k, top-p and seed.
      sample_ids: the number of each row's example.
      generated: tokens each row already has.
      forbidden: token ids that are never chosen.

    Returns:
      A token id per row.
    """
    logits = logits.astype(jnp.float32)
    if config.temperature == 0:
        return _argmax(logits, forbidden)
    keys = _keys(config.seed, sample_ids, generated)
    return jax.vmap(_draw)(keys, _kept(logits, config, forbidden))


def sample_tokens(
    logits: Float[Array, "B V"],
    config: SamplingConfig,
    sample_ids: UInt32[Array, "B"],
    generated: Int[Array, "B"],
    forbidden: Sequence[int] = (),
) -> Int[Array, "B S"]:
    """The next token of each of a prompt's `config.samples` answers, which are one so far.

    Answer 0 is that of a run with one answer where that is greedy or there are no others; with
    others it is greedy. The keys of the others know their number too.

    Args: as `next_tokens`.
    """
    if config.samples == 1:
        return next_tokens(logits, config, sample_ids, generated, forbidden)[:, None]
    logits = logits.astype(jnp.float32)
    keys = _keys(config.seed, sample_ids, generated)
    numbers = jnp.arange(1, config.samples)
    keys = jax.vmap(lambda key: jax.vmap(functools.partial(jax.random.fold_in, key))(numbers))(keys)
    drawn = jax.vmap(_draw_several)(keys, _kept(logits, config, forbidden))
    return jnp.concatenate([_argmax(logits, forbidden)[:, None], drawn], axis=1)


def _keys(seed: int, sample_ids: UInt32[Array, "B"], generated: Int[Array, "B"]) -> jax.Array:
    fold_in = jax.vmap(jax.random.fold_in, (0, 0))
    run_keys = jnp.broadcast_to(jax.random.key(seed), sample_ids.shape)
    return fold_in(fold_in(run_keys, sample_ids), generated)


def _kept(
    logits: Float[Array, "B V"], config: SamplingConfig, forbidden: Sequence[int]
) -> Float[Array, "B V"]:
    """The logits at the run's temperature; minus infinity for tokens that are not drawn."""
    logits = _forbid(logits, jnp.arange(logits.shape[-1]), forbidden)
    logits = (logits - logits.max(axis=-1, keepdims=True)) / config.temperature
    if config.top_k:
        kth = jax.lax.top_k(logits, min(config.top_k, logits.shape[-1]))[0][:, -1:]
        logits = jnp.where(logits < kth, -jnp.inf, logits)
    if config.top_p < 1:
        logits = jnp.where(logits < _nucleus_floor(logits, config.top_p), -jnp.inf, logits)
    return logits


def _draw(key: jax.Array, logits: Float[Array, "V"]) -> Int[Array, ""]:
    """A token drawn from the softmax: first its block of the vocabulary, then its place in it.

    A random number for each of 262,144 tokens takes a CPU longer than all of the model's layers.
    """
    blocks = logits.reshape(-1, math.gcd(len(logits), _BLOCK))
    of_block, inside = jax.random.split(key)
    block = jax.random.categorical(of_block, jax.nn.logsumexp(blocks, axis=-1))
    offset = jax.random.categorical(inside, blocks[block])
    return (block * blocks.shape[1] + offset).astype(jnp.int32)


def _draw_several(keys: jax.Array, logits: Float[Array, "V"]) -> Int[Array, "S"]:
    """A token for each key, from logits of which the largest is 0.

    Here every 512th token is of one block: a CPU sums over the first axis seven times as fast as
    over the last one. (`_draw` has other blocks, and its draws stay what they were.)
    """
    blocks = logits.reshape(-1, math.gcd(len(logits), _BLOCK))
    of_blocks = jnp.log(jnp.sum(jnp.exp(blocks), axis=0))

    def draw(key: jax.Array) -> Int[Array, ""]:
        of_block, inside = jax.random.split(key)
        block = jax.random.categorical(of_block, of_blocks)
        place = jax.random.categorical(inside, blocks[:, block])
        return (place * blocks.shape[1] + block).astype(jnp.int32)

    return jax.vmap(draw)(keys)


def _argmax(logits: Float[Array, "B V"], forbidden: Sequence[int]) -> Int[Array, "B"]:
    """The first of the largest logits that are not forbidden."""
    return jax.lax.platform_dependent(
        logits,
        cpu=functools.partial(_argmax_by_blocks, forbidden=forbidden),
        default=functools.partial(_argmax_of_all, forbidden=forbidden),
    )


def _argmax_of_all(logits: Float[Array, "B V"], *, forbidden: Sequence[int]) -> Int[Array, "B"]:
    ids = jnp.arange(logits.shape[-1])
    return jnp.argmax(_forbid(logits, ids, forbidden), axis=-1).astype(jnp.int32)


def _argmax_by_blocks(logits: Float[Array, "B V"], *, forbidden: Sequence[int]) -> Int[Array, "B"]:
    """CPU only: on a TPU its blocks are copies of all logits.

    `jnp.argmax` keeps an index beside each maximum, which XLA's CPU backend does not vectorise:
    over 262,144 logits it takes 20 times as long as the maximum alone. Masking all of them would
    take half as long as that, so only the blocks with a forbidden id are masked.
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
    """The logits of `ids`, with the forbidden ones at minus infinity."""
    if not forbidden:
        return logits
    return jnp.where(jnp.isin(ids, jnp.asarray(forbidden)), -jnp.inf, logits)


def _nucleus_floor(logits: Float[Array, "B V"], p: float) -> Float[Array, "B 1"]:
    """The smallest logit that top-p keeps: the tokens at or above it hold probability p.

    Nucleus sampling (Holtzman et al. 2020). Found by halving the range of float32, 32 times:
    sorting 262,144 logits takes ten times as long.
    """
    highest = jnp.max(logits, axis=-1, keepdims=True)
    weights = jnp.exp(logits - highest)
    needed = p * jnp.sum(weights, axis=-1, keepdims=True)

    def halve(_, bounds):
        low, high = bounds
        middle = low + (high - low) // 2
        above = jnp.sum(jnp.where(logits >= _float_of(middle), weights, 0), axis=-1, keepdims=True)
        enough = above >= needed
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    lowest = _rank_of(jnp.full_like(highest, -jnp.inf))
    return _float_of(jax.lax.fori_loop(0, 32, halve, (lowest, _rank_of(highest) + 1))[0])


def _rank_of(values: Float[Array, "*S"]) -> UInt32[Array, "*S"]:
    """The rank of each float32 among all float32 values."""
    bits = jax.lax.bitcast_convert_type(values, jnp.uint32)
    return jnp.where(bits >= _SIGN, ~bits, bits + _SIGN)


def _float_of(ranks: UInt32[Array, "*S"]) -> Float[Array, "*S"]:
    bits = jnp.where(ranks >= _SIGN, ranks - _SIGN, ~ranks)
    return jax.lax.bitcast_convert_type(bits, jnp.float32)

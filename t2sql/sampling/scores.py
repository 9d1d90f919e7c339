"""How likely the tokens of an answer were: log-probabilities, on the device and on the host.

The model's own distribution is the softmax of its logits over the whole vocabulary, at temperature
1. Under a constraint the tokens that the guide refuses have none of the probability, and the others
all of it. For a token that was drawn from a mask this is exact. The model's own tokens are kept
without a mask (`constrained.py`); for these the host asks the guide for the few most likely tokens:
what it refuses of them is taken off, and what less likely ones it would refuse have is not.
"""

import math
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

# Tokens that the guide is asked for, and the probability below which it is not asked.
TOP = 8
_LEAST = math.log(1e-4)
_BLOCK = 512


@flax.struct.dataclass
class Draws:
    """What a block of up to K steps has drawn for a prompt's S answers, with log-probabilities.

    Attributes:
      tokens: of each answer, as if it had the tokens of the one that leads.
      logprobs: of these, by the model's own distribution.
      log_allowed: of all tokens of the mask together, where the tokens were drawn from one; else 0.
      top_tokens: the M most likely tokens; M is 0 without a constraint.
      top_logprobs: of these.
    """

    tokens: Int[Array, "B K S"]
    logprobs: Float[Array, "B K S"]
    log_allowed: Float[Array, "B K"]
    top_tokens: Int[Array, "B K M"]
    top_logprobs: Float[Array, "B K M"]

    @classmethod
    def none(cls, rows: int, steps: int, samples: int, top: int) -> "Draws":
        """Draws of no step yet."""
        return cls(
            tokens=jnp.zeros((rows, steps, samples), jnp.int32),
            logprobs=jnp.zeros((rows, steps, samples), jnp.float32),
            log_allowed=jnp.zeros((rows, steps), jnp.float32),
            top_tokens=jnp.zeros((rows, steps, top), jnp.int32),
            top_logprobs=jnp.zeros((rows, steps, top), jnp.float32),
        )

    def write(self, draws: "Draws", step: Int[Array, ""]) -> "Draws":
        """With one more step, which has K = 1."""

        def write(old: jax.Array, new: jax.Array) -> jax.Array:
            return jax.lax.dynamic_update_slice_in_dim(old, new, step, axis=1)

        return jax.tree.map(write, self, draws)


def score(
    logits: Float[Array, "B V"],
    tokens: Int[Array, "B S"],
    log_allowed: Float[Array, "B"],
    top: int,
) -> Draws:
    """A step's draws, with K = 1."""
    logits = logits.astype(jnp.float32)
    total = log_total(logits)[:, None]
    top_tokens, top_logits = top_tokens_of(logits, top)
    step = Draws(
        tokens=tokens,
        logprobs=jnp.take_along_axis(logits, tokens, axis=1) - total,
        log_allowed=log_allowed,
        top_tokens=top_tokens,
        top_logprobs=top_logits - total,
    )
    return jax.tree.map(lambda x: x[:, None], step)


def log_total(logits: Float[Array, "B V"]) -> Float[Array, "B"]:
    """The logarithm of the sum of exp(logits).

    Summed over blocks first: a CPU adds over an axis in the middle twice as fast as over the last.
    """
    logits = logits.astype(jnp.float32)
    highest = jnp.max(logits, axis=-1, keepdims=True)
    blocks = (logits - highest).reshape(len(logits), -1, math.gcd(logits.shape[1], _BLOCK))
    return jnp.log(jnp.sum(jnp.exp(blocks), axis=(1, 2))) + highest[:, 0]


def top_tokens_of(
    logits: Float[Array, "B V"], count: int
) -> tuple[Int[Array, "B M"], Float[Array, "B M"]]:
    """The most likely tokens and their logits, the likeliest first.

    They lie in the blocks with the largest maxima: sorting all logits takes a CPU far longer.
    """
    rows, vocab = logits.shape
    size = math.gcd(vocab, _BLOCK)
    blocks = logits.reshape(rows, -1, size)
    _, places = jax.lax.top_k(blocks.max(axis=-1), min(count, blocks.shape[1]))
    ids = (places[:, :, None] * size + jnp.arange(size)).reshape(rows, -1)
    candidates = jnp.take_along_axis(blocks, places[:, :, None], axis=1).reshape(rows, -1)
    best, order = jax.lax.top_k(candidates, min(count, candidates.shape[1]))
    return jnp.take_along_axis(ids, order, axis=1).astype(jnp.int32), best


class StepDraws(NamedTuple):
    """One slot's draws at one step, on the host.

    Attributes:
      tokens: of each answer.
      logprobs: of these, by the model's own distribution.
      log_allowed: of the mask that they were drawn from; 0 without.
      top_tokens: the most likely tokens.
      top_logprobs: of these.
    """

    tokens: list[int]
    logprobs: list[float]
    log_allowed: float
    top_tokens: list[int]
    top_logprobs: list[float]


def steps_of(draws: Draws, slot: int, count: int) -> list[StepDraws]:
    """The first `count` steps of a slot; `draws` is of NumPy arrays."""
    columns = (np.asarray(getattr(draws, name))[slot, :count] for name in StepDraws._fields)
    return [StepDraws(*step) for step in zip(*(column.tolist() for column in columns), strict=True)]


def log_allowed(step: StepDraws, allows) -> float:
    """The logarithm of the probability that the model gives to the tokens that a guide allows.

    Args:
      step: with the most likely tokens.
      allows: whether the guide allows a token; asked for those above a ten-thousandth.
    """
    refused = sum(
        math.exp(logprob)
        for token, logprob in zip(step.top_tokens, step.top_logprobs, strict=True)
        if logprob > _LEAST and not allows(token)
    )
    return math.log1p(-min(refused, 1 - 1e-6))

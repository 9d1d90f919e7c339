"""The state of a decoding batch, on the device: what its slots were asked, and how far they are."""

import functools

import flax.struct
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Int, UInt32

from t2sql.sampling import kv_cache, scores


@flax.struct.dataclass
class Slots:
    """What the slots of a batch were asked: constant while they decode.

    Attributes:
      suffix: keys and values of the prompts' own parts, [B S K H] per layer.
      lengths: tokens in each own part.
      prefix_starts: where the prompt's prefix begins in the prefix cache.
      prefix_lengths: tokens in the prefix; 0 for a prompt that shares nothing.
      limits: tokens of the longest answer it may get, N at most.
      sample_ids: the example's number, from which its sampling key derives.
    """

    suffix: kv_cache.KeysValues
    lengths: Int[Array, "B"]
    prefix_starts: Int[Array, "B"]
    prefix_lengths: Int[Array, "B"]
    limits: Int[Array, "B"]
    sample_ids: UInt32[Array, "B"]

    @property
    def prompt_lengths(self) -> Int[Array, "B"]:
        """Tokens of the prompts, but for the last one of each: it is decoded."""
        return self.prefix_lengths + self.lengths


@flax.struct.dataclass
class DecodeState:
    """How far the slots of a batch have come: what the decode loop carries.

    Attributes:
      step: decode steps since the batch began; picks the entry of the ring.
      ring: keys and values of the tokens fed, [B N K H] per layer.
      fed: which of its tokens each slot has in an entry of the ring: `generated` when it was fed;
        -1 for none.
      last_token: the newest token, not yet fed; at first the prompt's last.
      generated: tokens sampled so far.
      leader: the number of the answer that the slot goes on with, among its prompt's.
      done: slots that need no further token: finished, stopped, or empty.
    """

    step: Int[Array, ""]
    ring: kv_cache.KeysValues
    fed: Int[Array, "B N"]
    last_token: Int[Array, "B"]
    generated: Int[Array, "B"]
    leader: Int[Array, "B"]
    done: Bool[Array, "B"]


@flax.struct.dataclass
class Decoded:
    """What a block of up to K decode steps has written.

    Attributes:
      steps: taken.
      counts: tokens of each slot.
      tokens: of each slot, from the first step on.
      draws: of each slot, for all answers to its prompt; None where they are not scored.
    """

    steps: Int[Array, ""]
    counts: Int[Array, "B"]
    tokens: Int[Array, "B K"]
    draws: scores.Draws | None = None


@flax.struct.dataclass
class Prompts:
    """Up to R prompts to insert, besides their keys and values.

    Attributes:
      slots: the slot of the batch that each goes to; B (out of range) for an unused entry.
      lengths: tokens prefilled of its own part, all but the last one.
      last_token: its last token.
      prefix_starts: as in `Slots`.
      prefix_lengths: as in `Slots`.
      limits: as in `Slots`.
      sample_ids: as in `Slots`.
    """

    slots: Int[Array, "R"]
    lengths: Int[Array, "R"]
    last_token: Int[Array, "R"]
    prefix_starts: Int[Array, "R"]
    prefix_lengths: Int[Array, "R"]
    limits: Int[Array, "R"]
    sample_ids: UInt32[Array, "R"]


def init(
    model: nn.Module, batch_size: int, shape: kv_cache.CacheShape, spare: int
) -> tuple[kv_cache.KeysValues, Slots, DecodeState]:
    """An empty prefix cache, and a batch of empty slots: all done, so that none holds up a loop.

    Args:
      model: gemma's transformer.
      batch_size: B.
      shape: of the cache.
      spare: entries of the ring beyond the longest answer's.
    """
    kv = functools.partial(kv_cache.init_kv, model)
    zeros = jnp.zeros((batch_size,), jnp.int32)
    slots = Slots(
        suffix=kv(rows=batch_size, length=shape.suffix),
        lengths=zeros,
        prefix_starts=zeros,
        prefix_lengths=zeros,
        limits=zeros,
        sample_ids=zeros.astype(jnp.uint32),
    )
    state = DecodeState(
        step=jnp.int32(0),
        ring=kv(rows=batch_size, length=shape.new + spare),
        fed=jnp.full((batch_size, shape.new + spare), -1, jnp.int32),
        last_token=zeros,
        generated=zeros,
        leader=zeros,
        done=jnp.ones((batch_size,), bool),
    )
    return kv(rows=1, length=shape.prefix), slots, state


def grow(
    prefix_cache: kv_cache.KeysValues, slots: Slots, shape: kv_cache.CacheShape
) -> tuple[kv_cache.KeysValues, Slots]:
    """The prompts in a larger cache: answers that are on their way go on in it."""
    suffix = kv_cache.grow(slots.suffix, shape.suffix)
    return kv_cache.grow(prefix_cache, shape.prefix), slots.replace(suffix=suffix)

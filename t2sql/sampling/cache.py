"""The KV cache of a decoding batch: its layout, and the masks that read it.

Every row of a batch has the same slots, whatever its prompt:

    slot   0                  P                P+S                   P+S+N
           |------ prefix ----|---- suffix ----|------ new tokens ---|
    row 0  | s s s s s s . .  | q q q q . . .  | d e . . . . a b c   |
    row 1  | s s s s s s . .  | q q . . . . .  | . e f . . . . . .   |
    row 2  | t t t t . . . .  | q q q q q q .  | d e f . . a b c     |
                                                       ^ step % N

*   `prefix` holds what the prompts of a group share (the schema), computed once
    for the group and copied into the rows.
*   `suffix` holds what is a prompt's own (the question).
*   `new tokens` is a ring: all rows write to the same slot at a step, so a row
    that starts late (a finished row's place is given to the next prompt) just
    starts at another point of the ring. No answer is longer than the ring.

A slot's place says nothing of order: order is the token's position in its own
text (`positions`), which RoPE and the sliding window of gemma's local layers read.
Unused slots (`.`) are masked.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Int

Cache = dict[str, dict[str, jax.Array]]


@dataclasses.dataclass(frozen=True, order=True)
class CacheShape:
    """The static sizes of a cache, in slots.

    Attributes:
      prefix: P, slots for the shared part of the prompt.
      suffix: S, slots for the prompt's own part.
      new: N, slots for new tokens, the longest answer.
    """

    prefix: int
    suffix: int
    new: int

    @property
    def prompt(self) -> int:
        return self.prefix + self.suffix

    @property
    def total(self) -> int:
        return self.prompt + self.new


def init_cache(model: nn.Module, *, rows: int, slots: int) -> Cache:
    """An empty cache in gemma's own structure, of the dtype of `model`."""
    return model.config.init_cache(rows, dtype=model.dtype, cache_length=slots)


def at_slot(cache: Cache, slot: Int[Array, ""] | int) -> Cache:
    """The same cache; gemma's attention will write its next tokens from `slot` on."""
    return {
        name: layer | {"end_index": jnp.full_like(layer["end_index"], slot)}
        for name, layer in cache.items()
    }


def with_prefix(prefix: Cache, *, rows: int, suffix: int) -> Cache:
    """Copies a one-row prefix [1 P] into `rows` rows [rows P+suffix], the rest empty."""

    def widen(x: jax.Array) -> jax.Array:
        shape = (rows, *x.shape[1:])
        padding = ((0, 0), (0, suffix)) + ((0, 0),) * (x.ndim - 2)
        return jnp.pad(jnp.broadcast_to(x, shape), padding)

    return {
        name: {key: widen(layer[key]) for key in ("k", "v", "positions")}
        | {"end_index": jnp.full((rows,), layer["k"].shape[1], jnp.int32)}
        for name, layer in prefix.items()
    }


def insert_rows(cache: Cache, prompts: Cache, rows: Int[Array, "R"]) -> Cache:
    """Writes prompts [R P+S] over the rows `rows` of a batch; a row out of range is dropped."""
    slots = next(iter(prompts.values()))["k"].shape[1]
    return {
        name: layer
        | {
            key: layer[key].at[rows, :slots].set(prompts[name][key], mode="drop")
            for key in ("k", "v", "positions")
        }
        for name, layer in cache.items()
    }


def prefix_mask(length: Int[Array, ""], slots: int) -> Bool[Array, "1 P P"]:
    """Causal attention among the prefix's own tokens."""
    slot = jnp.arange(slots)
    return ((slot[None, :] <= slot[:, None]) & (slot < length))[None]


def suffix_mask(
    prefix_length: Int[Array, ""], lengths: Int[Array, "R"], shape: CacheShape
) -> Bool[Array, "R S P+S"]:
    """Suffix tokens see the whole prefix and, causally, their own row's suffix."""
    slot = jnp.arange(shape.suffix)
    causal = (slot[None, :] <= slot[:, None])[None] & (slot < lengths[:, None])[:, None, :]
    prefix = jnp.arange(shape.prefix) < prefix_length
    prefix = jnp.broadcast_to(prefix, (*causal.shape[:2], shape.prefix))
    return jnp.concatenate([prefix, causal], axis=-1)


def prompt_slots(
    prefix_length: Int[Array, ""], lengths: Int[Array, "R"], shape: CacheShape
) -> Bool[Array, "R P+S"]:
    """Which prompt slots of each row hold a token."""
    prefix = jnp.arange(shape.prefix) < prefix_length
    prefix = jnp.broadcast_to(prefix, (len(lengths), shape.prefix))
    suffix = jnp.arange(shape.suffix) < lengths[:, None]
    return jnp.concatenate([prefix, suffix], axis=-1)


def ring_slots(step: Int[Array, ""], generated: Int[Array, "B"], new: int) -> Bool[Array, "B N"]:
    """Which ring slots hold a row's own tokens while its newest is written at `step`.

    A slot written `age` steps ago belongs to the row if the row had begun by then.
    """
    age = (step - jnp.arange(new)) % new
    return age < generated[:, None]

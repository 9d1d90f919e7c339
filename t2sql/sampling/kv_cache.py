"""The KV cache of a decoding batch: its layout, and who may attend to what.

The batch keeps keys and values in three blocks. What prompts share (the schema) is stored once,
in the prefix cache, side by side with what others share. A prompt's own part (the question) and
its answer's tokens are stored per slot of the batch:

    prefix cache (T)                     suffix (B, S)           ring (B, N)
    | s s s s s s t t t t u u u . . |    slot 0 | q q q q . |    | d e . . a b c |
      ^ 0         ^ 6     ^ 10           slot 1 | q q . . . |    | . c . . a x b |
                                         slot 2 | q q q q q |    | d e f . . a b |
                                                                     ^ step % N

*   A slot knows where in the prefix cache its prompt begins, and how long that part is. As many
    groups of prompts as there is room for are answered side by side; a span is free once no slot
    reads it.
*   The ring holds the tokens that decoding has fed: the prompt's last token, and the answer's but
    for the newest. All slots write to the same entry at a step, in place: on a TPU entries of their
    own would be written one slot after another. `fed` says which of its tokens each slot has in an
    entry, or none: a slot may start at any step, and one that is put back (constrained decoding)
    gives up entries (`x`). It has then used up more of the ring than it has tokens; `compact` makes
    room.

RoPE and the window of gemma's local layers read a token's position in its own text: the entry less
the span's start in the prefix cache, the prefix's length + s in the suffix, and the prompt's length
- 1 + n for the answer's token n. Unused entries (`.`) are masked.

The prefix cache and the suffixes only change when prompts are inserted, so the decode loop
carries nothing but the ring.
"""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Int

# Keys and values by layer: {"layer_0": {"k": [B T K H], "v": [B T K H]}, ...}
KeysValues = dict[str, dict[str, jax.Array]]
# The prefix cache holds at least this many tokens, and two prefixes of the longest length. Small
# runs over many schemas take half the steps that they take where three schemas have room
# (docs/speed.md); a step of 32 slots takes 8 % longer for 512 tokens more.
_PREFIX_CACHE = 1024
_PREFIX_CACHE_STEP = 512
# A larger batch answers over more schemas at a time: for each 64 slots as much again, up to this.
# With 256 slots and dev's 20 schemas it takes a third of the steps.
_SLOTS = 64
_LARGEST_BY_SLOTS = 4096


@dataclasses.dataclass(frozen=True, order=True)
class CacheShape:
    """The static sizes of a cache, in tokens.

    Attributes:
      prefix: T, for what prompts share.
      suffix: S, for a prompt's own part.
      new: N, for new tokens: the longest answer.
    """

    prefix: int
    suffix: int
    new: int

    def union(self, other: "CacheShape") -> "CacheShape":
        """The smallest shape that holds both."""
        return CacheShape(*map(max, dataclasses.astuple(self), dataclasses.astuple(other)))


def prefix_cache_size(prefix: int, slots: int = 0) -> int:
    """Tokens of a prefix cache for prefixes of at most this length, in a batch of so many slots."""
    by_slots = min(slots // _SLOTS * _PREFIX_CACHE, _LARGEST_BY_SLOTS)
    by_length = -(-2 * prefix // _PREFIX_CACHE_STEP) * _PREFIX_CACHE_STEP
    return max(_PREFIX_CACHE, by_slots, by_length)


@flax.struct.dataclass
class Block:
    """Keys and values that came before the tokens at hand, as these see them.

    Attributes:
      kv: keys and values; of shape [1 T K H] where `shared`, else [B T K H].
      mask: which of them each query token sees, [B L T].
      positions: each key's position in its text, [B T].
      shared: whether all slots read the same keys.
    """

    kv: KeysValues
    mask: Bool[Array, "B L T"]
    positions: Int[Array, "B T"]
    shared: bool = flax.struct.field(pytree_node=False, default=False)

    def take_rows(self, rows: Int[Array, "R"]) -> "Block":
        """The block as these slots alone see it."""
        return self.replace(
            kv=self.kv if self.shared else take_rows(self.kv, rows),
            mask=take_rows(self.mask, rows),
            positions=take_rows(self.positions, rows),
        )


def init_kv(model: nn.Module, *, rows: int, length: int) -> KeysValues:
    """Empty keys and values of the dtype of `model`."""
    config = model.config
    shape = (rows, length, config.num_kv_heads, config.head_dim)
    return {
        f"layer_{layer}": {part: jnp.zeros(shape, model.dtype) for part in ("k", "v")}
        for layer in range(config.num_layers)
    }


def length_of(kv: KeysValues) -> int:
    """T, for keys and values of shape [B T K H] per layer."""
    return next(iter(kv.values()))["k"].shape[1]


def grow(kv: KeysValues, length: int) -> KeysValues:
    """Keys and values padded at the end to this length."""

    def pad(array: jax.Array) -> jax.Array:
        return jnp.pad(array, ((0, 0), (0, length - array.shape[1]), (0, 0), (0, 0)))

    return jax.tree.map(pad, kv)


def prefix_block(
    kv: KeysValues, starts: Int[Array, "B"], lengths: Int[Array, "B"], queries: int = 1
) -> Block:
    """The prefix cache as `queries` later tokens of each slot see it: its own span, no other."""
    entries = jnp.arange(length_of(kv))
    positions = entries - starts[:, None]
    mask = (positions >= 0) & (positions < lengths[:, None])
    mask = jnp.broadcast_to(mask[:, None], (len(starts), queries, len(entries)))
    return Block(kv=kv, mask=mask, positions=positions, shared=True)


def suffix_block(
    kv: KeysValues, prefix_lengths: Int[Array, "B"], lengths: Int[Array, "B"]
) -> Block:
    """The prompts' own parts, as one later token of each slot sees them: whole."""
    entries = jnp.arange(length_of(kv))
    return Block(
        kv=kv,
        mask=(entries < lengths[:, None])[:, None],
        positions=prefix_lengths[:, None] + entries,
    )


def ring_block(kv: KeysValues, fed: Int[Array, "B N"], prompt_lengths: Int[Array, "B"]) -> Block:
    """The answers so far, as the newest token of each slot sees them."""
    return Block(kv=kv, mask=(fed >= 0)[:, None], positions=prompt_lengths[:, None] + fed)


def write_prefix(
    kv: KeysValues, prefix: KeysValues, start: Int[Array, ""], length: Int[Array, ""]
) -> KeysValues:
    """The prefix cache with a prefix, [1 P K H], written from `start` on, without its padding."""
    offsets = jnp.arange(length_of(prefix))

    def write(cache: jax.Array, part: jax.Array) -> jax.Array:
        entries = jnp.where(offsets < length, start + offsets, cache.shape[1])
        return cache.at[0, entries].set(part[0], mode="drop")

    return jax.tree.map(write, kv, prefix)


def write_ring[Tree](ring: Tree, new: Tree, step: Int[Array, ""]) -> Tree:
    """Arrays [B N ...] with one more token of every slot, [B 1 ...], in the entry of `step`."""

    def write(old: jax.Array, token: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_slice_in_dim(old, token, step % old.shape[1], axis=1)

    return jax.tree.map(write, ring, new)


def compact(
    kv: KeysValues, fed: Int[Array, "B N"], step: Int[Array, ""]
) -> tuple[KeysValues, Int[Array, "B N"]]:
    """Moves each slot's tokens together, to the entries just before that of `step`."""
    length = fed.shape[1]
    count = jnp.sum(fed >= 0, axis=1, keepdims=True)
    by_token = jnp.argsort(jnp.where(fed < 0, length, fed), axis=1)
    token = (jnp.arange(length) - step + count) % length
    source = jnp.take_along_axis(by_token, token, axis=1)
    kv = jax.tree.map(lambda x: jnp.take_along_axis(x, source[:, :, None, None], axis=1), kv)
    return kv, jnp.where(token < count, token, -1)


def write_rows[Tree](old: Tree, new: Tree, rows: Int[Array, "R"]) -> Tree:
    """Arrays with `new` in the rows (axis 0) named; a row out of range is dropped."""
    return jax.tree.map(lambda array, part: array.at[rows].set(part, mode="drop"), old, new)


def take_rows[Tree](arrays: Tree, rows: Int[Array, "R"]) -> Tree:
    """The rows (axis 0) named, the last one for a row out of range; scalars as they are."""
    return jax.tree.map(lambda x: x.at[rows].get(mode="clip") if x.ndim else x, arrays)


def causal_mask(lengths: Int[Array, "R"], length: int) -> Bool[Array, "R L L"]:
    """Tokens of one text see the tokens before them and themselves, and no padding."""
    index = jnp.arange(length)
    return (index[None, :] <= index[:, None])[None] & (index < lengths[:, None])[:, None, :]

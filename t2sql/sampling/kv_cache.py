"""The KV cache of a decoding batch: its layout, and who may attend to what.

The batch keeps keys and values in three blocks. A prompt's shared beginning (the schema) is
stored once, on a shelf beside those of other prompts; its own part (the question) and its new
tokens are stored per row:

    shelf (T slots)                     suffix (B, S slots)    ring (B, N slots)
    | s s s s s s t t t t u u u . . |   row 0 | q q q q . |    | d e . . a b c |
      ^ 0         ^ 6     ^ 10          row 1 | q q . . . |    | . e f . . . . |
                                        row 2 | q q q q q |    | d e f . . a b |
                                                                    ^ step % N

*   A row knows where on the shelf its prompt begins, and how long that part is. As many groups
    of prompts as there is room for go on side by side; a stretch is free once no row reads it.
*   The ring holds what was fed in decoding: a prompt's last token, and the answer's but for the
    newest. All rows write to the same slot at a step, so a row that starts late (in the place
    of a finished one) just starts at another slot. No answer is longer than the ring.

A slot's place says nothing of order. Order is the token's position in its own text,
which RoPE and the window of gemma's local layers read: the slot less the first one of its
stretch on the shelf, the prefix's length + s in the suffix, and the newest position less the
slot's age in the ring. Unused slots (`.`) are masked.

Shelf and suffixes only change when prompts are inserted, so the decode loop carries
nothing but the ring.
"""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Int

# Keys and values by layer: {"layer_0": {"k": [rows slots K H], "v": same}, ...}
KeysValues = dict[str, dict[str, jax.Array]]
# The shelf holds at least this many slots, and two prefixes of the longest length. Small runs over
# many schemas take half the steps of those where three schemas have room (docs/speed.md); a step of
# 32 rows takes 8 % longer for 512 slots more.
_SHELF = 1024
_SHELF_STEP = 512


@dataclasses.dataclass(frozen=True, order=True)
class CacheShape:
    """The static sizes of a cache, in slots.

    Attributes:
      shelf: T, slots for the shared parts of prompts.
      suffix: S, slots for a prompt's own part.
      new: N, slots for new tokens, the longest answer.
    """

    shelf: int
    suffix: int
    new: int

    def union(self, other: "CacheShape") -> "CacheShape":
        """The smallest shape that holds both."""
        return CacheShape(*map(max, dataclasses.astuple(self), dataclasses.astuple(other)))


def shelf_slots(prefix: int) -> int:
    """Slots of a shelf for prefixes of at most this length."""
    return max(_SHELF, -(-2 * prefix // _SHELF_STEP) * _SHELF_STEP)


@flax.struct.dataclass
class Block:
    """Keys and values that came before the tokens at hand, as these see them.

    Attributes:
      kv: keys and values; of shape [1 T K H] where `shared`, else [B T K H].
      mask: which of them each query token sees, [B L T].
      positions: each key's position in its text, [B T].
      shared: whether all rows read the same keys.
    """

    kv: KeysValues
    mask: Bool[Array, "B L T"]
    positions: Int[Array, "B T"]
    shared: bool = flax.struct.field(pytree_node=False, default=False)

    def take_rows(self, rows: Int[Array, "R"]) -> "Block":
        """The same for some rows alone."""
        return self.replace(
            kv=self.kv if self.shared else take_rows(self.kv, rows),
            mask=take_rows(self.mask, rows),
            positions=take_rows(self.positions, rows),
        )


def init_kv(model: nn.Module, *, rows: int, slots: int) -> KeysValues:
    """Empty keys and values of the dtype of `model`."""
    config = model.config
    shape = (rows, slots, config.num_kv_heads, config.head_dim)
    return {
        f"layer_{layer}": {part: jnp.zeros(shape, model.dtype) for part in ("k", "v")}
        for layer in range(config.num_layers)
    }


def slots_of(kv: KeysValues) -> int:
    """T, for keys and values of shape [R T K H] per layer."""
    return next(iter(kv.values()))["k"].shape[1]


def grow(kv: KeysValues, slots: int) -> KeysValues:
    """The same with so many slots, the new ones behind the others."""

    def pad(array: jax.Array) -> jax.Array:
        return jnp.pad(array, ((0, 0), (0, slots - array.shape[1]), (0, 0), (0, 0)))

    return jax.tree.map(pad, kv)


def shelf_block(
    kv: KeysValues, starts: Int[Array, "B"], lengths: Int[Array, "B"], queries: int = 1
) -> Block:
    """The rows' prefixes as `queries` later tokens of each see them: all of their own, no other."""
    slots = jnp.arange(slots_of(kv))
    positions = slots - starts[:, None]
    mask = (positions >= 0) & (positions < lengths[:, None])
    mask = jnp.broadcast_to(mask[:, None], (len(starts), queries, len(slots)))
    return Block(kv=kv, mask=mask, positions=positions, shared=True)


def suffix_block(
    kv: KeysValues, prefix_lengths: Int[Array, "B"], lengths: Int[Array, "B"]
) -> Block:
    """The rows' own parts of the prompt, as one later token sees them: all of them."""
    slots = jnp.arange(slots_of(kv))
    return Block(
        kv=kv,
        mask=(slots < lengths[:, None])[:, None],
        positions=prefix_lengths[:, None] + slots,
    )


def ring_block(
    kv: KeysValues,
    step: Int[Array, ""],
    fed: Int[Array, "B"],
    position: Int[Array, "B"],
) -> Block:
    """The tokens before the newest, which is at `position` and will be written at `step`.

    A slot written `age` steps ago is the row's if the row had begun by then: it has been fed so
    many tokens, the newest included.
    """
    slots = slots_of(kv)
    age = (step - jnp.arange(slots)) % slots
    mask = (age > 0) & (age < fed[:, None])
    return Block(kv=kv, mask=mask[:, None], positions=position[:, None] - age)


def write_shelf(
    kv: KeysValues, prefix: KeysValues, start: Int[Array, ""], length: Int[Array, ""]
) -> KeysValues:
    """The shelf with a prefix, [1 P K H], from slot `start` on; its padding is dropped."""
    offsets = jnp.arange(slots_of(prefix))

    def write(shelf: jax.Array, part: jax.Array) -> jax.Array:
        slots = jnp.where(offsets < length, start + offsets, shelf.shape[1])
        return shelf.at[0, slots].set(part[0], mode="drop")

    return jax.tree.map(write, kv, prefix)


def write_ring(kv: KeysValues, new: KeysValues, step: Int[Array, ""]) -> KeysValues:
    """The ring with one more token of every row, [B 1 K H], in the slot of `step`."""

    def write(ring: jax.Array, token: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_slice_in_dim(ring, token, step % ring.shape[1], axis=1)

    return jax.tree.map(write, kv, new)


def write_rows[Tree](old: Tree, new: Tree, rows: Int[Array, "R"]) -> Tree:
    """Arrays with `new` in the rows (axis 0) named; a row out of range is dropped."""
    return jax.tree.map(lambda array, part: array.at[rows].set(part, mode="drop"), old, new)


def take_rows[Tree](arrays: Tree, rows: Int[Array, "R"]) -> Tree:
    """The rows (axis 0) named, for one out of range the last one; scalars as they are."""
    return jax.tree.map(lambda x: x.at[rows].get(mode="clip") if x.ndim else x, arrays)


def causal_mask(lengths: Int[Array, "R"], slots: int) -> Bool[Array, "R T T"]:
    """Tokens of one text see those before them and themselves, and no padding."""
    slot = jnp.arange(slots)
    return (slot[None, :] <= slot[:, None])[None] & (slot < lengths[:, None])[:, None, :]

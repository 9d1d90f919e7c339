"""The KV cache of a decoding batch: its layout, and who may attend to what.

The batch keeps keys and values in three blocks. A prompt's shared beginning (the
schema) is stored once, on a shelf; its own part (the question) and its new tokens are
stored per row:

    shelves (G, P slots)        suffix (B, S slots)    ring (B, N slots)
    0 | s s s s s s . . |       row 0 | q q q q . |    | d e . . a b c |
    1 | t t t t . . . . |       row 1 | q q . . . |    | . e f . . . . |
                                row 2 | q q q q q |    | d e f . . a b |
                                                            ^ step % N

*   A row names the shelf its prompt begins with. Several shelves let the next groups of
    prompts start while the last rows of those before go on.
*   The ring holds new tokens. All rows write to the same slot at a step, so a row that
    starts late (in the place of a finished one) just starts at another slot. No answer
    is longer than the ring.

A slot's place says nothing of order. Order is the token's position in its own text,
which RoPE and the window of gemma's local layers read: p on a shelf, the prefix's length
+ s in the suffix, and the newest position less the slot's age in the ring. Unused slots
(`.`) are masked.

Shelves and suffixes only change when prompts are inserted, so the decode loop carries
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
SHELVES = 3


@dataclasses.dataclass(frozen=True, order=True)
class CacheShape:
    """The static sizes of a cache, in slots.

    Attributes:
      prefix: P, slots for the shared part of a prompt.
      suffix: S, slots for a prompt's own part.
      new: N, slots for new tokens, the longest answer.
    """

    prefix: int
    suffix: int
    new: int

    def fits(self, other: "CacheShape") -> bool:
        """Whether a cache of this shape can grow to the other one."""
        return self.prefix <= other.prefix and self.suffix <= other.suffix and self.new == other.new


@flax.struct.dataclass
class Block:
    """Keys and values that came before the tokens at hand, as these see them.

    Attributes:
      kv: keys and values; of shape [G P K H] where `shared`, else [B T K H].
      mask: which of them each query token sees, [B L T]; T = G * P where shared.
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


def grow(kv: KeysValues, slots: int) -> KeysValues:
    """The same with so many slots, the new ones behind the others."""

    def pad(array: jax.Array) -> jax.Array:
        return jnp.pad(array, ((0, 0), (0, slots - array.shape[1]), (0, 0), (0, 0)))

    return jax.tree.map(pad, kv)


def shelf_block(
    kv: KeysValues,
    lengths: Int[Array, "G"],
    shelf: Int[Array, "B"],
    queries: int,
) -> Block:
    """The prefixes as `queries` tokens of each row see them: all of their own, no other."""
    count, slots = next(iter(kv.values()))["k"].shape[:2]
    on_own = jnp.arange(count) == shelf[:, None]  # B G
    filled = jnp.arange(slots) < lengths[:, None]  # G P
    mask = (on_own[:, :, None] & filled).reshape(len(shelf), 1, count * slots)
    positions = jnp.broadcast_to(jnp.tile(jnp.arange(slots), count), (len(shelf), count * slots))
    return Block(kv=kv, mask=_to_queries(mask, queries), positions=positions, shared=True)


def one_shelf_block(
    kv: KeysValues, lengths: Int[Array, "G"], shelf: Int[Array, ""], queries: tuple[int, int]
) -> Block:
    """One shelf's prefix, as [B L] queries that all belong to it see it."""
    rows, tokens = queries
    own = jax.tree.map(lambda array: jax.lax.dynamic_slice_in_dim(array, shelf, 1), kv)
    return shelf_block(own, lengths[shelf][None], jnp.zeros((rows,), jnp.int32), tokens)


def suffix_block(
    kv: KeysValues, prefix_lengths: Int[Array, "B"], lengths: Int[Array, "B"]
) -> Block:
    """The rows' own parts of the prompt, as one later token sees them: all of them."""
    slots = jnp.arange(next(iter(kv.values()))["k"].shape[1])
    return Block(
        kv=kv,
        mask=(slots < lengths[:, None])[:, None],
        positions=prefix_lengths[:, None] + slots,
    )


def ring_block(
    kv: KeysValues,
    step: Int[Array, ""],
    generated: Int[Array, "B"],
    position: Int[Array, "B"],
) -> Block:
    """The tokens before the newest, which is at `position` and will be written at `step`.

    A slot written `age` steps ago is the row's if the row had begun by then.
    """
    slots = next(iter(kv.values()))["k"].shape[1]
    age = (step - jnp.arange(slots)) % slots
    mask = (age > 0) & (age < generated[:, None])
    return Block(kv=kv, mask=mask[:, None], positions=position[:, None] - age)


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


def _to_queries(mask: Bool[Array, "B 1 T"], queries: int) -> Bool[Array, "B L T"]:
    return jnp.broadcast_to(mask, (mask.shape[0], queries, mask.shape[2]))

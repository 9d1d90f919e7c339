"""TPU only: one kernel for the attention of a decode step, where a model has one key head.

XLA makes 20 kernels of it: a product, a mask and a maximum for each block of the cache, their
concatenation, a softmax, a split, three products of values. For Gemma 3 270M and 1B a step is so
short that starting them counts; a larger model has several key heads and reads its weights for far
longer than that. Here each program takes some slots of the batch:

    queries of its slots   x  keys of the prefix cache   one product for all of them
                           x  keys of each slot          a product a slot, the others' rows dropped
                           x  the token's own key

one softmax over all of it, and the values in the same way. Queries and keys are normed and turned
(RoPE) on the way in, and the new keys and values take their entry of the ring on the way out: a
tile of the ring's entries is written back for each slot, so nothing else has to write them.

Arithmetic as gemma's, but scores stay in float32 where gemma rounds them to the dtype of the model.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from t2sql.model import attention as parts
from t2sql.model.mesh import DATA_AXIS, MODEL_AXIS
from t2sql.sampling import weights as weights_lib

# Slots of a program: of bfloat16, a TPU keeps 16 rows together.
_SLOTS = 16
# Entries of the ring that are written back together, for the reason above.
_ENTRIES = 16
# Kernels; the second one is the first without a TPU, slowly: for tests.
TPU, INTERPRETED = "tpu", "interpreted"
# Of the chip's own memory: keys and values of a long prefix cache, twice, and those of the slots.
_VMEM_BYTES = 64 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer:
    """What is fixed of a layer's attention.

    Attributes:
      heads: query heads, all over one key head.
      query_scale: that queries are multiplied by.
      interpret: runs the kernel without a TPU, slowly: for tests.
    """

    heads: int
    query_scale: float
    interpret: bool = False


def choose(mesh: jax.sharding.Mesh, model: nn.Module, batch_size: int) -> str:
    """The kernel that decodes on this mesh: `TPU`, or empty for XLA's own.

    The one place that chooses it.
    """
    config, devices = model.config, mesh.shape[DATA_AXIS]
    serves = (
        mesh.devices.flat[0].platform == "tpu"
        and mesh.shape[MODEL_AXIS] == 1
        and config.num_kv_heads == 1
        and config.num_heads > 1
        and config.head_dim % 256 == 0
        and config.attn_logits_soft_cap is None
        and batch_size % (_SLOTS * devices) == 0
    )
    return TPU if serves else ""


def attend(
    layer: Layer,
    entry: Int[Array, ""],
    query: Float[Array, "B N*H"],
    key_value: Float[Array, "B 2*H"],
    factors: Sequence[Float[Array, "H"]],
    turns: Float[Array, "B H"],
    prefix: tuple[Float[Array, "T H"], Float[Array, "T H"], Float[Array, "B T"]],
    suffix: tuple[Float[Array, "B S H"], Float[Array, "B S H"], Float[Array, "B S"]],
    ring: tuple[Float[Array, "B R H"], Float[Array, "B R H"], Float[Array, "B R"]],
) -> tuple[Float[Array, "B N*H"], Float[Array, "B R H"], Float[Array, "B R H"]]:
    """Attention of each slot's newest token to the prefix cache, to its own entries and to itself.

    Args:
      layer: the fixed part.
      entry: of the ring, for the new keys and values; its mask hides what is there.
      query: as projected, head by head.
      key_value: the token's key, then its value, as projected.
      factors: that normed queries, and normed keys, are multiplied by; none without norms.
      turns: cosines, then sines of RoPE, in float32.
      prefix: keys, values and mask (0 where seen, else `parts.MASKED`) of the prefix cache.
      suffix: of the prompts' own parts.
      ring: of the answers so far.

    Returns:
      What is attended to, head by head, and the ring's keys and values with the token's.
    """
    call = functools.partial(_call, layer)
    rows, whole = PartitionSpec(DATA_AXIS), PartitionSpec()
    own = (rows, rows, rows)
    split = jax.shard_map(
        call,
        in_specs=(whole, rows, rows, whole, rows, (whole, whole, rows), own, own),
        out_specs=own,
        check_vma=False,
    )
    return split(entry[None], query, key_value, list(factors), turns, prefix, suffix, ring)


def mask(seen: Bool[Array, "B T"], dtype) -> Float[Array, "B T"]:
    """What is added to the scores of the keys."""
    return jnp.where(seen, 0, parts.MASKED).astype(dtype)


def _call(layer: Layer, entry, query, key_value, factors, turns, prefix, suffix, ring):
    """The kernel on one device."""
    slots, size = len(query), prefix[0].shape[1]

    def of_slots(array: jax.Array) -> pl.BlockSpec:
        rest = array.shape[1:]
        return pl.BlockSpec((_SLOTS, *rest), lambda i, _: (i, *[0] * len(rest)))

    def whole(array: jax.Array) -> pl.BlockSpec:
        return pl.BlockSpec(array.shape, lambda i, _: (0,) * array.ndim)

    tile = pl.BlockSpec((_SLOTS, _ENTRIES, size), lambda i, entry: (i, entry[0] // _ENTRIES, 0))
    arrays = (query, key_value, factors, turns, prefix, suffix, ring)
    # Else a v6e takes the ring into its fast memory before each call, and all of it back after it.
    in_hbm = jax.ShapeDtypeStruct if layer.interpret else pltpu.HBM
    ring_keys = 1 + len(jax.tree.leaves(arrays[:-1]))
    return pl.pallas_call(
        functools.partial(_kernel, layer),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=1,
            grid=(slots // _SLOTS,),
            in_specs=[
                *map(of_slots, (query, key_value)),
                list(map(whole, factors)),
                of_slots(turns),
                (*map(whole, prefix[:2]), of_slots(prefix[2])),
                tuple(map(of_slots, suffix)),
                tuple(map(of_slots, ring)),
            ],
            out_specs=[of_slots(query), tile, tile],
        ),
        out_shape=[
            jax.ShapeDtypeStruct(query.shape, query.dtype),
            *(in_hbm(x.shape, x.dtype) for x in ring[:2]),
        ],
        input_output_aliases={ring_keys: 1, ring_keys + 1: 2},  # it is written in place
        compiler_params=pltpu.CompilerParams(vmem_limit_bytes=_VMEM_BYTES),
        interpret=layer.interpret,
        name="decode_attention",
    )(entry, *arrays)


def _kernel(layer: Layer, entry, query, key_value, factors, turns, prefix, suffix, ring, *outputs):
    """Queries lie head by head: row h * _SLOTS + b is of head h and slot b."""
    dtype, size, heads = query.dtype, key_value.shape[1] // 2, layer.heads
    query_factor, key_factor = factors or (None, None)
    queries = jnp.concatenate(
        [
            _turned(query[:, head * size : (head + 1) * size], query_factor, turns)
            for head in range(heads)
        ]
    )
    queries = (queries * layer.query_scale).astype(dtype)
    new = _turned(key_value[:, :size], key_factor, turns), key_value[:, size:]
    slot = jax.lax.broadcasted_iota(jnp.int32, (heads * _SLOTS, 1), 0) % _SLOTS

    def of_each_head(x: jax.Array) -> jax.Array:
        return jnp.concatenate([x.astype(jnp.float32)] * heads)

    def own_scores(keys) -> jax.Array:
        """A product for each slot, of which only the slot's rows stand."""
        scores = _scores(queries, keys[0])
        for b in range(1, _SLOTS):
            scores = jnp.where(slot == b, _scores(queries, keys[b]), scores)
        return scores

    scores = [
        _scores(queries, prefix[0][...]) + of_each_head(prefix[2][...]),
        own_scores(suffix[0]) + of_each_head(suffix[2][...]),
        own_scores(ring[0]) + of_each_head(ring[2][...]),
        jnp.sum(queries.astype(jnp.float32) * of_each_head(new[0]), axis=-1, keepdims=True),
    ]
    highest = functools.reduce(jnp.maximum, [x.max(axis=-1, keepdims=True) for x in scores])
    weights = [jnp.exp(x - highest) for x in scores]
    total = sum(x.sum(axis=-1, keepdims=True) for x in weights)
    attended = _weighed(weights[0], prefix[1][...]) + weights[3] * of_each_head(new[1])
    for own_weights, values in ((weights[1], suffix[1]), (weights[2], ring[1])):
        for b in range(_SLOTS):
            attended += _weighed(jnp.where(slot == b, own_weights, 0), values[b])
    attended = (attended / total).astype(dtype)
    output, *written = outputs
    for head in range(heads):
        output[:, head * size : (head + 1) * size] = attended[head * _SLOTS :][:_SLOTS]
    for old, tile, token in zip(ring, written, new, strict=False):
        _write(entry[0], old, tile, token)


def _write(entry: jax.Array, old, tile, token: jax.Array) -> None:
    """The tile of the ring that holds an entry, with the token's keys or values there."""
    first = pl.multiple_of(entry // _ENTRIES * _ENTRIES, _ENTRIES)
    entries = jax.lax.broadcasted_iota(jnp.int32, (_SLOTS, _ENTRIES, 1), 1)
    wide = jnp.float32  # the chip chooses among these alone
    others = old[:, pl.ds(first, _ENTRIES), :].astype(wide)
    is_new = entries == entry % _ENTRIES
    tile[...] = jnp.where(is_new, token.astype(wide)[:, None, :], others).astype(tile.dtype)


def _turned(x: jax.Array, factor, turns) -> jax.Array:
    """Queries or keys [B H] normed, where there is a factor, and turned by RoPE."""
    dtype, half = x.dtype, x.shape[-1] // 2
    if factor is not None:
        wide = x.astype(jnp.float32)
        variance = jnp.mean(wide * wide, axis=-1, keepdims=True)
        normed = wide * jax.lax.rsqrt(variance + weights_lib.EPSILON)
        x = (normed * factor[...].astype(jnp.float32)).astype(dtype)
    first, second = x[:, :half].astype(jnp.float32), x[:, half:].astype(jnp.float32)
    cosines, sines = turns[:, :half], turns[:, half:]
    turned = first * cosines - second * sines, second * cosines + first * sines
    return jnp.concatenate(turned, axis=-1).astype(dtype)


def _scores(queries: jax.Array, keys: jax.Array) -> jax.Array:
    contracted = (((1,), (1,)), ((), ()))
    return jax.lax.dot_general(queries, keys, contracted, preferred_element_type=jnp.float32)


def _weighed(weights: jax.Array, values: jax.Array) -> jax.Array:
    return jnp.dot(weights.astype(values.dtype), values, preferred_element_type=jnp.float32)

"""gemma's model over a cache of several blocks, one of them shared by all slots.

gemma's own attention keeps each slot's keys and values in one array. In a batch that shares a
schema every slot would hold a copy of it, read at every step, and XLA's CPU backend would copy the
arrays that the decode loop carries once more. Here flax's method interception (as `gemma.peft` uses
it) replaces the attention of `gm.nn` by one over blocks, and its linear and output layers by the
products of `weights.py`; norms, RoPE and the transformer's blocks stay gemma's. A test pins this
attention to gemma's own.

Transformer blocks of one kind are traced once for all layers: tracing 18 of them takes Python a
second for every program, even where its compiled form is cached.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from gemma.gm.nn import _layers, _modules
from jaxtyping import Array, Bool, Float, Int

from t2sql.model import attention as parts
from t2sql.sampling import decode_kernel, kv_cache
from t2sql.sampling import weights as weights_lib

_SHARED, _OWN, _ENTRY = "shared", "own", "entry of "


def forward(
    model: nn.Module,
    params,
    tokens: Int[Array, "B L"],
    *,
    positions: Int[Array, "B L"],
    mask: Bool[Array, "B L L"],
    past: Sequence[kv_cache.Block] = (),
    last_only: bool = False,
    kernel: str = "",
    entry: Int[Array, ""] | None = None,
) -> tuple[jax.Array, kv_cache.KeysValues]:
    """Runs the model on tokens that follow what is in `past`.

    Args:
      model: gemma's transformer.
      params: its parameters, as `weights.arrange` leaves them.
      tokens: right-padded with id 0.
      positions: each token's place in its text.
      mask: which of `tokens` each of them sees.
      past: what came before.
      last_only: logits of each row's last token only.
      kernel: of `decode_kernel`, for one token a row over prefix cache, suffixes and ring; empty
        for XLA's own.
      entry: of the ring, for the tokens' keys and values; with a kernel only.

    Returns:
      Logits [B L V], or [B V], and the tokens' keys and values, [B L K H] per layer; with a kernel
      the ring's, these written to it.
    """
    # The blocks travel as gemma's `cache`, so that they are arguments of its jitted call.
    cache = {
        f"layer_{layer}": {
            f"{index}/{_SHARED if block.shared else _OWN}/{part}": array
            for index, block in enumerate(past)
            for part, array in _parts(block, f"layer_{layer}", len(tokens)).items()
        }
        for layer in range(model.config.num_layers)
    }
    if kernel:  # by its name: a trace for one is none for another
        entries = jnp.broadcast_to(entry, (len(tokens),))
        cache = {layer: parts | {_ENTRY + kernel: entries} for layer, parts in cache.items()}
    with nn.intercept_methods(_intercept):
        output = model.apply(
            {"params": params},
            tokens,
            positions=positions,
            cache=cache,
            attention_mask=mask,
            return_last_only=last_only,
        )
    return output.logits, output.cache


def _parts(block: kv_cache.Block, layer: str, rows: int) -> dict[str, jax.Array]:
    kv = block.kv[layer]
    if block.shared:
        # gemma wants the batch in front of every array of the cache. `_unpack` takes the
        # first copy, so that XLA makes none.
        kv = {part: jnp.broadcast_to(x, (rows, *x.shape[1:])) for part, x in kv.items()}
    return kv | {"mask": block.mask, "positions": block.positions}


def _intercept(next_function, args, kwargs, context):
    if isinstance(context.module, _modules.Embedder) and context.method_name == "decode":
        return weights_lib.logits(context.module, *args, **kwargs)
    if context.method_name == "__call__":
        if isinstance(context.module, _modules.Block) and context.module.name:
            block = context.module.clone(parent=None, name=None)
            return _call_block(block, context.module.variables, *args, **kwargs)
        if isinstance(context.module, _modules.Attention):
            return _attend(context.module, *args, **kwargs)
        if isinstance(context.module, _layers.RMSNorm):
            return weights_lib.norm(context.module, *args, **kwargs)
        if isinstance(context.module, _layers.Einsum):
            return weights_lib.product(context.module, *args, **kwargs)
    return next_function(*args, **kwargs)


@functools.partial(jax.jit, static_argnums=0)
def _call_block(block: _modules.Block, variables, *args, **kwargs):
    """Calls a block without its name, so that blocks of one kind are one function to `jax.jit`."""
    return block.apply(variables, *args, **kwargs)


def _attend(
    module: _modules.Attention,
    x: Float[Array, "B L D"],
    positions: Int[Array, "B L"],
    cache: dict[str, jax.Array],
    mask: Bool[Array, "B L L"],
) -> tuple[dict[str, jax.Array], Float[Array, "B L D"]]:
    """Attention of `x` to the blocks in `cache` and to itself, under one softmax."""
    if kernel := next((name for name in cache if name.startswith(_ENTRY)), ""):
        return _attend_in_kernel(kernel.removeprefix(_ENTRY), module, x, positions, cache)
    query, key, value = parts.project(module, x, positions)
    blocks = [*_unpack(cache), (_OWN, {"k": key, "v": value, "mask": mask, "positions": positions})]
    logits = jnp.concatenate(
        [_logits(module, query, positions, kind, block) for kind, block in blocks], axis=-1
    )
    weights = jax.nn.softmax(logits, axis=-1).astype(value.dtype)
    ends = [
        sum(block["mask"].shape[-1] for _, block in blocks[: i + 1]) for i in range(len(blocks))
    ]
    encoded = sum(
        _weigh(part, kind, block["v"])
        for part, (kind, block) in zip(jnp.split(weights, ends[:-1], -1), blocks, strict=True)
    )
    encoded = encoded.reshape(*encoded.shape[:2], module.num_heads, module.head_dim)
    return {"k": key, "v": value}, module.attn_vec_einsum("BTNH,NHD->BTD", encoded)


def _attend_in_kernel(
    kernel: str,
    module: _modules.Attention,
    x: Float[Array, "B 1 D"],
    positions: Int[Array, "B 1"],
    cache: dict[str, jax.Array],
) -> tuple[dict[str, jax.Array], Float[Array, "B 1 D"]]:
    """`_attend` for one token a row, over prefix cache, suffixes and ring; this is written to."""
    rows, size = len(x), module.head_dim
    blocks = []
    for kind, block in _unpack(cache):
        seen = _seen(module, positions, block)[:, 0]
        shape = (rows, -1, size) if kind == _OWN else (-1, size)
        kv = (block[part].reshape(shape) for part in ("k", "v"))
        blocks.append((*kv, decode_kernel.mask(seen, x.dtype)))
    norms = (module._query_norm, module._key_norm) if module.use_qk_norm else ()
    attended, *ring = decode_kernel.attend(
        decode_kernel.Layer(
            heads=module.num_heads,
            query_scale=module.query_pre_attn_scalar,
            interpret=kernel == decode_kernel.INTERPRETED,
        ),
        cache[_ENTRY + kernel][0],
        weights_lib.flat_product(module.q_einsum, x[:, 0]),
        weights_lib.flat_product(module.kv_einsum, x[:, 0]),
        [weights_lib.factor(norm) for norm in norms],
        parts.rope_turns(module, positions)[:, 0],
        *blocks,
    )
    attended = attended.reshape(rows, 1, module.num_heads, size)
    keys, values = (array[:, :, None] for array in ring)
    return {"k": keys, "v": values}, module.attn_vec_einsum("BTNH,NHD->BTD", attended)


def _unpack(cache: dict[str, jax.Array]) -> list[tuple[str, dict[str, jax.Array]]]:
    """The cache blocks of one layer, in their order, each with its kind."""
    blocks: dict[tuple[str, str], dict[str, jax.Array]] = {}
    for name in sorted(cache):
        if name.startswith(_ENTRY):
            continue
        index, kind, part = name.split("/")
        array = cache[name]
        if kind == _SHARED and part in ("k", "v"):
            array = array[0]
        blocks.setdefault((index, kind), {})[part] = array
    return [(kind, block) for (_, kind), block in blocks.items()]


def _logits(module: _modules.Attention, query, positions, kind: str, block) -> jax.Array:
    """Masked scores [B L K Q T] of the queries with one block's keys."""
    if kind == _SHARED:
        scores = jnp.einsum("blkqh,tkh->blkqt", query, block["k"])
    else:
        scores = jnp.einsum("blkqh,btkh->blkqt", query, block["k"])
    seen = _seen(module, positions, block)[:, :, None, None]
    return jnp.where(seen, parts.soft_capped(module, scores), parts.MASKED)


def _seen(module: _modules.Attention, positions, block) -> Bool[Array, "B L T"]:
    """Which keys of a block each query token sees."""
    distance = positions[:, :, None] - block["positions"][:, None, :]
    return parts.within_window(module, block["mask"], distance)


def _weigh(weights: jax.Array, kind: str, value: jax.Array) -> jax.Array:
    """The values of one block under its weights, [B L K Q H].

    `dot_general` fixes the order of the operands: `jnp.einsum` would put the values first, and
    all of them would be transposed at every step.
    """
    if kind == _SHARED:
        weighed = jax.lax.dot_general(weights, value, (((4,), (0,)), ((2,), (1,))))
        return jnp.moveaxis(weighed, 0, 2)
    weighed = jax.lax.dot_general(weights, value, (((4,), (1,)), ((0, 2), (0, 2))))
    return jnp.moveaxis(weighed, 1, 2)

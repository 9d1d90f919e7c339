"""Attention in packed sequences, without most of the scores that the mask would discard.

In a long sequence a token sees its schema and its own question: a fraction of the tokens before
it. So the sequence is cut into chunks, and the queries of a chunk are multiplied with the chunks
of keys that any of its tokens sees (`packing.Sequences.chunks`). The mask decides about each
token, and the result equals gemma's attention; a test compares them.

    the sequence, a letter a chunk      S S q q q q     a schema, then questions
    chunks of keys for each chunk       0 0 0 0 0 0
                                          1 1 1 1 1
                                            2 2 3 4     (a question lies in two at most)
                                              3 4 5
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from gemma.gm.nn import _modules
from jaxtyping import Array, Bool, Float, Int, Shaped

from t2sql.model import attention as parts


def hidden_states(
    model: nn.Module,
    params,
    tokens: Int[Array, "B L"],
    *,
    positions: Int[Array, "B L"],
    segments: Int[Array, "B L"],
    parents: Int[Array, "B L"],
    chunks: Int[Array, "B N W"],
) -> Float[Array, "B L D"]:
    """The input of gemma's output layer. Its logits are not read, so XLA does not compute them.

    Args:
      model: gemma's transformer.
      params: of the model.
      tokens: this and the rest are arrays of `packing.Sequences`.
    """
    # The chunks travel as gemma's `cache`, so that they are arguments of its jitted call.
    cache = {"chunks": chunks, "positions": _gather(positions, chunks)}
    with nn.intercept_methods(_intercept):
        return model.apply(
            {"params": params},
            tokens,
            positions=positions,
            cache={f"layer_{layer}": cache for layer in range(model.config.num_layers)},
            attention_mask=mask(segments, parents, chunks),
            return_hidden_states=True,
        ).hidden_states


def mask(
    segments: Int[Array, "B L"], parents: Int[Array, "B L"], chunks: Int[Array, "B N W"]
) -> Bool[Array, "B L T"]:
    """Which of its chunk's T keys each token sees: its segment's and its schema's, up to itself."""
    length = segments.shape[-1]
    size = length // chunks.shape[1]
    key_index = chunks[..., None] * size + jnp.arange(size)
    key_index = key_index.reshape(*chunks.shape[:2], 1, -1)  # B N 1 T
    key_segments = _gather(segments, chunks)[:, :, None]
    by_chunk = (*chunks.shape[:2], size, 1)
    causal = key_index <= jnp.arange(length).reshape(1, *by_chunk[1:])
    related = (key_segments == segments.reshape(by_chunk)) | (
        key_segments == parents.reshape(by_chunk)
    )
    return (causal & related & (key_index >= 0)).reshape(*segments.shape, -1)


def _gather(array: Shaped[Array, "B L *H"], chunks: Int[Array, "B N W"]) -> jax.Array:
    """The keys of each chunk of queries, [B N T *H] with T = W * L / N.

    Chunk -1 (none) takes the first chunk's, which the mask hides.
    """
    rows, count, width = chunks.shape
    cut = array.reshape(rows, count, -1, *array.shape[2:])
    taken = jax.vmap(lambda sequence, index: sequence[index])(cut, jnp.maximum(chunks, 0))
    return taken.reshape(rows, count, width * cut.shape[2], *array.shape[2:])


def _intercept(next_function, args, kwargs, context):
    if isinstance(context.module, _modules.Attention) and context.method_name == "__call__":
        return _attend(context.module, *args, **kwargs)
    return next_function(*args, **kwargs)


def _attend(
    module: _modules.Attention,
    x: Float[Array, "B L D"],
    positions: Int[Array, "B L"],
    cache: dict[str, jax.Array],
    mask: Bool[Array, "B L T"],
) -> tuple[dict[str, jax.Array], Float[Array, "B L D"]]:
    """Attention of each chunk of `x` to the chunks in `cache`."""
    query, key, value = parts.project(module, x, positions)
    chunks = cache["chunks"]
    by_chunk = (*chunks.shape[:2], -1)
    query = query.reshape(*by_chunk, *query.shape[2:])
    key, value = _gather(key, chunks), _gather(value, chunks)
    scores = jnp.einsum("bnckqh,bntkh->bnkcqt", query, key)
    scores = parts.soft_capped(module, scores)
    distance = positions.reshape(by_chunk)[..., None] - cache["positions"][:, :, None]
    mask = parts.within_window(module, mask.reshape(distance.shape), distance)
    scores = jnp.where(mask[:, :, None, :, None], scores, parts.MASKED)
    weights = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
    encoded = jnp.einsum("bnkcqt,bntkh->bnckqh", weights, value)
    encoded = encoded.reshape(*x.shape[:2], module.num_heads, module.head_dim)
    return cache, module.attn_vec_einsum("BTNH,NHD->BTD", encoded)

"""Attention of packed sequences that computes little of what the mask would throw away.

In a long sequence a token sees its schema and its own question, a fraction of the tokens
before it. So queries are taken in chunks, and each chunk is multiplied with the few chunks of
keys that any of its tokens sees (`packing.Sequences.chunks` names them), whichever they are: the
mask alone decides, and the result is that of gemma's attention, to which a test pins it.

    the sequence, a letter a chunk      S S q q q q     a schema, then questions
    which chunks each one multiplies    0 0 0 0 0 0
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
    """What gemma's output layer is given. Its own logits are not read, so XLA leaves them out.

    Args:
      model: gemma's transformer.
      params: its parameters.
      tokens: and the rest as in `packing.Sequences`.
    """
    # The chunks travel as gemma's `cache`, so that they are arguments of its jitted call.
    seen = {"chunks": chunks, "positions": _seen(positions, chunks)}
    with nn.intercept_methods(_intercept):
        return model.apply(
            {"params": params},
            tokens,
            positions=positions,
            cache={f"layer_{layer}": seen for layer in range(model.config.num_layers)},
            attention_mask=mask(segments, parents, chunks),
            return_hidden_states=True,
        ).hidden_states


def mask(
    segments: Int[Array, "B L"], parents: Int[Array, "B L"], chunks: Int[Array, "B N W"]
) -> Bool[Array, "B L T"]:
    """Which of its chunk's T keys each token sees: those of its own segment and of its schema.

    And none behind itself.
    """
    length = segments.shape[-1]
    size = length // chunks.shape[1]
    places = chunks[..., None] * size + jnp.arange(size)
    places = places.reshape(*chunks.shape[:2], 1, -1)  # B N 1 T
    keys = _seen(segments, chunks)[:, :, None]
    by_chunk = (*chunks.shape[:2], size, 1)
    before = places <= jnp.arange(length).reshape(1, *by_chunk[1:])
    own = (keys == segments.reshape(by_chunk)) | (keys == parents.reshape(by_chunk))
    return (before & own & (places >= 0)).reshape(*segments.shape, -1)


def _seen(array: Int[Array, "B L"], chunks: Int[Array, "B N W"]) -> Int[Array, "B N T"]:
    """The values of the keys that each chunk of queries is given, T = W * L / N."""
    return _gather(array, chunks).reshape(*chunks.shape[:2], -1)


def _gather(array: Shaped[Array, "B L *H"], chunks: Int[Array, "B N W"]) -> jax.Array:
    """The chunks named, [B N T *H]; one that is no chunk (-1) is the first, to be masked."""
    rows, count, width = chunks.shape
    cut = array.reshape(rows, count, -1, *array.shape[2:])
    taken = jax.vmap(lambda one, index: one[index])(cut, jnp.maximum(chunks, 0))
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

"""The parts of gemma's attention that sampling and training share with it.

Sampling attends over a cache of several blocks, training over chunks of a packed sequence.
Both compute queries, keys and values, cap scores and limit local layers' windows as here.
"""

import jax
import jax.numpy as jnp
from gemma.gm.math import _positional_embeddings
from gemma.gm.nn import _modules

MASKED = _modules.K_MASK  # the score of a key that is not seen


def project(module: _modules.Attention, x, positions):
    """Scaled queries [B L K Q H], Q query heads to a key head; keys and values [B L K H]."""
    if module.use_qkv_einsum:
        query, key, value = module.qkv_einsum("BTD,SNDH->SBTNH", x)
    else:
        query = module.q_einsum("BTD,NDH->BTNH", x)
        key, value = module.kv_einsum("BSD,CKDH->CBSKH", x)
    if module.use_qk_norm:
        query, key = module._query_norm(query), module._key_norm(key)
    query, key = rope(module, query, positions), rope(module, key, positions)
    heads = (module.num_kv_heads, module.num_heads // module.num_kv_heads)
    query = (query * module.query_pre_attn_scalar).reshape(*x.shape[:2], *heads, module.head_dim)
    return query, key, value


def rope(module: _modules.Attention, x, positions):
    """Queries or keys [B L N H] turned by their positions."""
    return _positional_embeddings.apply_rope(
        x,
        positions,
        base_frequency=module.rope_base_frequency,
        scale_factor=module.rope_scale_factor,
    )


def rope_turns(module: _modules.Attention, positions) -> jax.Array:
    """What `rope` multiplies the first half of each head by, and adds of it to the second.

    Cosines, then sines: what becomes of heads that are 1 in the first half and 0 in the other.
    """
    head = (jnp.arange(module.head_dim) < module.head_dim // 2).astype(jnp.float32)
    heads = jnp.broadcast_to(head, (*positions.shape, 1, module.head_dim))
    return rope(module, heads, positions)[:, :, 0]


def soft_capped(module: _modules.Attention, scores: jax.Array) -> jax.Array:
    """Scores as the model's cap leaves them."""
    cap = module.attn_logits_soft_cap
    return scores if cap is None else jnp.tanh(scores / cap) * cap


def within_window(module: _modules.Attention, mask: jax.Array, distance: jax.Array) -> jax.Array:
    """The mask without keys that are too far before their query for a local layer."""
    if module.attn_type != _modules.AttentionType.LOCAL_SLIDING:
        return mask
    return mask & (distance < module.sliding_window_size)

"""A Gemma of two layers with random weights: local attention over 24 tokens, and global."""

import jax
import jax.numpy as jnp
import numpy as np
from byte_tokenizer import ByteTokenizer
from gemma import gm

from t2sql import sampling

TOKENIZER = ByteTokenizer()
BUCKETS = (16, 32, 64, 128)
_TYPES = gm.nn.config.AttentionType


class TinyGemma(gm.nn.Gemma3_270M):
    config: gm.nn.config.TransformerConfig = gm.nn.config.TransformerConfig(
        num_embed=ByteTokenizer.vocab_size,
        embed_dim=32,
        hidden_dim=64,
        num_heads=4,
        num_kv_heads=1,
        head_dim=16,
        final_logit_softcap=None,
        attention_types=(_TYPES.LOCAL_SLIDING, _TYPES.GLOBAL),
        use_post_attn_norm=True,
        use_post_ffw_norm=True,
        use_qk_norm=True,
        sliding_window_size=24,
        transpose_gating_einsum=True,
    )


MODEL = TinyGemma(dtype=jnp.float32)


def make_params(seed: int = 0):
    """Weights large enough that the next token depends on the whole text."""
    shapes = jax.eval_shape(MODEL.init, jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.array(rng.normal(0, 0.3, x.shape), x.dtype), shapes)


def make_mesh(data: int = 1, model: int = 1) -> jax.sharding.Mesh:
    devices = np.array(jax.devices()[: data * model]).reshape(data, model)
    return jax.sharding.Mesh(devices, ("data", "model"))


def make_sampler(params, *, batch_size=8, mesh=None, prefill_tokens=128, **config):
    return sampling.BatchSampler(
        model=MODEL,
        params=params,
        tokenizer=TOKENIZER,
        mesh=mesh,
        config=sampling.SamplingConfig(**{"max_new_tokens": 20} | config),
        batch_size=batch_size,
        prompt_buckets=BUCKETS,
        prefill_tokens=prefill_tokens,
    )


def texts(count: int, *, shared: str = "") -> list[str]:
    """Prompts of mixed length, most of them longer than the local layers' window."""
    rng = np.random.default_rng(count)
    words = ["singer ", "stadium ", "year ", "name "]
    return [
        shared + "".join(rng.choice(words, rng.integers(1, 10))) + f"q{index}"
        for index in range(count)
    ]


def generate(sampler, groups) -> dict:
    """Answers by the group's tag and the prompt's place in it."""
    return {
        (group.tag, place): generation
        for group, generations in sampler.generate(groups)
        for place, generation in enumerate(generations)
    }


def group(prompts: list[str], tag=None) -> sampling.PromptGroup:
    tokens = [TOKENIZER.encode(text, add_bos=True) for text in prompts]
    return sampling.group_prompts(tokens, prompts, buckets=BUCKETS, tag=tag)

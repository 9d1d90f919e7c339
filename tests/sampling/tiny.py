"""The dummy model of the package, and prompts for it."""

import jax
import numpy as np

from t2sql import sampling
from t2sql.model import factory

BUCKETS = (32, 128)
_FACTORY = factory.LLMModuleFactory(factory.config_for("dummy", "dummy:0"))
MODEL = _FACTORY.model
TOKENIZER = _FACTORY.tokenizer


def make_params():
    return _FACTORY.load_params()


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
    return sampling.group_prompts(tokens, prompts, tag=tag)

"""Jitted, padded batch sampling of Gemma models on one host's devices."""

from t2sql.config import SamplingConfig
from t2sql.sampling.prompt_groups import PROMPT_BUCKETS, PromptGroup, group_prompts, in_order
from t2sql.sampling.sampler import BatchSampler, check
from t2sql.sampling.stops import Generation

__all__ = [
    "PROMPT_BUCKETS",
    "BatchSampler",
    "Generation",
    "PromptGroup",
    "SamplingConfig",
    "check",
    "group_prompts",
    "in_order",
]

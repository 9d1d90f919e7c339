"""Jitted, padded batch sampling of Gemma models on one host's devices."""

from t2sql.sampling.sampler import BatchSampler
from t2sql.sampling.sampler import PromptGroup
from t2sql.sampling.sampler import SamplingConfig
from t2sql.sampling.sampler import group_prompts
from t2sql.sampling.sampler import sample_id
from t2sql.sampling.stops import STATUS_MAX_TOKENS
from t2sql.sampling.stops import STATUS_OK
from t2sql.sampling.stops import STATUS_TOO_LONG
from t2sql.sampling.stops import Generation

"""What decides a run's output (its fingerprint), and what is noted beside it."""

import dataclasses
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import ml_collections

from t2sql import config as config_lib
from t2sql.data import prompts
from t2sql.data.examples import Example
from t2sql.model import factory as factory_lib
from t2sql.runs import manifest, predict
from t2sql.runtime import distributed
from t2sql.storage import local_cache

# Values of sampling that came after others had begun runs.
_LATER_VALUES = ("samples", "logprobs", "choose", "beams", "length_penalty")
# What of an example decides the bytes of its row, besides a hint where it has one.
_DECISIVE_FIELDS = ("example_id", "db_id", "question", "query", "db_definitions", "values")
COMMIT = "T2SQL_COMMIT"  # of the code, where that is no git checkout
RECORDED_PACKAGES = ("jax", "jaxlib", "gemma", "grain", "orbax-checkpoint", "numpy")


def make_fingerprint(
    config: ml_collections.ConfigDict,
    examples: Sequence[Example],
    prompt: prompts.Prompt,
    factory: factory_lib.LLMModuleFactory,
) -> dict[str, Any]:
    """Everything that decides which bytes the run writes."""
    sampling = predict.sampling_config(config, prompt)
    return {
        "data": {
            "split": config.data.split,
            "limit": config.data.limit,
            "sha256": _digest(examples),
        }
        | ({"only": [example.example_id for example in examples]} if config.data.only else {}),
        "model": {
            "name": config.model.name,
            "weights_sha256": factory.checkpoint.weights_sha256,
            "tokenizer_sha256": local_cache.sha256_of(factory.tokenizer_path),
        },
        "adapter": factory.adapter and factory.adapter.sha256,
        "prompt": {"name": prompt.name, "sha256": prompt.digest},
        "sampling": _sampling_values(sampling),
        "dtype": factory.dtype,
        "prompt_buckets": list(config.prompt_buckets),
        "unit_size": config.unit_size,
    } | ({"output_version": manifest.CANDIDATES_VERSION} if sampling.is_scored else {})


def _sampling_values(sampling: config_lib.SamplingConfig) -> dict[str, Any]:
    """The values of sampling, without those at their default that older runs do not know."""
    defaults = config_lib.SamplingConfig()
    values = dataclasses.asdict(sampling)
    return {
        name: value
        for name, value in values.items()
        if name not in _LATER_VALUES or value != getattr(defaults, name)
    }


def _digest(examples: Sequence[Example]) -> str:
    digest = hashlib.sha256()
    for example in examples:
        decisive = tuple(getattr(example, name) for name in _DECISIVE_FIELDS)
        if example.hint:
            decisive += (example.hint,)
        digest.update(repr(decisive).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def make_record(config: ml_collections.ConfigDict, process: distributed.Process) -> dict[str, Any]:
    """Facts for whoever reads the run; they may differ between processes that add to it."""
    return {
        "command": sys.argv,
        "commit": _commit(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "data": config.data.path,
        **_data_format(config),
        "model_source": config.model.source,
        "model_adapter": config.model.adapter,
        "output": config.output,
        "batch_size": config.batch_size,
        "hosts": process.count,
        "versions": {name: metadata.version(name) for name in RECORDED_PACKAGES},
    }


def _data_format(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """How the data is read, where it is not recognised: a report reads it in that way too."""
    named = {field: name for field, name in config.data.fields.items() if name}
    values = {
        "data_format": config.data.format,
        "data_fields": named,
        "data_databases": config.data.databases,
    }
    return {name: value for name, value in values.items() if value}


def _commit() -> str | None:
    """The commit of the code, None outside a git checkout; an image names the one it holds."""
    if commit := os.environ.get(COMMIT):
        return commit
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()

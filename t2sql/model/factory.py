"""From a configuration to a model that is ready to answer.

The rest of the program does not know how a checkpoint is found, converted or loaded.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from t2sql.model import cache, mesh, registry, sources


@dataclasses.dataclass(frozen=True, kw_only=True)
class LLMFactoryConfig:
    """What to build.

    Attributes:
      ckpt_path: source of the weights, as `sources.resolve` takes it.
      tokenizer_path: SentencePiece model; None for the one that comes with the weights.
      model_cls: flax module class, such as `gm.nn.Gemma3_270M`.
      tokenizer_cls: tokenizer class, such as `gm.text.Gemma3Tokenizer`.
      dtype: "float32", "bfloat16", or "auto": float32 on CPU, bfloat16 elsewhere.
      model_axis: number of devices that share one copy of the weights.
      cache_dir: where converted and fetched weights are kept.
    """

    ckpt_path: str | Path
    tokenizer_path: str | Path | None = None
    model_cls: Callable[..., Any]
    tokenizer_cls: Callable[..., Any]
    dtype: str = "auto"
    model_axis: int = 1
    cache_dir: Path = dataclasses.field(default_factory=cache.default_dir)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LLMModules:
    """What the rest of the program works with.

    Attributes:
      model: flax module.
      params: its parameters, on `mesh`.
      tokenizer: `encode(text)`, `decode(ids)`.
      sampler: generates text for batches of prompts; None where none was asked for.
      mesh: ('data', 'model') mesh over this host's devices.
      weights_sha256: fingerprint of the weights' content.
      variant: "it", "pt" or None if unknown: whether the weights are instruction-tuned.
    """

    model: Any
    params: Any
    tokenizer: Any
    sampler: Any
    mesh: Any
    weights_sha256: str
    variant: str | None


def config_for(name: str, source: str, **fields: Any) -> LLMFactoryConfig:
    """Returns the configuration of the registered model `name` with weights from `source`."""
    model_cls, tokenizer_cls = registry.find(name).load_classes()
    return LLMFactoryConfig(
        ckpt_path=source, model_cls=model_cls, tokenizer_cls=tokenizer_cls, **fields
    )


class LLMModuleFactory:
    """Builds `LLMModules` from a configuration."""

    def __init__(self, config: LLMFactoryConfig):
        self.config = config

    @functools.cached_property
    def checkpoint(self) -> sources.Checkpoint:
        """The weights on local disk, fetched and converted where needed."""
        return sources.resolve(str(self.config.ckpt_path), cache_dir=self.config.cache_dir)

    @functools.cached_property
    def tokenizer(self) -> Any:
        """The tokenizer; needs no weights in memory."""
        return self.config.tokenizer_cls(
            self.config.tokenizer_path or self.checkpoint.tokenizer_path
        )

    def build(self, make_sampler: Callable[..., Any] | None = None) -> LLMModules:
        """Loads the weights and returns all modules.

        Args:
          make_sampler: called with `model, params, tokenizer, mesh` as keywords.
        """
        import jax
        from gemma import gm

        host_mesh = mesh.make_mesh(self.config.model_axis)
        dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
        if self.config.dtype != "auto":
            dtype = self.config.dtype
        model = self.config.model_cls(dtype=dtype)
        params = gm.ckpts.load_params(self.checkpoint.path)
        parts = {
            "model": model,
            "params": params,
            "tokenizer": self.tokenizer,
            "mesh": host_mesh,
        }
        return LLMModules(
            **parts,
            sampler=make_sampler(**parts) if make_sampler else None,
            weights_sha256=self.checkpoint.weights_sha256,
            variant=self.checkpoint.variant,
        )

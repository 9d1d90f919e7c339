"""From a configuration to a model that is ready to answer.

The rest of the program does not know where a checkpoint lies, how it is converted or loaded.
"""

import dataclasses
import functools
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from jax.sharding import Mesh

from t2sql import config as config_lib
from t2sql import errors, storage
from t2sql.model import (
    adapters,
    checkpoints,
    dummy,
    hugging_face,
    lora,
    peft_files,
    registry,
    sources,
    tokenizers,
)
from t2sql.model import mesh as mesh_lib
from t2sql.storage import local_cache

DTYPES = ("auto", "float32", "bfloat16")
# What `build` makes where nobody passes a sampler: by name, for sampling builds upon this package.
DEFAULT_SAMPLER = "t2sql.sampling:BatchSampler"
_READERS = {sources.ORBAX: checkpoints, sources.SAFETENSORS: hugging_face}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LLMFactoryConfig:
    """What to build.

    Attributes:
      ckpt_path: source of the weights, as `sources.resolve` takes it.
      tokenizer_path: SentencePiece model, local or gs://; None for the one that comes
        with the weights.
      model_cls: flax module class, such as `gm.nn.Gemma3_270M`.
      tokenizer_cls: tokenizer class, such as `gm.text.Gemma3Tokenizer`.
      dtype: of weights and computation: "float32", "bfloat16", or "auto" for
        float32 on CPU (where bfloat16 is slow) and bfloat16 on TPU and GPU.
      parallel: number of devices that share one copy of the weights.
      adapter: folder of an adapter, local or gs://, that is merged into the weights; None
        for the weights as they are.
      cache_dir: where converted and fetched weights are kept.
      storage_config: how gs:// is reached; None for the defaults.
    """

    ckpt_path: str | Path
    tokenizer_path: str | Path | None = None
    model_cls: Callable[..., Any]
    tokenizer_cls: Callable[..., Any]
    dtype: str = "auto"
    parallel: int = 1
    adapter: str | None = None
    cache_dir: Path = dataclasses.field(default_factory=local_cache.default_dir)
    storage_config: storage.StorageConfig | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LLMModules:
    """What the rest of the program works with.

    Attributes:
      model: flax module.
      params: its parameters, on `mesh`.
      tokenizer: `encode(text)`, `decode(ids)`.
      sampler: samples text for batches of prompts.
      mesh: ('data', 'model') mesh over this host's devices.
      weights_sha256: fingerprint of the weights' content.
      variant: "it" for instruction-tuned weights, "pt" for pre-trained ones, None if unknown.
    """

    model: Any
    params: Any
    tokenizer: Any
    sampler: Any
    mesh: Mesh
    weights_sha256: str
    variant: str | None


def config_for(name: str, source: str, **fields: Any) -> LLMFactoryConfig:
    """Returns the configuration of the registered model `name` with weights from `source`.

    Raises:
      InputError: no such model.
    """
    spec = registry.find(name)
    return LLMFactoryConfig(
        ckpt_path=source, model_cls=spec.model_cls, tokenizer_cls=spec.tokenizer_cls, **fields
    )


class LLMModuleFactory:
    """Builds `LLMModules`; parts are made when first asked for, and kept.

    A run needs the tokenizer to plan and the checkpoint's fingerprint to resume, and may then
    have nothing left to do: neither reads the weights.
    """

    def __init__(self, config: LLMFactoryConfig):
        self.config = config

    @functools.cached_property
    def checkpoint(self) -> sources.Checkpoint:
        """Weights and tokenizer on local disk, fetched and converted where needed."""
        return sources.resolve(
            str(self.config.ckpt_path),
            cache_dir=self.config.cache_dir,
            storage_config=self.config.storage_config,
        )

    @functools.cached_property
    def model(self) -> Any:
        """The flax module, without parameters."""
        return self.config.model_cls(dtype=self.dtype)

    @functools.cached_property
    def dtype(self) -> str:
        """The type that "auto" stands for on this backend, or the one that was asked for."""
        if self.config.dtype not in DTYPES:
            raise errors.InputError(
                f"--config.model.dtype is {self.config.dtype!r}; it has to be one of"
                f" {', '.join(DTYPES)}"
            )
        if self.config.dtype != "auto":
            return self.config.dtype
        return "float32" if jax.default_backend() == "cpu" else "bfloat16"

    @functools.cached_property
    def tokenizer(self) -> Any:
        """The tokenizer, checked against the model."""
        tokenizer = tokenizers.load(self.config.tokenizer_cls, self.tokenizer_path)
        tokenizers.check_vocabulary(tokenizer, self.model.config.num_embed, self.tokenizer_path)
        return tokenizer

    @functools.cached_property
    def tokenizer_path(self) -> Path:
        """The tokenizer's file on local disk."""
        if self.config.tokenizer_path:
            return sources.fetch_file(
                str(self.config.tokenizer_path),
                cache_dir=self.config.cache_dir,
                storage_config=self.config.storage_config,
            )
        if self.checkpoint.tokenizer_path is None:
            raise errors.InputError(
                f"--config.model.source: {self.checkpoint.source} comes without"
                f" {sources.TOKENIZER_NAME}; name a SentencePiece file with"
                " --config.model.tokenizer"
            )
        return self.checkpoint.tokenizer_path

    @functools.cached_property
    def mesh(self) -> Mesh:
        """Mesh over this host's devices."""
        return mesh_lib.make_mesh(self.config.parallel)

    @functools.cached_property
    def abstract_params(self) -> Any:
        """Shape, dtype and sharding of each parameter: enough to compile with."""
        tokens = jax.ShapeDtypeStruct((1, 1), jnp.int32)
        shapes = jax.eval_shape(self.model.init, jax.random.key(0), tokens)["params"]
        return jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(
                leaf.shape, jnp.dtype(self.dtype), sharding=sharding
            ),
            shapes,
            mesh_lib.param_shardings(shapes, self.mesh),
        )

    def check(self) -> None:
        """Checks that tokenizer and checkpoint are the model's, without reading the weights.

        Raises:
          InputError: the tokenizer or the checkpoint belongs to another model, or is damaged.
        """
        self.tokenizer  # noqa: B018 - checked where it is made
        if self.checkpoint.path is not None:
            _READERS[self.checkpoint.form].check_params(
                self.checkpoint.path, expected=self.abstract_params, model=self.model
            )

    @property
    def _shardings(self) -> Any:
        return jax.tree.map(lambda leaf: leaf.sharding, self.abstract_params)

    @functools.cached_property
    def adapter(self) -> adapters.AdapterFile | peft_files.PeftAdapter | None:
        """The adapter on local disk, checked to be of these weights; None without one.

        Raises:
          InputError: `config.adapter` names none, or one of other weights.
        """
        if not self.config.adapter:
            return None
        adapter = adapters.resolve_any(
            self.config.adapter,
            cache_dir=self.config.cache_dir,
            storage_config=self.config.storage_config,
        )
        adapter.check_base(self.checkpoint.weights_sha256, self.checkpoint.variant)
        return adapter

    def load_params(self) -> Any:
        """Reads the weights onto the mesh, and merges the adapter into them.

        Raises:
          InputError: the checkpoint or the adapter is damaged, or belongs to another model.
        """
        adapter = self.adapter.load(self.abstract_params) if self.adapter else None
        params = self.load_base()
        if adapter is None:
            return params
        merge = jax.jit(lora.merge, donate_argnums=0, out_shardings=self._shardings)
        return merge(params, adapter)

    def load_base(self) -> Any:
        """Reads the weights onto the mesh, without the adapter.

        Raises:
          InputError: the checkpoint is damaged, or belongs to another model.
        """
        shardings = self._shardings
        if self.checkpoint.seed is not None:
            return dummy.random_params(self.checkpoint.seed, self.abstract_params, shardings)
        return _READERS[self.checkpoint.form].load_params(
            self.checkpoint.path,
            expected=self.abstract_params,
            shardings=shardings,
            model=self.model,
        )

    def build(self, make_sampler: Callable[..., Any] | None = None) -> LLMModules:
        """Loads the weights and returns all modules.

        Args:
          make_sampler: called with `model`, `params`, `tokenizer` and `mesh`; None for
            `DEFAULT_SAMPLER` with its defaults.

        Raises:
          InputError: the configuration, checkpoint or tokenizer cannot be used.
          TryAgainError: a network failed.
        """
        if make_sampler is None:
            make_sampler = pkgutil.resolve_name(DEFAULT_SAMPLER)
        parts = {
            "tokenizer": self.tokenizer,  # Checked before the weights are read.
            "model": self.model,
            "params": self.load_params(),
            "mesh": self.mesh,
        }
        return LLMModules(
            **parts,
            sampler=make_sampler(**parts),
            weights_sha256=self.checkpoint.weights_sha256,
            variant=self.checkpoint.variant,
        )


def make_factory(config: ml_collections.ConfigDict) -> LLMModuleFactory:
    """The factory for the model of the config."""
    return LLMModuleFactory(
        config_for(
            config.model.name,
            config.model.source,
            tokenizer_path=config.model.tokenizer or None,
            dtype=config.model.dtype,
            parallel=config.model.parallel,
            adapter=config.model.adapter or None,
            cache_dir=config_lib.resolve_cache_dir(config),
            storage_config=config_lib.storage_config(config),
        )
    )

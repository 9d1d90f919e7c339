"""What is trained: an adapter beside frozen weights, or all weights."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import ml_collections

from t2sql import errors
from t2sql.model import adapters, checkpoints, lora, peft_files
from t2sql.model import factory as factory_lib
from t2sql.training import step as step_lib


class Method(Protocol):
    """A way to fine-tune.

    Attributes:
      about: JSON values that decide the shapes of what is trained.
    """

    about: dict[str, Any]

    def load(self, factory: factory_lib.LLMModuleFactory) -> Any:
        """The model's parameters, on the factory's mesh."""

    def init(self, params: Any) -> Any:
        """What is trained, in float32, before the first step."""

    def frozen(self, params: Any) -> Any:
        """The parameters that training reads and does not change."""

    def loss(self, model: Any, trained: Any, frozen: Any, batch: step_lib.Batch) -> jax.Array:
        """The summed loss of a batch."""

    def merged(self, trained: Any, frozen: Any) -> Any:
        """Parameters of gemma's plain model, to sample with."""

    def save(self, folder: Path, trained: Any, **about: Any) -> None:
        """Writes what was trained as a model source."""


@dataclasses.dataclass(frozen=True)
class LoRA:
    """Trains an adapter, and saves it for `config.model.adapter`.

    Attributes:
      rank: of the adapter's factors.
      targets: the layers that it adapts.
      seed: of a new adapter.
      begin: the adapter to begin with; None for a new one.
    """

    rank: int
    targets: Sequence[str]
    seed: int
    begin: adapters.AdapterFile | None = None

    @property
    def about(self) -> dict[str, Any]:
        about = {"method": "lora", "rank": self.rank, "targets": list(self.targets)}
        return about | ({"begun_with": self.begin.sha256} if self.begin else {})

    def load(self, factory: factory_lib.LLMModuleFactory) -> Any:
        return factory.load_base()

    def init(self, params: Any) -> lora.Adapter:
        if self.begin is None:
            return lora.init(params, self.rank, self.targets, self.seed)
        return jax.tree.map(jnp.asarray, self.begin.load(params))

    def frozen(self, params: Any) -> Any:
        return params

    def loss(self, model, trained, frozen, batch: step_lib.Batch) -> jax.Array:
        with lora.applied(self.rank, self.targets):
            return step_lib.loss_sum(model, lora.attach(frozen, trained), batch)

    def merged(self, trained, frozen) -> Any:
        return jax.jit(lora.merge)(frozen, trained)

    def save(self, folder: Path, trained, **about: Any) -> None:
        adapters.save(folder, trained, rank=self.rank, targets=list(self.targets), **about)


@dataclasses.dataclass(frozen=True)
class Full:
    """Trains all weights, and saves a checkpoint for `config.model.source`.

    Attributes:
      dtype: of the computation; the trained weights are float32.
    """

    dtype: str

    @property
    def about(self) -> dict[str, Any]:
        return {"method": "full"}

    def load(self, factory: factory_lib.LLMModuleFactory) -> Any:
        return factory.load_params()

    def init(self, params: Any) -> Any:
        return jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32), params)

    def frozen(self, params: Any) -> Any:
        del params
        return {}

    def loss(self, model, trained, frozen, batch: step_lib.Batch) -> jax.Array:
        return step_lib.loss_sum(model, self.merged(trained, frozen), batch)

    def merged(self, trained, frozen) -> Any:
        del frozen
        return jax.tree.map(lambda leaf: leaf.astype(self.dtype), trained)

    def save(self, folder: Path, trained, **about: Any) -> None:
        del about
        checkpoints.save_params(folder / "checkpoint", jax.device_get(trained))


def make(config: ml_collections.ConfigDict, factory: factory_lib.LLMModuleFactory) -> Method:
    """The method of `config.train`.

    Raises:
      InputError: there is no such method or target, the rank is below 1, or the adapter to begin
        with has another rank or other targets.
    """
    train = config.train
    if train.method == "full":
        return Full(dtype=factory.dtype)
    if train.method != "lora":
        raise errors.InputError(
            f"--config.train.method is {train.method!r}; it has to be lora or full"
        )
    unknown = sorted(set(train.targets) - lora.TARGETS.keys())
    if unknown or not train.targets:
        raise errors.InputError(
            f"--config.train.targets is {tuple(train.targets)}; "
            f"it has to be some of {', '.join(lora.TARGETS)}"
        )
    if train.rank < 1:
        raise errors.InputError(f"--config.train.rank is {train.rank}; it has to be at least 1")
    begin = factory.adapter
    if isinstance(begin, peft_files.PeftAdapter):
        raise errors.InputError(
            f"--config.model.adapter: {begin.source} is an adapter of PEFT; a training goes on with"
            " one that t2sql.train wrote"
        )
    if begin and (begin.rank, sorted(begin.targets)) != (train.rank, sorted(train.targets)):
        raise errors.InputError(
            f"--config.model.adapter: {begin.source} has rank {begin.rank} on "
            f"{', '.join(begin.targets)}; to go on with it --config.train.rank and "
            "--config.train.targets have to be the same"
        )
    return LoRA(rank=train.rank, targets=tuple(train.targets), seed=train.seed, begin=begin)

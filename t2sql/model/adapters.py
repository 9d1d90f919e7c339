"""Adapters on disk: two files that are enough to know what they fit, and to merge them.

adapter.npz     {"layer_0/attn/q_einsum/w/a": float16 array, ".../b": ...}
adapter.json    format_version, base, rank, targets, prompt, training
"""

import dataclasses
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32

from t2sql import errors, storage
from t2sql.model import lora, peft_files
from t2sql.storage import fingerprint, hub, local_cache, stage

FORMAT_VERSION = 1
SHIPPED_SCHEME, HUB_SCHEME = "package:", "hf:"
_SHIPPED = Path(__file__).parent / "shipped"
_ARRAYS, _ABOUT = "adapter.npz", "adapter.json"
# Trainings with one seed end with factors A of a cosine of 0.9 and more.
_LEAST_COSINE = 0.5
_FIELDS = ("base", "rank", "targets", "prompt", "training")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdapterFile:
    """An adapter on local disk, not yet read.

    Attributes:
      source: what it was resolved from.
      path: its folder.
      base: {"name", "weights_sha256"} of the weights that it was trained on.
      rank: of its factors.
      targets: the layers that it adapts, names of `lora.TARGETS`.
      prompt: {"name", "sha256"} of the prompt that it was trained with.
      training: how it came about; for whoever reads it.
      sha256: of its content.
      flag: where the user named it, for messages.
    """

    source: str
    path: Path
    base: dict[str, str]
    rank: int
    targets: tuple[str, ...]
    prompt: dict[str, str]
    training: dict[str, Any]
    sha256: str
    flag: str = "--config.model.adapter"

    def check_base(self, weights_sha256: str, variant: str | None = None) -> None:
        """Refuses weights that it was not trained on.

        Args:
          weights_sha256: of the weights.
          variant: not read; an adapter of PEFT may know no more of its base.

        Raises:
          InputError: names both weights.
        """
        if weights_sha256 != self.base["weights_sha256"]:
            raise errors.InputError(
                f"{self.flag}: {self.source} was trained on {self.base['name']} with "
                f"weights {self.base['weights_sha256'][:12]}; those of --config.model.source are "
                f"{weights_sha256[:12]}"
            )

    def load(self, params: Any) -> lora.Adapter:
        """Reads the adapter for a model with these parameters (or their shapes), float32.

        Raises:
          InputError: the file is damaged, or holds other shapes than `rank`, `targets` and
            the model give.
        """
        expected = _flatten(lora.shapes(params, self.rank, self.targets))
        factors = self.read()
        for name in sorted(factors.keys() | expected.keys()):
            shape, expected_shape = (
                tree[name].shape if name in tree else "absent" for tree in (factors, expected)
            )
            if shape != expected_shape:
                raise errors.InputError(
                    f"{self.flag}: {self.path / _ARRAYS}: {name} is {shape}; an "
                    f"adapter of rank {self.rank} of this model has {expected_shape}"
                )
        return _unflatten(factors)

    def read(self) -> dict[str, Float32[np.ndarray, "..."]]:
        """Reads the factors: "layer_0/attn/q_einsum/w/a" and so on.

        Raises:
          InputError: the file is damaged.
        """
        try:
            with np.load(self.path / _ARRAYS, allow_pickle=False) as file:
                return {name: file[name].astype(np.float32) for name in file.files}
        except (OSError, ValueError, AttributeError, zipfile.BadZipFile, EOFError) as error:
            raise errors.InputError(
                f"{self.flag}: {self.path / _ARRAYS} is damaged or missing ({error})"
            ) from error


def mean(files: Sequence[AdapterFile]) -> lora.Adapter:
    """The mean of adapters, factor by factor ("model soups", Wortsman et al. 2022).

    Trainings that begin with the same factors (one `train.seed`) end near enough to each other
    to be averaged, though they differ in learning rate or length.

    Raises:
      InputError: they are of different weights, layers, ranks or prompts, or began with other
        factors.
    """
    first, *others = files
    for other in others:
        for field in ("base", "rank", "targets", "prompt"):
            first_value, other_value = getattr(first, field), getattr(other, field)
            if first_value != other_value:
                raise errors.InputError(
                    f"{first.flag}: {first.source} and {other.source} differ in {field}: "
                    f"{first_value} and {other_value}; only adapters that agree in it have a mean"
                )
    first_factors, *other_factors = all_factors = [file.read() for file in files]
    for other, factors in zip(others, other_factors, strict=True):
        _check_begun_alike(first, first_factors, other, factors)
    return _unflatten(
        {
            name: np.mean([factors[name] for factors in all_factors], axis=0)
            for name in first_factors
        }
    )


def _check_begun_alike(first: AdapterFile, first_factors, other: AdapterFile, factors) -> None:
    """A training turns the factors A little; two seeds draw factors A that are unrelated."""
    for name in sorted(first_factors.keys() | factors.keys()):
        shapes = {tree[name].shape if name in tree else None for tree in (first_factors, factors)}
        if len(shapes) > 1:
            raise errors.InputError(
                f"{first.flag}: {first.source} and {other.source} differ in {name}: one of them "
                "is damaged"
            )
        a, b = first_factors[name].ravel(), factors[name].ravel()
        if name.endswith("/a") and a @ b < _LEAST_COSINE * np.linalg.norm(a) * np.linalg.norm(b):
            raise errors.InputError(
                f"{first.flag}: {first.source} and {other.source} did not begin alike ({name} "
                "points elsewhere): take adapters of trainings with one --config.train.seed"
            )


def save(folder: Path, adapter: lora.Adapter, **about: Any) -> None:
    """Writes an adapter, in float16, into a new or an existing folder.

    Args:
      folder: the two files in it are replaced.
      adapter: its values lie within +-65504.
      **about: the fields of `AdapterFile` that say what it is: base, rank, ...
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        name: np.asarray(jax.device_get(array), np.float16)
        for name, array in _flatten(adapter).items()
    }
    staging = folder / f"{_ARRAYS}.partial"
    with staging.open("wb") as file:
        np.savez(file, **arrays)
    staging.replace(folder / _ARRAYS)
    content = {"format_version": FORMAT_VERSION, **{name: about[name] for name in _FIELDS}}
    local_cache.write_atomically(folder / _ABOUT, json.dumps(content, indent=1) + "\n")


def resolve(
    source: str,
    *,
    cache_dir: Path,
    storage_config: storage.StorageConfig | None = None,
    flag: str = AdapterFile.flag,
) -> AdapterFile:
    """Finds an adapter that t2sql.train wrote.

    Raises:
      InputError: there is no adapter, it is of another version, or its description is broken.
      TryAgainError: a network failed.
    """
    path = fetch(source, cache_dir=cache_dir, storage_config=storage_config, flag=flag)
    if peft_files.is_adapter(path) and not (path / _ABOUT).is_file():
        raise errors.InputError(
            f"{flag}: {source} is an adapter of PEFT; here only one that t2sql.train wrote is"
            f" taken, a folder with {_ABOUT} and {_ARRAYS}"
        )
    about = _read_about(source, path / _ABOUT, flag)
    if not (path / _ARRAYS).is_file():
        raise errors.InputError(f"{flag}: {path / _ARRAYS} is missing")
    return AdapterFile(
        source=source,
        path=path,
        flag=flag,
        sha256=fingerprint.of_files(path, [path / _ABOUT, path / _ARRAYS], cache_dir=cache_dir),
        **{name: about[name] for name in _FIELDS} | {"targets": tuple(about["targets"])},
    )


def resolve_any(
    source: str,
    *,
    cache_dir: Path,
    storage_config: storage.StorageConfig | None = None,
    flag: str = AdapterFile.flag,
) -> AdapterFile | peft_files.PeftAdapter:
    """Finds an adapter that t2sql.train or PEFT wrote; see `resolve`.

    Raises:
      InputError: there is no adapter, or none that can be applied here.
      TryAgainError: a network failed.
    """
    path = fetch(source, cache_dir=cache_dir, storage_config=storage_config, flag=flag)
    if peft_files.is_adapter(path):
        return peft_files.read(source, path, flag=flag, cache_dir=cache_dir)
    if not (path / _ABOUT).is_file():
        raise errors.InputError(
            f"{flag}: {source} is no adapter: it has to be a folder with {_ABOUT} and {_ARRAYS}, as"
            f" t2sql.train writes it, or with {peft_files.CONFIG} and {peft_files.TENSORS}, as PEFT"
            f" does; {path} {'holds neither' if path.is_dir() else 'is no folder'}"
        )
    return resolve(source, cache_dir=cache_dir, storage_config=storage_config, flag=flag)


def fetch(
    source: str, *, cache_dir: Path, storage_config: storage.StorageConfig | None, flag: str
) -> Path:
    """Returns the local folder of an adapter: a folder, local or gs://, package:NAME or hf:NAME.

    Raises:
      InputError: no adapter of that name ships, or the Hub refuses it.
      TryAgainError: a network failed.
    """
    if source.startswith(SHIPPED_SCHEME):
        return _shipped(source, flag)
    if source.startswith(HUB_SCHEME):
        return hub.download_adapter(source.removeprefix(HUB_SCHEME), cache_dir=cache_dir)
    if source.startswith(storage.GCS_SCHEME):
        return stage.stage_directory(source, cache_dir / "staged", storage_config)
    return Path(source).expanduser()


def _shipped(source: str, flag: str) -> Path:
    path = _SHIPPED / source.removeprefix(SHIPPED_SCHEME)
    names = sorted(path.parent.name for path in _SHIPPED.glob(f"*/{_ABOUT}"))
    if path.name not in names:
        shipped = ", ".join(f"{SHIPPED_SCHEME}{name}" for name in names)
        raise errors.InputError(f"{flag}: there is no {source}; with the package comes {shipped}")
    return path


def _read_about(source: str, path: Path, flag: str) -> Mapping[str, Any]:
    try:
        about = json.loads(path.read_text())
    except OSError as error:
        raise errors.InputError(
            f"{flag}: {source} has to be a folder with {_ABOUT} and {_ARRAYS}, as "
            f"t2sql.train writes it ({error.strerror}: {path})"
        ) from error
    except ValueError as error:
        raise errors.InputError(f"{flag}: {path} is not JSON: {error}") from error
    version = about.get("format_version") if isinstance(about, dict) else None
    if version != FORMAT_VERSION:
        raise errors.InputError(
            f"{flag}: {path} has format_version {version!r}; this program reads {FORMAT_VERSION}"
        )
    missing = [name for name in _FIELDS if about.get(name) is None]
    unknown = sorted(set(about.get("targets", ())) - lora.TARGETS.keys())
    if missing or unknown:
        raise errors.InputError(
            f"{flag}: {path} lacks {', '.join(missing)}"
            if missing
            else f"{flag}: {path}: targets has unknown layers: {', '.join(unknown)}"
        )
    return about


def _flatten(adapter: lora.Adapter) -> dict[str, Any]:
    return {
        f"{name}/{part}": array for name, parts in adapter.items() for part, array in parts.items()
    }


def _unflatten(arrays: Mapping[str, Any]) -> lora.Adapter:
    adapter: lora.Adapter = {}
    for path, array in arrays.items():
        name, _, part = path.rpartition("/")
        adapter.setdefault(name, {})[part] = array
    return adapter

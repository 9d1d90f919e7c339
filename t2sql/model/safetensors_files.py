"""The tensors of a folder's safetensors files: one file, or several with an index."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes  # noqa: F401 - NumPy's bfloat16, which safetensors gives
import numpy as np
import safetensors

from t2sql import errors

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
# Quantised tensors come with scales that the file alone does not explain.
_DTYPES = ("F32", "BF16", "F16")


def has_any(folder: Path) -> bool:
    """Whether there are safetensors files of weights in the folder."""
    return bool(_index(folder) or any(folder.glob("*.safetensors")))


def names(folder: Path) -> list[str]:
    """Names of the files that hold the weights: all that the index names, or the only one.

    Raises:
      InputError: one is missing, the index is broken, or there are several without an index.
    """
    if index := _index(folder):
        files = sorted(set(_weight_map(index).values()))
        absent = [name for name in files if not (folder / name).is_file()]
        if absent:
            raise errors.InputError(
                f"{folder}: {', '.join(absent)} of {len(files)} files is missing, which {INDEX}"
                " names; fetch it"
            )
        return files
    if (folder / SINGLE).is_file():
        return [SINGLE]
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    if len(files) != 1:
        raise errors.InputError(
            f"{folder}: {len(files)} safetensors files and no {INDEX}, which says what is in them:"
            " fetch it too"
        )
    return files


def _index(folder: Path) -> Path | None:
    return path if (path := folder / INDEX).is_file() else None


def _weight_map(index: Path) -> Mapping[str, str]:
    try:
        weight_map = json.loads(index.read_text())["weight_map"]
        if all(isinstance(name, str) for name in weight_map.values()):
            return weight_map
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.InputError(f"{index}: not an index of safetensors files: {error}") from error
    raise errors.InputError(f"{index}: not an index of safetensors files")


def _is_lfs_pointer(path: Path) -> bool:
    """Whether it is what Git checks out of a large file where Git LFS is not installed."""
    with path.open("rb") as file:
        head = file.read(100)
    return head.startswith(b"version ") and b"git-lfs" in head


class SafetensorsFiles:
    """Tensors by name; each is read from the disk when asked for.

    Attributes:
      shapes: of all tensors, by name.
      metadata: the strings that the files' heads hold.
    """

    def __init__(self, folder: Path, files: list[str]):
        """Opens the files and reads their heads.

        Raises:
          InputError: a file is missing, cut short, or no safetensors file.
        """
        self.folder = folder
        self._stack = contextlib.ExitStack()
        self._files: dict[str, tuple[str, safetensors.safe_open]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.metadata: dict[str, str] = {}
        for name in files:
            file = self._open(name)
            self.metadata |= file.metadata() or {}
            for tensor in file.keys():  # noqa: SIM118 - it is no mapping
                self._files[tensor] = (name, file)
                self.shapes[tensor] = tuple(file.get_slice(tensor).get_shape())

    def _open(self, name: str) -> safetensors.safe_open:
        path = self.folder / name
        try:
            return self._stack.enter_context(safetensors.safe_open(path, framework="numpy"))
        except FileNotFoundError as error:
            raise errors.InputError(f"{path}: no such file") from error
        except (safetensors.SafetensorError, OSError) as error:
            if _is_lfs_pointer(path):
                raise errors.InputError(
                    f"{path}: a pointer of Git LFS, not the file itself; run `git lfs pull` in the"
                    " clone that it lies in"
                ) from error
            raise errors.InputError(
                f"{path}: truncated or damaged safetensors file of {path.stat().st_size:,} bytes"
                f" ({error}); fetch it again"
            ) from error

    def __enter__(self) -> "SafetensorsFiles":
        return self

    def __exit__(self, *_) -> None:
        self._stack.close()

    def tensor(self, name: str, rows: int | None = None) -> np.ndarray:
        """Reads a tensor, or its first `rows` rows, in the file's dtype.

        Raises:
          InputError: its dtype is not a floating-point one of 16 or 32 bits.
        """
        file_name, file = self._files[name]
        stored = file.get_slice(name)
        if (dtype := stored.get_dtype()) not in _DTYPES:
            raise errors.InputError(
                f"{self.folder / file_name}: tensor {name!r} has dtype {dtype}; read are"
                f" {', '.join(_DTYPES)}: take the weights before they were quantised"
            )
        return stored[:rows] if rows is not None else file.get_tensor(name)

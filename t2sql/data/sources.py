"""Where data comes from: whatever the user names becomes a local directory."""

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from t2sql import errors
from t2sql.data.dataset import DATABASES, FILES
from t2sql.storage import kaggle
from t2sql.storage.base import StorageConfig

if TYPE_CHECKING:
    from t2sql.storage import on_demand

SAMPLE = Path(__file__).parent / "sample"

_KAGGLE = "kaggle:"
_GCS = "gs://"
_FORMS = "give sample, a directory, gs://BUCKET/DIR or kaggle:OWNER/DATASET"
# Archives put the layout under a top folder, sometimes two.
_DEPTHS = ("", "*/", "*/*/")


def resolve_data(path: str, *, cache_dir: Path, storage: StorageConfig | None = None) -> Path:
    """The local directory that `path` stands for, in the layout of one of `dataset.SETS`.

    Args:
      path: "sample" for the data set in this package; a directory; `gs://bucket/dir`, copied
        once into `cache_dir` and checked; or `kaggle:owner/dataset`, with
        `/versions/N` at its end if wanted, fetched once into kagglehub's cache. The layout
        may lie up to two folders deeper.
      cache_dir: local directory for what is fetched; made if it is missing.
      storage: how to reach gs://.

    Raises:
      InputError: there is no such place, it holds no data, or access is refused.
      TryAgainError: the network or the disk failed.
    """
    if path == "sample":
        return SAMPLE
    if is_bucket(path):
        # Takes a while to import, which those with local data need not pay.
        from t2sql.storage import stage

        return _layout_root(path, stage.stage_directory(path, cache_dir / "data", storage))
    if path.startswith(_KAGGLE):
        handle = path.removeprefix(_KAGGLE)
        return _layout_root(path, kaggle.download_dataset(handle, cache_dir=cache_dir))
    return _layout_root(path, _local(path))


def open_bucket(
    path: str, *, cache_dir: Path, storage: StorageConfig | None = None
) -> "tuple[Path, on_demand.OnDemandCopy]":
    """The local directory of `gs://bucket/dir`, without its databases, and where they come from.

    The arguments and errors are those of `resolve_data`.
    """
    from t2sql.storage import on_demand

    copy = on_demand.OnDemandCopy(path, cache_dir / "data", _database_folder, storage)
    return _layout_root(path, copy.path), copy


def is_bucket(path: str) -> bool:
    """Whether the data lies in an object store."""
    return path.startswith(_GCS)


def _database_folder(name: str) -> str:
    """The folder of the database that a file is of, such as "database/pets"; "" for others."""
    parts = name.split("/")
    for depth in range(min(len(_DEPTHS), len(parts) - 2)):
        if parts[depth] in DATABASES:
            return "/".join(parts[: depth + 2])
    return ""


def _local(path: str) -> Path:
    if not path or "://" in path:
        raise errors.InputError(f"data path {path!r}: {_FORMS}")
    root = Path(path).expanduser()
    if not root.is_dir():
        reason = "is not a directory" if root.exists() else "no such data directory"
        raise errors.InputError(f"{root}: {reason}; {_FORMS}")
    return root


def _layout_root(path: str, directory: Path) -> Path:
    """The directory at or below `directory` that holds a split's file, or else databases only.

    Raises:
      InputError: there is none, or there are several.
    """
    for contents, depth in itertools.product((FILES, DATABASES), _DEPTHS):
        holders = {path.parent for name in contents for path in directory.glob(depth + name)}
        # What a Mac adds to an archive.
        holders = {holder for holder in holders if "__MACOSX" not in holder.parts}
        if len(holders) > 1:
            names = ", ".join(str(holder) for holder in sorted(holders))
            raise errors.InputError(f"{path}: several data sets lie there, name one: {names}")
        if holders:
            return holders.pop()
    if any(path.suffix in (".json", ".jsonl") for path in directory.iterdir()):
        return directory  # one's own questions, whose file `data.split` names
    entries = ", ".join(sorted(entry.name for entry in directory.iterdir())[:10]) or "nothing"
    raise errors.InputError(
        f"{path}: none of {', '.join(FILES)} and no folder {' or '.join(DATABASES)} is in "
        f"{directory} or two folders below (there is: {entries})"
    )

"""Remote directories as local ones: data, checkpoints and compilation caches."""

import base64
import concurrent.futures
import hashlib
import logging
import os
import pathlib
from collections.abc import Sequence

import google_crc32c

from t2sql import errors
from t2sql import storage as storage_lib
from t2sql.storage import base, local, locks

_THREADS = 8
_logger = logging.getLogger(__name__)


def stage_directory(
    url: str,
    cache_dir: pathlib.Path,
    config: storage_lib.StorageConfig | None = None,
    *,
    may_be_empty: bool = False,
) -> pathlib.Path:
    """Copies a remote directory to local disk once and returns where it lies.

    The copy's name holds a hash of what the listing says (names, sizes, checksums), so that
    a changed source is staged anew and an old copy is never mixed with it. Files are checked
    by crc32c and synced before the copy gets its name; an interrupted staging continues
    where it stopped. Processes that share the cache wait for the one that stages.

    Args:
      url: `gs://bucket/directory`.
      cache_dir: local directory that holds the copies; made if it is missing.
      config: how to reach the storage.
      may_be_empty: whether a source without objects is an empty directory, not an error.

    Raises:
      InputError: there is nothing under the URL, no permission, a name unfit for a file.
      TryAgainError: the network or the disk failed for too long.
    """
    source = storage_lib.open_storage(url, config)
    objects = source.list()
    if not objects and not may_be_empty:
        raise errors.InputError(f"{url}: nothing lies there")
    target = cache_dir / copy_name(url, objects)
    with local.explained(target):
        cache_dir.mkdir(parents=True, exist_ok=True)
        with locks.held(cache_dir / f"{target.name}.lock"):
            if not _is_whole(target, objects):
                _stage(source, objects, target)
    return target


def publish_directory(
    directory: pathlib.Path, url: str, config: storage_lib.StorageConfig | None = None
) -> int:
    """Creates each file of a local directory that the remote one lacks.

    Returns:
      How many objects were created.
    """
    files = storage_lib.open_storage(str(directory))
    remote = storage_lib.open_storage(url, config)
    new = sorted(files.names() - remote.names())
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        outcomes = pool.map(lambda name: remote.create(name, files.read(name)), new)
        return sum(outcome is storage_lib.Outcome.CREATED for outcome in outcomes)


def _stage(
    source: storage_lib.Storage, objects: Sequence[storage_lib.ObjectInfo], target: pathlib.Path
) -> None:
    partial = target.with_name(f"{target.name}.partial")
    if target.exists():  # Files went missing or were cut: keep and check what is there.
        target.rename(partial)
    total = sum(info.size for info in objects)
    _logger.info("staging %s: %d objects, %.1f MB", source.url, len(objects), total / 1e6)
    partial.mkdir(exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(lambda info: _fetch(source, info, partial), objects):
            pass
    partial.rename(target)


def _fetch(
    source: storage_lib.Storage, info: storage_lib.ObjectInfo, directory: pathlib.Path
) -> None:
    path = directory / base.check_name(info.name)
    if not _matches(path, info):
        path.parent.mkdir(parents=True, exist_ok=True)
        download(source, info, path)


def download(source: storage_lib.Storage, info: storage_lib.ObjectInfo, path: pathlib.Path) -> None:
    """Writes an object of a listing to a file, checked by its crc32c and synced.

    Raises:
      TryAgainError: the object is not what the listing says any more.
    """
    try:
        source.download(info.name, path)
    except FileNotFoundError as error:
        raise errors.TryAgainError(f"{source.url}/{info.name} was deleted meanwhile") from error
    if not _matches(path, info):
        raise errors.TryAgainError(
            f"{source.url}/{info.name} changed while it was staged; run the same command again"
        )
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _matches(path: pathlib.Path, info: storage_lib.ObjectInfo) -> bool:
    if not path.is_file() or path.stat().st_size != info.size:
        return False
    crc = google_crc32c.Checksum()
    with open(path, "rb") as file:
        for _ in crc.consume(file, 1 << 20):
            pass
    return base64.b64encode(crc.digest()).decode("ascii") == info.crc32c


def _is_whole(target: pathlib.Path, objects: Sequence[storage_lib.ObjectInfo]) -> bool:
    """Whether a copy is there and no file was deleted or cut since; contents were checked."""
    if not target.is_dir():
        return False
    paths = [(target / base.check_name(info.name), info.size) for info in objects]
    return all(path.is_file() and path.stat().st_size == size for path, size in paths)


def copy_name(url: str, objects: Sequence[storage_lib.ObjectInfo]) -> str:
    """The name of a local copy, with a hash of what the listing says."""
    digest = hashlib.sha256(url.encode())
    for info in objects:
        digest.update(f"\n{info.name}\t{info.size}\t{info.crc32c}".encode())
    return f"{url.rstrip('/').rpartition('/')[2]}-{digest.hexdigest()[:16]}"

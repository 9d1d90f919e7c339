"""A local cache of folders that are costly to make and can be made again.

An entry is built in a staging folder and renamed when complete, with a manifest of its
files. An entry that does not match its manifest, as after a kill or on a full disk, is
built again.
"""

import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from t2sql import errors
from t2sql.storage import locks

ENVIRONMENT_VARIABLE = "T2SQL_CACHE"
_MANIFEST = "manifest.json"
_BLOCK_BYTES = 1 << 22
_logger = logging.getLogger(__name__)


def default_dir() -> Path:
    """`$T2SQL_CACHE`, or `~/.cache/t2sql`."""
    return Path(os.environ.get(ENVIRONMENT_VARIABLE) or "~/.cache/t2sql").expanduser()


def get_or_build(entry: Path, build: Callable[[Path], None]) -> Path:
    """Returns `entry` with all of its files; calls `build(staging folder)` where it has to.

    Processes that want the same entry wait for the first of them.

    Raises:
      InputError: the cache cannot be written, or its disk is full.
    """
    make_folder(entry.parent)
    with locks.held(entry.with_name(f"{entry.name}.lock")):
        damage = _find_damage(entry)
        if damage is None:
            return entry
        if entry.exists():
            _logger.warning("%s: %s; building it again", entry, damage)
            shutil.rmtree(entry)
        _build(entry, build)
    return entry


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file's content, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Writes a small file that other processes see whole or not at all."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.chmod(file.name, 0o644)
            os.rename(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _build(entry: Path, build: Callable[[Path], None]) -> None:
    for abandoned in entry.parent.glob(f".{entry.name}-*"):
        shutil.rmtree(abandoned)
    staging = Path(tempfile.mkdtemp(prefix=f".{entry.name}-", dir=entry.parent))
    try:
        build(staging)
        (staging / _MANIFEST).write_text(json.dumps(_describe(staging), indent=1))
        staging.rename(entry)
    except (OSError, ValueError) as error:  # ValueError is what TensorStore raises.
        if os.strerror(errno.ENOSPC) not in str(error):
            raise
        raise errors.InputError(
            f"the disk of the cache folder {entry.parent} is full; free some space, or name"
            f" another folder with --config.cache_dir or {ENVIRONMENT_VARIABLE}"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def make_folder(path: Path) -> None:
    """Makes a folder of the cache.

    Raises:
      InputError: it cannot be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        writable = os.access(path, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise errors.InputError(
            f"cannot write to the cache folder {path}; name another one with"
            f" --config.cache_dir or {ENVIRONMENT_VARIABLE}"
        )


def _describe(folder: Path) -> dict[str, dict[str, int | str]]:
    """Returns size, modification time (ns) and SHA-256 of each file, by relative name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _MANIFEST)
    return {
        str(path.relative_to(folder)): {
            "size": path.stat().st_size,
            "mtime_ns": path.stat().st_mtime_ns,
            "sha256": sha256_of(path),
        }
        for path in files
    }


def _find_damage(entry: Path) -> str | None:
    """Returns what is wrong with an entry; hashes only files that were touched since."""
    try:
        manifest = json.loads((entry / _MANIFEST).read_text())
    except (OSError, ValueError):
        return "no readable manifest"
    for name, recorded in manifest.items():
        path = entry / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != recorded["size"]:
            return f"{name} has {path.stat().st_size} bytes, not {recorded['size']}"
        touched = path.stat().st_mtime_ns != recorded["mtime_ns"]
        if touched and sha256_of(path) != recorded["sha256"]:
            return f"{name} has changed"
    return None

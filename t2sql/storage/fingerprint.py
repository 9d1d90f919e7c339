"""SHA-256 of files and folders, computed once for as long as they are not touched."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from t2sql.storage import local_cache


def of_file(path: Path, *, cache_dir: Path) -> str:
    """Returns the SHA-256 of a file's content, in hex."""
    return _remembered(path, [path], cache_dir, lambda: local_cache.sha256_of(path))


def of_folder(folder: Path, *, cache_dir: Path) -> str:
    """Returns a SHA-256 of the names and contents of a folder's files.

    It does not depend on the host or on where the folder lies.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return of_files(folder, files, cache_dir=cache_dir)


def of_files(folder: Path, files: Sequence[Path], *, cache_dir: Path) -> str:
    """Returns a SHA-256 of names and contents of the given files below a folder, in order."""

    def compute() -> str:
        digest = hashlib.sha256()
        for path in files:
            name = path.relative_to(folder).as_posix()
            digest.update(f"{name}\0{local_cache.sha256_of(path)}\n".encode())
        return digest.hexdigest()

    return _remembered(folder, files, cache_dir, compute)


def _remembered(root: Path, files: Sequence[Path], cache_dir: Path, compute) -> str:
    """Returns `compute()`, kept for as long as the files keep their sizes and times."""
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    key = hashlib.sha256(json.dumps([str(root.absolute()), stats]).encode()).hexdigest()
    memo = cache_dir / "sha256" / key
    if not memo.exists():
        local_cache.make_folder(memo.parent)
        local_cache.write_atomically(memo, compute())
    return memo.read_text()

"""Objects as files below a local directory."""

import contextlib
import errno
import os
import pathlib
import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator

from t2sql import errors
from t2sql.storage import base, locks

# Files of unfinished writes start with this; no listing shows names that start with a dot.
ASIDE = ".aside-"

_USER_MUST_ACT = {
    errno.EACCES: "no permission; choose another directory or change its permissions",
    errno.EPERM: "the file system does not allow it (no hard links?); choose another directory",
    errno.EOPNOTSUPP: "the file system has no hard links; choose another directory",
    errno.EROFS: "the file system is read-only; choose another directory",
    errno.EEXIST: "a file stands where a directory belongs; choose another directory",
    errno.ENOTDIR: "a part of the path is a file, not a directory; choose another directory",
    errno.EISDIR: "a directory stands where a file belongs; choose another directory",
    errno.ENAMETOOLONG: "the path is too long; choose a shorter one",
    errno.ELOOP: "the path runs in a circle of symbolic links",
}
_MAY_PASS = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EFBIG: "the file size limit is reached (ulimit -f); raise it and run again",
}


class LocalStorage:
    """Storage in a local directory, which is made on the first `create`.

    A file is written aside in its final directory, synced, and hard-linked to its final
    name, so a finished object is never replaced and a killed process leaves no half object.
    """

    def __init__(self, root: pathlib.Path):
        self.url = str(root)
        self._root = root.absolute()
        self._swept: set[pathlib.Path] = set()

    def create(self, name: str, data: bytes) -> base.Outcome:
        target = self._path(name)
        with explained(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            self._sweep_once(target.parent)
            with _written_aside(target.parent, data) as aside:
                outcome = _link(aside, target, data)
            with _opened(target.parent) as directory:
                os.fsync(directory)
        return outcome

    def read(self, name: str) -> bytes:
        with explained(self._path(name), passing=FileNotFoundError):
            return self._path(name).read_bytes()

    def download(self, name: str, path: pathlib.Path) -> None:
        with explained(self._path(name), passing=FileNotFoundError):
            shutil.copyfile(self._path(name), path)

    def exists(self, name: str) -> bool:
        with explained(self._path(name)):
            return self._path(name).is_file()

    def names(self, *prefixes: str) -> set[str]:
        with explained(self._root):
            return set(self._walk(prefixes or ("",)))

    def list(self, *prefixes: str, only: Collection[str] | None = None) -> list[base.ObjectInfo]:
        names = self.names(*prefixes)
        infos = []
        for name in sorted(names if only is None else names & {*only}):
            with contextlib.suppress(FileNotFoundError):  # taken away meanwhile: not there
                infos.append(self._info(name))
        return infos

    def withdraw(self, name: str, data: bytes) -> bool:
        target = self._path(name)
        with explained(target), _opened(target.parent) as directory:
            # Objects are never replaced, so only another withdrawal could come between.
            locks.acquire(directory, wait=True)
            if not target.is_file() or target.read_bytes() != data:
                return False
            target.unlink()
            os.fsync(directory)
        return True

    def delete(self, names: Iterable[str]) -> None:
        for name in names:
            with explained(self._path(name)):
                self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> pathlib.Path:
        return self._root / base.check_name(name)

    def _walk(self, prefixes: tuple[str, ...]) -> Iterator[str]:
        for top in {prefix.rpartition("/")[0] for prefix in prefixes}:
            for directory, _, files in os.walk(self._root / top, onerror=_raise_unless_missing):
                parent = os.path.relpath(directory, self._root)
                for file in files:
                    name = file if parent == "." else f"{parent}/{file}"
                    if name.startswith(prefixes) and not file.startswith("."):
                        yield name

    def _info(self, name: str) -> base.ObjectInfo:
        data = self.read(name)
        return base.ObjectInfo(name=name, size=len(data), crc32c=base.checksum(data))

    def _sweep_once(self, directory: pathlib.Path) -> None:
        if directory not in self._swept:
            self._swept.add(directory)
            _sweep(directory)


@contextlib.contextmanager
def _written_aside(directory: pathlib.Path, data: bytes) -> Iterator[pathlib.Path]:
    """Yields a synced, locked file that holds the data, and removes it afterwards."""
    descriptor, path = _open_aside(directory)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        os.fsync(descriptor)
        yield path
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _link(aside: pathlib.Path, target: pathlib.Path, data: bytes) -> base.Outcome:
    try:
        os.link(aside, target)
    except FileExistsError:
        return base.Outcome.SAME if target.read_bytes() == data else base.Outcome.OTHER
    return base.Outcome.CREATED


def _open_aside(directory: pathlib.Path) -> tuple[int, pathlib.Path]:
    """Opens a new file under a lock that says its writer lives."""
    while True:
        path = directory / f"{ASIDE}{secrets.token_hex(8)}"
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666)
        locks.acquire(descriptor, wait=True)  # Where there are no locks, nobody sweeps either.
        if os.fstat(descriptor).st_nlink:
            return descriptor, path
        os.close(descriptor)  # Swept away between the opening and the lock: once more.


def _sweep(directory: pathlib.Path) -> None:
    """Removes what killed writers left: the files aside that nobody holds locked."""
    for path in directory.glob(f"{ASIDE}*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                if locks.acquire(descriptor, wait=False):
                    path.unlink()
            finally:
                os.close(descriptor)


@contextlib.contextmanager
def _opened(directory: pathlib.Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _raise_unless_missing(error: OSError) -> None:
    if error.errno != errno.ENOENT:
        raise error


@contextlib.contextmanager
def explained(path: pathlib.Path, *, passing: type[OSError] | tuple[()] = ()) -> Iterator[None]:
    """Turns the errors of the operating system into ours, except those of `passing`.

    Raises:
      InputError: the user has to change something (permissions, another directory).
      TryAgainError: the disk is full or faulty.
    """
    try:
        yield
    except passing:
        raise
    except OSError as error:
        where = error.filename or path
        if error.errno in _USER_MUST_ACT:
            raise errors.InputError(f"{where}: {_USER_MUST_ACT[error.errno]}") from error
        reason = _MAY_PASS.get(error.errno, error.strerror)
        raise errors.TryAgainError(f"{where}: {reason}") from error

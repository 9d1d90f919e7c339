"""File locks between the processes of a machine; the system frees those of a killed one."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds the lock file at `path`, which is made if missing; waits for whoever holds it."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def acquire(descriptor: int, *, wait: bool) -> bool:
    """Locks an open file until it is closed.

    Returns:
      False where another process holds it and `wait` is not set, or where the file system
      has no locks, as some network file systems.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True

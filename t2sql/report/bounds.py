"""Bounds around work on text that may be hostile, in the process that does the work."""

import contextlib
import signal
from collections.abc import Iterator

SECONDS = 10.0
MEMORY = 2 << 30


class ExceededError(Exception):
    """The work took more time or memory than it may."""


@contextlib.contextmanager
def bounded(seconds: float = SECONDS) -> Iterator[None]:
    """Ends the work within it after `seconds`; main thread only, Python code only.

    Raises:
      ExceededError: the time is over, or the process ran out of memory.
    """

    def stop(*_: object) -> None:
        raise ExceededError(f"it takes more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except MemoryError as error:
        raise ExceededError("it needs too much memory") from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

"""SIGTERM: stop in good order within a grace period, and end in any case after it.

A step on the device can outlast the grace period, and Python runs signal handlers
only between steps. So a thread of its own waits for the signal.
"""

import os
import signal
import sys
import threading

EXIT_TERMINATED = 143


class Terminated(Exception):
    """SIGTERM has come; what is finished is to be flushed, the rest abandoned."""


class TerminationWatch:
    """Waits for SIGTERM from `start` on.

    Args:
      grace_seconds: from the signal until the process ends whatever it does.
    """

    def __init__(self, grace_seconds: float):
        self._grace_seconds = grace_seconds
        self._asked = threading.Event()

    def start(self) -> None:
        """Call on the main thread, before other threads start: they inherit its mask.

        NumPy starts some when it is imported. The signal would end the process at once in a
        thread that does not block it.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=self._wait, daemon=True, name="sigterm").start()

    def check(self) -> None:
        """Raises Terminated once the signal has come."""
        if self._asked.is_set():
            raise Terminated

    def _wait(self) -> None:
        signal.sigwait({signal.SIGTERM})
        self._asked.set()
        threading.Event().wait(self._grace_seconds)
        print(
            f"SIGTERM: not finished within {self._grace_seconds:g} s (config.grace_seconds); "
            "unfinished units are left for the next run",
            file=sys.stderr,
            flush=True,
        )
        os._exit(EXIT_TERMINATED)

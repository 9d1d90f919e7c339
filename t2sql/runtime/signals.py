"""SIGTERM and SIGINT: stop in good order, and end in any case when that takes too long.

Python runs signal handlers between its own steps only: not while XLA compiles, not while JAX
waits for other hosts, and not within a step on the device. So a thread of its own waits.
"""

import contextlib
import os
import signal
import sys
import threading

EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
_EXIT_CODES = {signal.SIGINT: EXIT_INTERRUPTED, signal.SIGTERM: EXIT_TERMINATED}


class Terminated(Exception):
    """SIGTERM has come; what is finished is to be flushed, the rest abandoned."""


def hold() -> set[signal.Signals]:
    """Blocks the signals that a watch waits for, which then come to no thread but its own.

    Call on the main thread, before other threads start: they inherit its mask, and in a
    thread without it a signal would end the process at once. NumPy starts some when it is
    imported, and a config file may import anything.
    """
    waited = {signal.SIGTERM}
    # A shell without job control starts its background jobs deaf to Ctrl-C.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        waited.add(signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    return waited


class TerminationWatch:
    """Waits for the signals from `start` on.

    Until `keep_order` a signal ends the process at once: there are no results to lose. After it
    the signal is told to whoever calls `check`; then a second SIGINT ends the process at once,
    and after SIGTERM the end of the grace period does.

    Args:
      grace_seconds: from SIGTERM until the process ends whatever it does.
      advice: how to go on, for the last words of a process that ends at once.
    """

    def __init__(self, grace_seconds: float, advice: str = ""):
        self._grace_seconds = grace_seconds
        self._advice = advice
        self._orderly = False
        self._asked: set[signal.Signals] = set()

    def start(self) -> None:
        """Begins to wait; see `hold` on where to call it."""
        threading.Thread(target=self._wait, args=(hold(),), daemon=True, name="signals").start()

    def keep_order(self) -> None:
        """From here on there are results to flush, and somebody calls `check`."""
        self._orderly = True

    def check(self) -> None:
        """Raises KeyboardInterrupt or Terminated once a signal has come."""
        if signal.SIGTERM in self._asked:
            raise Terminated
        if signal.SIGINT in self._asked:
            raise KeyboardInterrupt

    def _wait(self, waited: set[signal.Signals]) -> None:
        while True:
            number = signal.Signals(signal.sigwait(waited))
            again = number in self._asked
            if not self._asked and not self._orderly:
                _end(number, self._advice)
            self._asked.add(number)
            if number is signal.SIGTERM and not again:
                self._end_after_grace()
            elif number is signal.SIGINT and again:
                _end(number, "unfinished units are left for the next run")
            elif number is signal.SIGINT:
                _say("Stopping after this step; Ctrl-C again ends it at once.")

    def _end_after_grace(self) -> None:
        late = (
            f"not finished within {self._grace_seconds:g} s (--config.grace_seconds); "
            "unfinished units are left for the next run"
        )
        timer = threading.Timer(self._grace_seconds, _end, (signal.SIGTERM, late))
        timer.daemon = True
        timer.start()


def _end(number: signal.Signals, why: str) -> None:
    _say(f"{number.name}: {why}")
    os._exit(_EXIT_CODES[number])


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # Whoever read it may be gone.
        sys.stdout.flush()
        print(text, file=sys.stderr, flush=True)

"""The child process that runs untrusted SQL; it imports little, so that it starts at once.

It takes batches of tasks from its parent, tells the parent which step of which task it is at,
and sends the results. It can be killed at any time: the parent then knows the step to blame.
"""

import contextlib
import pickle
import signal
import sys
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Protocol

from t2sql.evaluation.sandbox.results import Limits
from t2sql.evaluation.sandbox.sqlite_sandbox import Sandbox

OUT_OF_MEMORY_EXIT = 71
PARENT_GONE_EXIT = 72


class Task(Protocol):
    """Work for a worker; it is pickled, and its result too."""

    def __call__(self, sandbox: Sandbox, steps: "StepGuard") -> Any:
        """Does the work, announcing each step that untrusted input can make go wrong."""


class Message(NamedTuple):
    """What a worker tells its parent.

    Attributes:
      kind: `ready`, `step` (about to begin `value`), `done` (with the result `value`) or `bug`
        (with a traceback as `value`).
      position: the task's place in the batch.
      value: depends on the kind.
    """

    kind: str
    position: int = 0
    value: Any = None


class StepFailedError(Exception):
    """A step cannot be done: it has killed a worker before."""

    def __init__(self, status: str, message: str):
        super().__init__(message)
        self.status = status
        self.message = message


class StepGuard:
    """The steps of one task.

    Args:
      connection: to the parent.
      position: the task's place in the batch.
      failures: step -> (status, message), for steps that killed a worker before.
    """

    def __init__(
        self,
        connection: Connection,
        position: int,
        failures: Mapping[str, tuple[str, str]],
    ):
        self._connection, self._position, self._failures = connection, position, failures

    def begin(self, name: str) -> None:
        """Announces a step, from which on its time counts.

        Raises:
          StepFailedError: the step killed the last worker that tried it.
        """
        if name in self._failures:
            raise StepFailedError(*self._failures[name])
        send(self._connection, Message("step", self._position, name))


def send(connection: Connection, value: Any) -> None:
    """Sends a picklable value; on the other side `receive` takes it."""
    connection.send_bytes(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))


def receive(connection: Connection) -> Any:
    """Takes what `send` sent.

    Raises:
      EOFError: the other side is gone.
    """
    return pickle.loads(connection.recv_bytes())


def main(connection: Connection, limits: Limits) -> None:
    """Serves the parent at the other end of a connection until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    confine(limits)
    sandbox = Sandbox(limits)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        send(connection, Message("ready"))
        while True:
            _serve(receive(connection), connection, sandbox)


def confine(limits: Limits) -> None:
    """Bounds the memory of this process and forbids it to write to any file."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if sys.platform != "darwin":  # which counts shared libraries, and enforces nothing
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))


def _serve(
    batch: list[tuple[Task, dict[str, tuple[str, str]]]], connection: Connection, sandbox: Sandbox
) -> None:
    for position, (task, failures) in enumerate(batch):
        try:
            result = task(sandbox, StepGuard(connection, position, failures))
        except MemoryError:
            sys.exit(OUT_OF_MEMORY_EXIT)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            sys.exit(PARENT_GONE_EXIT)
        except Exception:
            send(connection, Message("bug", position, traceback.format_exc()))
            return
        send(connection, Message("done", position, result))
        if sandbox.out_of_memory:
            # A fresh process has all of its memory for the next query.
            sys.exit(OUT_OF_MEMORY_EXIT)

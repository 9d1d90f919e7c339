"""A child process that runs untrusted SQL, seen from its parent."""

import collections
import dataclasses
import signal
import subprocess
import time

from t2sql.evaluation.sandbox import worker
from t2sql.evaluation.sandbox.results import Limits
from t2sql.evaluation.sandbox.worker import Message, Task
from t2sql.runtime import children

_START_SECONDS = 60.0
_MAX_RESTARTS = 3


@dataclasses.dataclass
class Job:
    """A task on its way.

    Attributes:
      index: its place among all tasks.
      failures: step -> (status, message) of the steps that killed a process.
      restarts: how often its process ended before it announced a step.
    """

    index: int
    task: Task
    failures: dict[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    restarts: int = 0

    def blame(self, step: str, status: str, message: str) -> None:
        """Records what killed the process that had this job.

        Raises:
          RuntimeError: no step is to blame, time and again.
        """
        if step:
            self.failures[step] = (status, message)
            return
        self.restarts += 1
        if self.restarts > _MAX_RESTARTS:
            raise RuntimeError(f"processes keep ending before they begin {self.task}: {message}")


class WorkerProcess:
    """A child process, seen from its parent.

    Attributes:
      connection: to it.
      batch: its unfinished jobs, the current one first.
      step: the step of the current job that it announced last.
      deadline: when it will be killed unless it says something before.
    """

    def __init__(self, limits: Limits):
        self._limits = limits
        self.batch: collections.deque[Job] = collections.deque()
        self.step = ""
        self._process, self.connection = children.start(
            "worker",
            f"results.{limits!r}",
            imports="from t2sql.evaluation.sandbox import results, worker",
            stdout=subprocess.DEVNULL,
        )
        self.deadline = time.monotonic() + _START_SECONDS
        self._ready = False

    def give(self, jobs: list[Job]) -> None:
        """Hands over a batch; the process must be idle."""
        self.batch.extend(jobs)
        self.step = ""
        if self._ready:
            self._extend()
        try:
            worker.send(self.connection, [(job.task, job.failures) for job in jobs])
        except (BrokenPipeError, ConnectionResetError):
            return  # It died; `receive` will find out.

    def receive(self) -> Message:
        """The next message.

        Raises:
          EOFError: the process is gone.
        """
        message: Message = worker.receive(self.connection)
        self._ready = True
        self._extend()
        self.step = message.value if message.kind == "step" else ""
        return message

    def _extend(self) -> None:
        self.deadline = time.monotonic() + self._limits.seconds + self._limits.grace

    def cause_of_death(self) -> tuple[str, str]:
        """Status and message for a process that ended by itself.

        Raises:
          RuntimeError: it never started.
        """
        code = self._process.wait()
        if not self._ready:
            raise RuntimeError(
                f"a worker process could not start (exit {code}); its message is above; "
                f"is a memory limit of {self._limits.memory:,} bytes too low?"
            )
        if code == worker.OUT_OF_MEMORY_EXIT:
            return "out_of_memory", "the query needs more memory"
        name = signal.Signals(-code).name if code < 0 else f"exit {code}"
        return "crashed", f"the process that ran the query died ({name})"

    def kill(self) -> None:
        """Ends the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        self.connection.close()

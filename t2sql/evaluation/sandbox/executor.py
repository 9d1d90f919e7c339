"""A pool of child processes that run untrusted SQL and can be killed at any moment.

    with Executor() as executor:
        result = executor.run(database, "SELECT count(*) FROM singer")

Nothing a query does reaches the parent but a result of bounded size: what the query may do is
bounded in `sqlite_sandbox.py`, and the process around it by the operating system. A worker that
overruns its time, or dies, is replaced; the step it was at is reported and every other task
goes on.
"""

import collections
import dataclasses
import itertools
import time
from collections.abc import Iterable, Iterator
from multiprocessing import connection as connections
from pathlib import Path
from typing import Any

from t2sql.evaluation.sandbox.process import Job, WorkerProcess
from t2sql.evaluation.sandbox.results import ExecutionResult, Limits, timeout_message
from t2sql.evaluation.sandbox.sqlite_sandbox import Sandbox
from t2sql.evaluation.sandbox.worker import StepFailedError, StepGuard, Task
from t2sql.runtime import children

__all__ = ["ExecutionResult", "Executor", "Limits", "Query"]

_MAX_BATCH = 16
_WINDOW_BATCHES = 4


@dataclasses.dataclass(frozen=True)
class Query:
    """The task of running one query."""

    database: Path
    sql: str

    def __call__(self, sandbox: Sandbox, steps: StepGuard) -> ExecutionResult:
        """Runs it."""
        try:
            steps.begin("query")
        except StepFailedError as failure:
            return ExecutionResult(status=failure.status, message=failure.message)
        return sandbox.run(self.database, self.sql).shown(sandbox.limits)


class Executor:
    """Runs tasks on `workers` child processes (the processor's cores by default).

    The processes start when they are first needed and end with the `with` block.
    """

    def __init__(self, limits: Limits = Limits(), *, workers: int | None = None):  # noqa: B008
        self.limits = limits
        self.workers = workers or children.cores()
        self._pool: list[WorkerProcess] = []
        self._mapping = False

    def __enter__(self) -> "Executor":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the child processes."""
        while self._pool:
            self._pool.pop().kill()

    def run(self, database: Path, sql: str) -> ExecutionResult:
        """Runs one query on a SQLite file; whatever is wrong with it is told in the result."""
        (result,) = self.map([Query(database, sql)])
        return result

    def map(self, tasks: Iterable[Task]) -> Iterator[Any]:
        """Yields the result of each task, in order, on all processes at once.

        Takes tasks only as far ahead as keeps the processes busy. Only one `map` at a time.

        Raises:
          RuntimeError: another `map` is not finished, or a task has a bug.
        """
        if self._mapping:
            raise RuntimeError("this executor's last map is not finished")
        self._mapping = True
        try:
            yield from _Run(self, tasks)
        finally:
            self._mapping = False
            # What an abandoned map left running is of no use to the next one.
            for process in self.busy():
                self.retire(process)

    def has_idle(self) -> bool:
        """Whether a process is without work, or one more may be started."""
        return len(self.busy()) < self.workers

    def idle(self) -> WorkerProcess:
        """A process without work, started if need be."""
        for process in self._pool:
            if not process.batch:
                return process
        self._pool.append(WorkerProcess(self.limits))
        return self._pool[-1]

    def busy(self) -> list[WorkerProcess]:
        """The processes with work."""
        return [process for process in self._pool if process.batch]

    def retire(self, process: WorkerProcess) -> None:
        """Kills a process for good; `idle` starts another one."""
        process.kill()
        self._pool.remove(process)


class _Run:
    """One `map`: deals tasks to processes and puts their results in order."""

    def __init__(self, executor: Executor, tasks: Iterable[Task]):
        self._executor = executor
        self._source = (Job(index, task) for index, task in enumerate(tasks))
        self._again: collections.deque[Job] = collections.deque()
        self._results: dict[int, Any] = {}
        self._taken = self._yielded = self._dealt = 0
        self._window = _WINDOW_BATCHES * _MAX_BATCH * executor.workers

    def __iter__(self) -> Iterator[Any]:
        while True:
            self._deal()
            if self._yielded == self._taken:
                return
            ready = self._yielded in self._results
            self._listen(block=not ready)
            if self._yielded in self._results:
                yield self._results.pop(self._yielded)
                self._yielded += 1

    def _deal(self) -> None:
        """Gives each idle process a batch, as long as there is work within the window."""
        while self._executor.has_idle() and (jobs := self._next_jobs()):
            self._executor.idle().give(jobs)

    def _next_jobs(self) -> list[Job]:
        if self._again:
            # One at a time: each of these may well be slow.
            return [self._again.popleft()]
        # Small batches first, so that little work is spread over all processes.
        batch = min(_MAX_BATCH, 1 << self._dealt // self._executor.workers)
        room = self._window - (self._taken - self._yielded)
        jobs = list(itertools.islice(self._source, min(batch, room)))
        self._taken += len(jobs)
        self._dealt += bool(jobs)
        return jobs

    def _listen(self, *, block: bool) -> None:
        """Reads the processes' messages, then ends the processes that are over their time."""
        busy = {process.connection: process for process in self._executor.busy()}
        now = time.monotonic()
        patience = min((process.deadline for process in busy.values()), default=now) - now
        for heard in connections.wait(list(busy), max(0.0, patience) if block else 0):
            self._hear(busy.pop(heard))
        for process in busy.values():
            if time.monotonic() > process.deadline:
                self._bury(process, "timeout", timeout_message(self._executor.limits))

    def _hear(self, process: WorkerProcess) -> None:
        try:
            message = process.receive()
        except (EOFError, ConnectionResetError):
            self._bury(process, *process.cause_of_death())
            return
        if message.kind == "bug":
            raise RuntimeError(f"a worker failed:\n{message.value}")
        if message.kind == "done":
            self._results[process.batch.popleft().index] = message.value

    def _bury(self, process: WorkerProcess, status: str, message: str) -> None:
        """Blames the step that a process was at, and has the rest of its work done again."""
        first, *others = process.batch
        first.blame(process.step, status, message)
        self._again.extend([first, *others])
        self._executor.retire(process)

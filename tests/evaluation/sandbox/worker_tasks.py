"""Tasks for the workers of the tests; the child processes import them from here."""

import dataclasses
import os
import time
from typing import Any

from t2sql.evaluation.sandbox.sqlite_sandbox import Sandbox
from t2sql.evaluation.sandbox.worker import StepFailedError, StepGuard


@dataclasses.dataclass(frozen=True)
class Double:
    """Gives twice the number, perhaps after a while."""

    number: int
    seconds: float = 0.0

    def __call__(self, sandbox: Sandbox, steps: StepGuard) -> int:
        time.sleep(self.seconds)
        return 2 * self.number


@dataclasses.dataclass(frozen=True)
class Harm:
    """Does something bad in its second step, and tells how the step ended."""

    deed: str

    def __call__(self, sandbox: Sandbox, steps: StepGuard) -> Any:
        steps.begin("harmless")
        try:
            steps.begin("harmful")
        except StepFailedError as failure:
            return failure.status, failure.message
        getattr(self, f"_{self.deed}")()
        return None

    def _exit(self) -> None:
        os._exit(9)

    def _abort(self) -> None:
        os.abort()

    def _hang(self) -> None:
        time.sleep(3600)

    def _hoard(self) -> None:
        hoard = []
        while True:
            hoard.append(bytes(10_000_000))

    def _fail(self) -> None:
        raise KeyError("a bug")

    def _write(self) -> None:
        with open("written-by-a-worker", "w") as file:
            file.write("x")


@dataclasses.dataclass(frozen=True)
class DieSilently:
    """Ends the process before it announces anything."""

    def __call__(self, sandbox: Sandbox, steps: StepGuard) -> None:
        os._exit(9)


@dataclasses.dataclass(frozen=True)
class ProcessId:
    """Tells which process does the work."""

    def __call__(self, sandbox: Sandbox, steps: StepGuard) -> int:
        return os.getpid()

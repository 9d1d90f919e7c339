"""Guides whose answers are checked in processes of their own, for a device that is fast.

Each answer has one process, and each process keeps what it finds out of the schemas that it was
given. A block's tokens go to the processes in one message each, so that they check side by side:

    decodes   | block 2 read | ............ wait ............ | block 4 started | ...
    worker 1                 | 40 answers | reply with masks |
    worker 2                 | 40 answers         | reply    |
"""

import collections
import contextlib
import dataclasses
import itertools
import os
import pathlib
import signal
import subprocess
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence

from t2sql import errors
from t2sql.constraint import identifiers
from t2sql.constraint.masks import Mask
from t2sql.constraint.worker import Check, Order, Reply
from t2sql.data.schema import Schema
from t2sql.runtime import children

# NumPy would start a thread for each core, and multiplies no matrices here.
_ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
# A process is given answers over a schema that is new to it only if those that know the schema
# have so many times their share of the answers.
_OVERLOAD = 1.25
_SECONDS_TO_END = 5.0


class WorkerLostError(errors.TryAgainError):
    """A process that checks answers has ended."""


@dataclasses.dataclass(slots=True, eq=False)
class _Result:
    """Of a check, once it has come back: tokens that stand, and a mask where not all do."""

    accepted: int | None = None
    mask: Mask | None = None


class RemoteGuide:
    """One answer, checked in another process.

    Args:
      process: that checks it.
      exchange: sends the processes what they are to check, and waits for the results.
      db_id: of its schema.
      max_new_tokens: how many tokens the answer may have, the end token included.
    """

    def __init__(
        self,
        process: "_GuideProcess",
        exchange: Callable[[], None],
        db_id: str,
        max_new_tokens: int,
    ):
        self._process, self._exchange, self._db_id = process, exchange, db_id
        self._number = process.begin(db_id, max_new_tokens)
        self._mask: Mask | None = None

    def __del__(self):
        self._process.end(self._number, self._db_id)

    def check(self, tokens: Sequence[int], *, redrawn: bool = False) -> Callable[[], int]:
        """Has the model's own tokens taken as far as they may be kept.

        Args:
          tokens: that follow.
          redrawn: whether the first of them was drawn from `allowed`.

        Returns:
          What waits for how many have been taken. The first that is called sends all checks that
          were begun before, in one message to each process.
        """
        result = self._process.add(Check(self._number, redrawn, tokens))

        def accepted() -> int:
            if result.accepted is None:
                self._exchange()
            self._mask = result.mask
            return result.accepted

        return accepted

    def allowed(self) -> Mask:
        """The tokens to choose from where the last check refused one."""
        return self._mask


class RemoteGuides:
    """Starts guides whose answers are checked in processes of their own; see `Guides`.

    The processes end with this object, and with this process in any case.

    Args:
      tokenizer: path of the model's SentencePiece file.
      end_ids: tokens that end a text.
      schemas: by db_id.
      prefix: how every answer begins, where the prompt says it.
      along_keys: whether tables are joined along their schema's keys only.
      workers: how many processes.

    Raises:
      InputError: a schema has no table with a column.
    """

    def __init__(
        self,
        tokenizer: pathlib.Path,
        end_ids: Sequence[int],
        schemas: Mapping[str, Schema],
        prefix: str = "",
        *,
        along_keys: bool = False,
        workers: int,
    ):
        for schema in schemas.values():
            identifiers.tables_of(schema)
        arguments = str(tokenizer), tuple(end_ids), prefix, along_keys
        self._processes = [_GuideProcess(arguments, schemas) for _ in range(workers)]
        weakref.finalize(self, _end_all, self._processes)

    @property
    def pids(self) -> list[int]:
        """The ids of the processes."""
        return [process.pid for process in self._processes]

    def of(self, db_id: str) -> Callable[[int], RemoteGuide]:
        """What starts an answer over a schema, given the most tokens it may have."""
        return lambda max_new_tokens: RemoteGuide(
            self._choose(db_id), self._exchange, db_id, max_new_tokens
        )

    def _choose(self, db_id: str) -> "_GuideProcess":
        """The process with the fewest answers among those that know the schema, or among all."""
        share = (1 + sum(process.answers.total() for process in self._processes)) / len(
            self._processes
        )
        know = [process for process in self._processes if process.answers[db_id]]
        free = [process for process in know if process.answers.total() < _OVERLOAD * share]
        return min(free or self._processes, key=lambda process: process.answers.total())

    def _exchange(self) -> None:
        asked = [process for process in self._processes if process.is_asked]
        for process in asked:
            process.send()
        for process in asked:
            process.receive()


class _GuideProcess:
    """One of the processes, seen from the one that decodes.

    Attributes:
      answers: how many it has of each schema.
    """

    def __init__(self, arguments: tuple, schemas: Mapping[str, Schema]):
        self.answers: collections.Counter[str] = collections.Counter()
        self._schemas, self._known = schemas, set()
        self._numbers = itertools.count()
        self._order, self._results = Order(), []
        self._process, self._connection = children.start(
            "worker",
            ", ".join(map(repr, arguments)),
            imports="from t2sql.constraint import worker",
            env=os.environ | _ONE_THREAD,
            start_new_session=True,  # Ctrl-C goes to the processes of a session
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_asked(self) -> bool:
        """Whether checks wait to be sent."""
        return bool(self._order.checks)

    def begin(self, db_id: str, max_new_tokens: int) -> int:
        """Gives it an answer; returns the answer's number."""
        if db_id not in self._known:
            self._known.add(db_id)
            self._order.schemas[db_id] = self._schemas[db_id]
        number = next(self._numbers)
        self._order.begun.append((number, db_id, max_new_tokens))
        self.answers[db_id] += 1
        return number

    def end(self, number: int, db_id: str) -> None:
        """Says that an answer is not asked for any more."""
        self._order.ended.append(number)
        self.answers[db_id] -= 1

    def add(self, check: Check) -> _Result:
        """Adds a check to those that are sent next."""
        self._order.checks.append(check)
        self._results.append(_Result())
        return self._results[-1]

    def send(self) -> None:
        """Sends what is to be checked."""
        order, self._order = self._order, Order()
        with contextlib.suppress(ConnectionError):  # it has ended: `receive` tells
            self._connection.send(order)

    def receive(self) -> None:
        """Waits for the results of what was sent.

        Raises:
          InputError: a limit is too short for any query.
          WorkerLostError: the process has ended.
        """
        results, self._results = self._results, []
        try:
            reply: Reply = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            raise WorkerLostError(self._last_words()) from error
        if reply.bad_input:
            raise errors.InputError(reply.bad_input)
        if reply.bug:
            raise RuntimeError(f"a process that checks answers failed:\n{reply.bug}")
        for place, (result, accepted) in enumerate(zip(results, reply.accepted, strict=True)):
            result.accepted, result.mask = accepted, reply.masks.get(place)

    def _last_words(self) -> str:
        code = self._process.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return (
            f"process {self.pid}, which checks answers, has ended ({how}); the units that are "
            "written stay, and the same command goes on from there. If memory ran short, give "
            "fewer processes (--config.constraint_workers)"
        )

    def close(self) -> None:
        """Ends it: at once where it waits, otherwise after what it checks."""
        self._connection.close()

    def wait(self) -> None:
        """Waits until it has ended."""
        try:
            self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _end_all(processes: Iterable[_GuideProcess]) -> None:
    for process in processes:
        process.close()
    for process in processes:
        process.wait()

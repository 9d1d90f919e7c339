"""What a query may use, and how it ended."""

import dataclasses
from typing import Any

# What Python and SQLite need before the first query.
_LEAST_MEMORY = 64 << 20
_MESSAGE_CHARACTERS = 1_000

Row = tuple[Any, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What one query may use.

    Attributes:
      seconds: wall time; the process that runs the query is killed `grace` seconds later.
      grace: seconds between the polite and the hard end.
      memory: bytes of address space of the process.
      rows: rows of a result.
      result_bytes: bytes of a result, held as Python objects.
      shown_rows: rows of a result that come back from the process; None for all, uncut.
      shown_characters: what comes back of one text or blob.
    """

    seconds: float = 10.0
    grace: float = 1.0
    memory: int = 1 << 30
    rows: int = 250_000
    result_bytes: int = 128 << 20
    shown_rows: int | None = 20
    shown_characters: int = 1_000

    def __post_init__(self):
        if self.memory < _LEAST_MEMORY:
            raise ValueError(f"{self.memory:,} bytes of memory: {_LEAST_MEMORY:,} are the least")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExecutionResult:
    """How one query ended.

    Attributes:
      status: `ok`; `error` (SQLite refused it), `timeout`, `too_large` (rows or bytes above
        the limit), `out_of_memory`, or `crashed` (its process died).
      columns: the names of the result's columns.
      rows: the result, or its first rows (`Limits.shown_rows`), texts and blobs cut.
      row_count: how many rows the result has; 0 unless the status is `ok`.
      message: what was wrong, in SQLite's words where they exist; empty for `ok`.
      seconds: wall time.
    """

    status: str
    columns: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    row_count: int = 0
    message: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the query ran to its end."""
        return self.status == "ok"

    def shown(self, limits: Limits) -> "ExecutionResult":
        """The result with the rows that may leave the process."""
        if limits.shown_rows is None:
            return self
        rows = tuple(
            tuple(_cut(value, limits.shown_characters) for value in row)
            for row in self.rows[: limits.shown_rows]
        )
        return dataclasses.replace(self, rows=rows)


def _cut(value: Any, length: int) -> Any:
    return value[:length] if isinstance(value, str | bytes) else value


def timeout_message(limits: Limits) -> str:
    """How a query that was stopped is reported."""
    return f"stopped after {limits.seconds:g} s"


def one_line(message: str) -> str:
    """A message on one line and short, whatever text it quotes: a token may be a megabyte."""
    line = " ".join(message.splitlines())
    more = len(line) - _MESSAGE_CHARACTERS
    return f"{line[:_MESSAGE_CHARACTERS]}… ({more:,} more characters)" if more > 0 else line

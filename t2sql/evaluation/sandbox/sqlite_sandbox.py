"""Untrusted SQL on a SQLite file that it can only read, within limits of time and size.

This is the inner of two walls, and runs in a child process. SQLite itself refuses to write
(read-only and immutable), to do anything but read (authorizer), to build huge values (limits)
and to run for long (progress handler). One long call into C escapes the progress handler: the
parent (`executor.py`) kills the process then.
"""

import collections
import contextlib
import dataclasses
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

from t2sql.data.database import has_rows, skip_malformed
from t2sql.evaluation.sandbox.results import ExecutionResult, Limits, Row, one_line, timeout_message

_READING = frozenset(
    (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
)
_WRITING = frozenset((sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE))
# Functions and tables that load code or reach outside the database in some build of SQLite.
_FORBIDDEN = frozenset(
    ("load_extension", "fts3_tokenizer", "readfile", "writefile", "edit", "lsmode", "zipfile")
    + ("fsdir", "csv", "sqlite_dbpage")
)
# What FTS5 asks before it reads its index, and FTS3 and FTS4 when they are opened.
_READ_PRAGMAS = frozenset(("data_version", "page_size"))
# What describes tables to a query: SELECT name FROM pragma_table_info('singer').
_DESCRIBING_PRAGMAS = frozenset(
    ("table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo")
    + ("foreign_key_list",)
)
# R-tree, when it is opened, prepares statements that write to these tables of its own.
_RTREE_SHADOWS = ("_node", "_rowid", "_parent")
_PROGRESS_OPS = 10_000
# The distilled test suite has about a hundred databases under one db_id.
_OPEN_DATABASES = 200
_PAGE_CACHE_KIB = 1_000
_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 10_000_000,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 1_000_000,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
    # A pattern takes time exponential in its wildcards, within one call into C.
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1_000,
}


class Sandbox:
    """Runs queries in this process; opened databases and `remember`ed results are kept.

    Attributes:
      out_of_memory: whether a query ran out of memory; what is left of the process's memory
        may then be too little for the next one.
    """

    def __init__(self, limits: Limits):
        self.limits = limits
        self.out_of_memory = False
        self._connections = _Recent(_OPEN_DATABASES, on_drop=sqlite3.Connection.close)
        self._results = _Recent(limits.result_bytes // 2, weight=_result_bytes)
        self._has_rows: dict[Path, bool] = {}
        self._deadline = 0.0

    def run(self, database: Path, sql: str) -> ExecutionResult:
        """Runs one query; whatever is wrong with it is told in the result."""
        start = time.monotonic()
        self._deadline = start + self.limits.seconds
        try:
            result = self._fetch(self._connection(database), sql)
        except MemoryError:
            self.out_of_memory = True
            result = ExecutionResult(status="out_of_memory", message="the query needs more memory")
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
            result = self._failure(error)
        return dataclasses.replace(result, seconds=time.monotonic() - start)

    def remember(self, database: Path, sql: str) -> ExecutionResult:
        """`run`, or the result of an earlier call: for gold queries, which come in series."""
        result = self._results.get((database, sql))
        if result is None:
            result = self.run(database, sql)
            self._results.put((database, sql), result)
        return result

    def remembers(self, database: Path, sql: str) -> bool:
        """Whether `remember` has the result at hand."""
        return self._results.get((database, sql)) is not None

    def has_rows(self, database: Path) -> bool:
        """Whether any table of the database holds a row."""
        if database not in self._has_rows:
            self._has_rows[database] = has_rows(lambda query: self.run(database, query).rows)
        return self._has_rows[database]

    def _connection(self, database: Path) -> sqlite3.Connection:
        connection = self._connections.get(database)
        if connection is None:
            connection = open_read_only(database, self.limits, self._is_late)
            self._connections.put(database, connection)
        return connection

    def _is_late(self) -> bool:
        return time.monotonic() > self._deadline

    def _fetch(self, connection: sqlite3.Connection, sql: str) -> ExecutionResult:
        cursor = connection.execute(sql)
        columns = tuple(name for name, *_ in cursor.description or ())
        rows, size = [], 0
        for row in cursor:
            rows.append(row)
            size += _row_bytes(row)
            if len(rows) > self.limits.rows or size > self.limits.result_bytes:
                cursor.close()
                return self._too_large(columns)
        return ExecutionResult(status="ok", columns=columns, rows=tuple(rows), row_count=len(rows))

    def _too_large(self, columns: tuple[str, ...]) -> ExecutionResult:
        limits = self.limits
        message = (
            f"the result has more than {limits.rows:,} rows or {limits.result_bytes >> 20:,} MiB"
        )
        return ExecutionResult(status="too_large", columns=columns, message=message)

    def _failure(self, error: Exception) -> ExecutionResult:
        if self._is_late() and "interrupted" in str(error):
            return ExecutionResult(status="timeout", message=timeout_message(self.limits))
        return ExecutionResult(status="error", message=one_line(str(error)))


def open_read_only(
    database: Path, limits: Limits, is_late: Callable[[], bool]
) -> sqlite3.Connection:
    """Opens a SQLite file for hostile queries; `is_late` is asked often and ends a query.

    Text that is not UTF-8 loses its wrong bytes, as in the official evaluator.
    """
    uri = f"{database.absolute().as_uri()}?mode=ro&immutable=1"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, cached_statements=0)
    with contextlib.suppress(sqlite3.Error):  # Each query meets the damage too, and tells it.
        skip_malformed(connection)
    connection.text_factory = lambda raw: raw.decode(errors="ignore")
    # Sorting never spills to a file; SQLite's own allocations stay below the process's limit.
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA hard_heap_limit = {limits.memory // 2}")
    connection.execute(f"PRAGMA cache_size = -{_PAGE_CACHE_KIB}")
    for limit, bound in _LIMITS.items():
        connection.setlimit(limit, bound)
    connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
    # As plain SQLite does: else a view may not call JSON's functions before 3.41. The authorizer
    # sees what a view or a generated column calls as well.
    connection.setconfig(sqlite3.SQLITE_DBCONFIG_TRUSTED_SCHEMA, True)
    connection.set_progress_handler(is_late, _PROGRESS_OPS)
    connection.set_authorizer(_authorizer(_rtree_tables(connection)))
    return connection


def _rtree_tables(connection: sqlite3.Connection) -> list[str]:
    sql = (
        "SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%'"
        " AND (sql LIKE '%rtree%' OR sql LIKE '%geopoly%')"
    )
    with contextlib.suppress(sqlite3.Error):
        return [name for (name,) in connection.execute(sql) if isinstance(name, str)]
    return []


def _authorizer(rtree_tables: list[str]) -> Callable[..., int]:
    """Lets a connection read, and virtual tables do what they do when they are opened.

    They prepare statements that write, which a SELECT never runs. A user's query that writes to
    R-tree's own tables gets past the authorizer; SQLite's defensive mode refuses it.
    """
    rtree_shadows = {
        f"{name}{suffix}".lower() for name in rtree_tables for suffix in _RTREE_SHADOWS
    }

    def allows(action: int, first: str | None, second: str | None) -> bool:
        if action == sqlite3.SQLITE_FUNCTION:
            return second.lower() not in _FORBIDDEN
        if action == sqlite3.SQLITE_READ:
            return first.lower() not in _FORBIDDEN
        if action == sqlite3.SQLITE_PRAGMA:
            name = first.lower()
            return name in _DESCRIBING_PRAGMAS or (name in _READ_PRAGMAS and second is None)
        if action in _WRITING and first.lower() in rtree_shadows:
            return True
        # How a virtual table of any module declares its columns to SQLite before 3.42 or so.
        declares = action == sqlite3.SQLITE_UPDATE and first == "sqlite_master"
        return action in _READING or declares

    def authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
        return sqlite3.SQLITE_OK if allows(action, first, second) else sqlite3.SQLITE_DENY

    return authorize


def _row_bytes(row: Row) -> int:
    return sys.getsizeof(row) + sum(map(sys.getsizeof, row))


def _result_bytes(result: ExecutionResult) -> int:
    return 500 + sum(map(_row_bytes, result.rows))


class _Recent[Key, Value]:
    """The values used last, up to a total weight."""

    def __init__(
        self,
        capacity: int,
        *,
        weight: Callable[[Value], int] = lambda _: 1,
        on_drop: Callable[[Value], None] = lambda _: None,
    ):
        self._capacity, self._weight, self._on_drop = capacity, weight, on_drop
        self._entries: collections.OrderedDict[Key, tuple[Value, int]] = collections.OrderedDict()
        self._total = 0

    def get(self, key: Key) -> Value | None:
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key][0]

    def put(self, key: Key, value: Value) -> None:
        weight = self._weight(value)
        self._entries[key] = (value, weight)
        self._total += weight
        while self._total > self._capacity:
            _, (dropped, freed) = self._entries.popitem(last=False)
            self._total -= freed
            self._on_drop(dropped)

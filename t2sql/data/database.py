"""Where a database lies, and SQLite files opened for reading only.

An error says what is wrong with the file.
"""

import contextlib
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from t2sql import errors
from t2sql.data import notices
from t2sql.data.dataset import SPIDER, DataFolder
from t2sql.sql.names import quoted

_MAGIC = b"SQLite format 3\x00"
# One object that SQLite cannot parse makes it refuse all queries: that object, and why.
_MALFORMED = re.compile(r"malformed database schema \((?P<name>.*?)\) - (?P<reason>.*)", re.DOTALL)
# Of FTS5, FTS3 and FTS4, and R-tree.
_SHADOW_SUFFIXES = ("data", "idx", "content", "docsize", "config", "segments", "segdir", "stat")
_SHADOW_SUFFIXES += ("node", "rowid", "parent")
# Of the processor, so that a busy machine reads no less, and prompts stay the same; and of the
# clock, for slow disks.
MAX_SECONDS = 60.0
MAX_CLOCK_SECONDS = 600.0
# Steps of SQLite's machine; one may read a value of many megabytes.
_STEPS_PER_CHECK = 100


def is_plain_name(name: str) -> bool:
    """Whether a name can be a folder's or a file's, and lead nowhere else."""
    return name not in ("", ".", "..") and not any(char in name for char in "/\\\0")


def database_path(root: Path | DataFolder, db_id: str) -> Path:
    """`<folder>/<db_id>/<db_id>.sqlite`, whether it exists or not; fetched where it has to be.

    Args:
      root: the data set; of a plain directory, Spider's folders: `database`, or
        `test_database` where only that has it.
      db_id: the database.

    Raises:
      InputError: `db_id` is not a plain folder name, so it could lead out of `root`.
      TryAgainError: it has to be fetched, and the network or the disk failed.
    """
    if not is_plain_name(db_id):
        raise errors.InputError(f"db_id {db_id!r} is not a plain folder name")
    if isinstance(root, Path):
        root = DataFolder(root=root, dataset=SPIDER)
    return root.database_folder(db_id) / f"{db_id}.sqlite"


def database_paths(root: Path | DataFolder, db_id: str) -> list[Path]:
    """All SQLite files of a database: the canonical one, then the distilled test suite's.

    A file beside the canonical one that is no database is left out, and told.

    Raises:
      InputError: `db_id` is not a plain folder name.
    """
    canonical = database_path(root, db_id)
    others = []
    for path in sorted(set(canonical.parent.glob("*.sqlite")) - {canonical}):
        if reason := _why_no_database(path):
            notices.tell(f"{path}: left out of the databases of {db_id}: {reason}")
        else:
            others.append(path)
    return [canonical, *others]


def _why_no_database(path: Path) -> str | None:
    """Why a file beside a database is none of its test suite's; None if it can be one."""
    if path.name.startswith("."):
        return "it is a hidden file"
    try:
        if reason := _other_content(path):
            return f"it is {reason}"
        if _is_cut_off(path):
            return f"it is cut off after {path.stat().st_size:,} bytes"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    try:
        with _connected(path) as connection:
            tables = connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    except errors.InputError:
        return None  # damaged: queries that fail on it are told
    return None if tables else "it holds no tables"


@contextlib.contextmanager
def open_database(database: Path) -> Iterator[sqlite3.Connection]:
    """Opens a SQLite file read-only and immutable; no lock or side file is ever made.

    Databases in UTF-16 are fine: SQLite hands their text over in UTF-8 like any other. An object
    that SQLite cannot parse is left out, and told.

    Raises:
      InputError: the file is missing, empty, not SQLite, damaged, or holds changes that
        another program has not yet moved in from its write-ahead log or journal.
    """
    _check_file(database)
    with _connected(database) as connection:
        yield connection


@contextlib.contextmanager
def _connected(database: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a file that begins as a SQLite database does."""
    uri = f"{database.resolve().as_uri()}?mode=ro&immutable=1"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        try:
            if malformed := skip_malformed(connection):
                notices.tell(f"{database}: {malformed}")
            yield connection
        except sqlite3.OperationalError as error:
            raise errors.InputError(f"{database}: SQLite cannot read it: {error}") from error
        except sqlite3.DatabaseError as error:
            raise errors.InputError(f"{database}: damaged SQLite database: {error}") from error


class ReadBound:
    """Interrupts what a connection runs after `MAX_SECONDS`; says after a second that it runs.

    Args:
      connection: the time counts from now on for all that it runs; in this thread.
      doing: what it does, for the line that says so.

    Attributes:
      reached: the bound that was reached, in words, or "".
    """

    def __init__(self, connection: sqlite3.Connection, doing: str):
        self.reached = ""
        self._doing = doing
        self._started, self._processor_started = time.monotonic(), time.thread_time()
        connection.set_progress_handler(self._is_reached, _STEPS_PER_CHECK)

    def _is_reached(self) -> bool:
        seconds = time.monotonic() - self._started
        if seconds > 1 and self._doing:
            print(f"{self._doing} ...", file=sys.stderr, flush=True)
            self._doing = ""
        if seconds <= MAX_SECONDS:
            return False
        if time.thread_time() - self._processor_started > MAX_SECONDS:
            self.reached = f"the database takes more than {MAX_SECONDS:.0f} s to read"
        elif seconds > MAX_CLOCK_SECONDS:
            self.reached = f"the database takes more than {MAX_CLOCK_SECONDS:.0f} s to read"
        return bool(self.reached)


def has_rows(fetch: Callable[[str], Sequence[tuple]]) -> bool:
    """Whether any table of a database holds a row.

    What full text and R-tree keep in tables of their own does not count: an empty index has a
    version there.

    Args:
      fetch: runs a query on the database and returns its rows.
    """
    tables = fetch(
        "SELECT name, rootpage FROM sqlite_master WHERE type = 'table' "
        r"AND name NOT LIKE 'sqlite\_%' ESCAPE '\'"
    )
    virtual = [name for name, page in tables if not page]
    shadows = {f"{name}_{suffix}" for name in virtual for suffix in _SHADOW_SUFFIXES}
    return any(_holds_rows(name, fetch) for name, _ in tables if name not in shadows)


def _holds_rows(table: str, fetch: Callable[[str], Sequence[tuple]]) -> bool:
    try:
        return bool(fetch(f"SELECT 1 FROM {quoted(table)} LIMIT 1"))
    except sqlite3.Error:  # The module of a virtual table may not be there.
        return False


def skip_malformed(connection: sqlite3.Connection) -> str:
    """Lets SQLite read what it can parse where it would refuse the whole database.

    Args:
      connection: opened read-only; nothing was read on it yet.

    Returns:
      What is left out and why, in a sentence; "" where nothing is.

    Raises:
      sqlite3.DatabaseError: the file is damaged.
    """
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        malformed = _MALFORMED.fullmatch(str(error))
        if malformed is None or "rootpage" in malformed["reason"]:  # The file is damaged.
            raise
        # Read with this the schema stays as it is then; the file itself is open read-only.
        connection.execute("PRAGMA writable_schema = ON")
        kinds = connection.execute(
            "SELECT type FROM sqlite_master WHERE name = ?", (malformed["name"],)
        ).fetchone()
        connection.execute("PRAGMA writable_schema = OFF")
        return (
            f"the {kinds[0] if kinds else 'object'} {malformed['name']} is left out: "
            f"{malformed['reason']}; other programs refuse every query until it is dropped"
        )
    return ""


def _other_content(path: Path) -> str:
    """What a file is that does not begin as a SQLite database does; "" for one that does."""
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
    if not head:
        return "empty (0 bytes)"
    return "" if head == _MAGIC else f"not a SQLite database (begins with {head!r})"


def _is_cut_off(path: Path) -> bool:
    """Whether a SQLite file is shorter than its header says; a header may leave that open."""
    with path.open("rb") as file:
        header = file.read(100)
    if len(header) < 100:
        return True
    page_size = int.from_bytes(header[16:18])
    page_size = 1 << 16 if page_size == 1 else page_size
    is_counted = header[24:28] == header[92:96]  # change counter, the one that the count is for
    return is_counted and path.stat().st_size < page_size * int.from_bytes(header[28:32])


def _check_file(database: Path) -> None:
    try:
        content = _other_content(database)
    except FileNotFoundError:
        folders = [path.name for path in database.parent.parent.parent.glob("*_databases")]
        hint = f" (rename {folders[0]}, BIRD's folder, to database)" if folders else ""
        raise errors.InputError(f"{database}: no such database{hint}") from None
    except OSError as error:
        raise errors.InputError(f"{database}: cannot be read: {error.strerror}") from None
    if content:
        raise errors.InputError(f"{database}: the database is {content}; download it again")
    for suffix in ("-wal", "-journal"):
        side = database.with_name(database.name + suffix)
        if side.exists() and side.stat().st_size:
            raise errors.InputError(
                f"{database}: {side.name} beside it holds changes that are not in it yet; "
                "close the program that writes it, or open it once with sqlite3"
            )

"""Where a database lies, and SQLite files opened for reading only.

An error says what is wrong with the file.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from t2sql import errors
from t2sql.sql.names import quoted

_MAGIC = b"SQLite format 3\x00"
# The full release keeps the databases of its test split in a folder of their own.
_FOLDERS = ("database", "test_database")


def is_plain_name(name: str) -> bool:
    """Whether a name can be a folder's or a file's, and lead nowhere else."""
    return name not in ("", ".", "..") and not any(char in name for char in "/\\\0")


def database_path(root: Path, db_id: str) -> Path:
    """`<root>/database/<db_id>/<db_id>.sqlite`, whether it exists or not.

    Where only `<root>/test_database/<db_id>` exists it is the one under that.

    Raises:
      InputError: `db_id` is not a plain folder name, so it could lead out of `root`.
    """
    if not is_plain_name(db_id):
        raise errors.InputError(f"db_id {db_id!r} is not a plain folder name")
    folders = [root / folder / db_id for folder in _FOLDERS]
    folder = next((folder for folder in folders if folder.is_dir()), folders[0])
    return folder / f"{db_id}.sqlite"


def database_paths(root: Path, db_id: str) -> list[Path]:
    """All SQLite files of a database: the canonical one, then the distilled test suite's.

    Raises:
      InputError: `db_id` is not a plain folder name.
    """
    canonical = database_path(root, db_id)
    others = set(canonical.parent.glob("*.sqlite")) - {canonical}
    return [canonical, *sorted(others)]


@contextlib.contextmanager
def open_database(database: Path) -> Iterator[sqlite3.Connection]:
    """Opens a SQLite file read-only and immutable; no lock or side file is ever made.

    Databases in UTF-16 are fine: SQLite hands their text over in UTF-8 like any other.

    Raises:
      InputError: the file is missing, empty, not SQLite, damaged, or holds changes that
        another program has not yet moved in from its write-ahead log or journal.
    """
    _check_file(database)
    uri = f"{database.resolve().as_uri()}?mode=ro&immutable=1"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        try:
            yield connection
        except sqlite3.OperationalError as error:
            if "decode to UTF-8" not in str(error):
                raise errors.InputError(f"{database}: SQLite cannot read it: {error}") from error
            raise errors.InputError(
                f"{database}: a name in its schema is not valid UTF-8; "
                "export the database with its text converted to UTF-8"
            ) from error
        except sqlite3.DatabaseError as error:
            raise errors.InputError(f"{database}: damaged SQLite database: {error}") from error


def has_rows(fetch: Callable[[str], Sequence[tuple]]) -> bool:
    """Whether any table of a database holds a row.

    Args:
      fetch: runs a query on the database and returns its rows.
    """
    tables = fetch(
        "SELECT name FROM sqlite_master WHERE type = 'table' "
        r"AND name NOT LIKE 'sqlite\_%' ESCAPE '\'"
    )
    return any(fetch(f"SELECT 1 FROM {quoted(name)} LIMIT 1") for (name,) in tables)


def _check_file(database: Path) -> None:
    try:
        with database.open("rb") as file:
            head = file.read(len(_MAGIC))
    except FileNotFoundError:
        raise errors.InputError(f"{database}: no such database") from None
    except OSError as error:
        raise errors.InputError(f"{database}: cannot be read: {error.strerror}") from None
    if not head:
        raise errors.InputError(f"{database}: the database is empty (0 bytes); download it again")
    if head != _MAGIC:
        raise errors.InputError(f"{database}: not a SQLite database (begins with {head!r})")
    for suffix in ("-wal", "-journal"):
        side = database.with_name(database.name + suffix)
        if side.exists() and side.stat().st_size:
            raise errors.InputError(
                f"{database}: {side.name} beside it holds changes that are not in it yet; "
                "close the program that writes it, or open it once with sqlite3"
            )

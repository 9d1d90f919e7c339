"""Where a database lies under a data directory, and its schema as text for the prompt."""

import sqlite3
from pathlib import Path

from t2sql import errors
from t2sql.spider import ddl
from t2sql.spider.database import open_database

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


def read_db_definitions(database: Path) -> str:
    """The CREATE TABLE statements of a SQLite file, one a line, in canonical form.

    Tables come in order of creation. Views, indices and triggers are left out: they add no
    column that a query needs, and every token of the schema is paid for with each question.

    Raises:
      InputError: the file is missing, empty, without tables, damaged, or not SQLite.
    """
    with open_database(database) as connection:
        names = set(table_names(connection))
        rows = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY rowid"
        ).fetchall()
    statements = [ddl.canonical_table(sql) for name, sql in rows if name in names]
    if not statements:
        raise errors.InputError(f"{database}: the database holds no tables")
    return "\n".join(f"{statement};" for statement in statements)


def table_names(connection: sqlite3.Connection) -> list[str]:
    """The tables and views that SQL can name, in order of creation.

    SQLite's own tables and the shadow tables behind virtual ones are left out.
    """
    # Before SQLite 3.37 this pragma is unknown and lists nothing: shadow tables then count.
    listed = connection.execute("PRAGMA table_list")
    shadows = {name for _, name, kind, *_ in listed if kind == "shadow"}
    created = connection.execute(
        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') "
        r"AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY rowid"
    )
    return [name for (name,) in created if name not in shadows]

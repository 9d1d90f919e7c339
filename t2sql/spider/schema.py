"""Where a database lies under a data directory, and its schema as text for the prompt."""

import sqlite3
from pathlib import Path

from t2sql import errors


def database_path(root: Path, db_id: str) -> Path:
    """`<root>/database/<db_id>/<db_id>.sqlite`, whether it exists or not.

    Raises:
      InputError: `db_id` is not a plain folder name, so it could lead out of `root`.
    """
    if db_id in ("", ".", "..") or any(char in db_id for char in "/\\\0"):
        raise errors.InputError(f"db_id {db_id!r} is not a plain folder name")
    return root / "database" / db_id / f"{db_id}.sqlite"


def database_paths(root: Path, db_id: str) -> list[Path]:
    """All SQLite files of a database: the canonical one, then the distilled test suite's.

    Raises:
      InputError: `db_id` is not a plain folder name.
    """
    canonical = database_path(root, db_id)
    others = set(canonical.parent.glob("*.sqlite")) - {canonical}
    return [canonical, *sorted(others)]


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

"""The names of a schema, and which of them SQLite reads without quotes."""

import contextlib
import re
import sqlite3
from collections.abc import Iterable, Iterator

from t2sql import errors
from t2sql.constraint.from_clause import Name
from t2sql.data.schema import Schema

_UNWRITABLE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f;]")
_WORD = re.compile(rb"[a-z_\x80-\xff][a-z0-9_$\x80-\xff]*")


def folded(name: str) -> Name:
    """A name as SQLite compares it: ASCII letters in lower case."""
    return name.encode().lower()


def tables_of(schema: Schema) -> dict[Name, tuple[Name, ...]]:
    """The columns of each table of a schema, as SQLite compares them.

    Raises:
      InputError: there is no table with a column, so no query to be had.
    """
    tables = {
        folded(table.name): tuple(dict.fromkeys(folded(column.name) for column in table.columns))
        for table in schema.tables
        if not folded(table.name).startswith(b"sqlite_")
    }
    tables = {
        table: tuple(filter(_is_writable, columns))
        for table, columns in tables.items()
        if _is_writable(table)
    }
    if not any(tables.values()):
        raise errors.InputError(
            f"sampling.constrain: the schema of {schema.db_id!r} has no table with a column, "
            "so there is no query to choose from; leave its questions out, or set "
            "sampling.constrain to an empty string"
        )
    return {table: columns for table, columns in tables.items() if columns}


def keys_of(schema: Schema) -> Iterator[tuple[tuple[Name, Name], tuple[Name, Name]]]:
    """A schema's foreign keys: a table's column and the one that it refers to."""
    for key in schema.foreign_keys:
        source, target = key.source, key.target
        yield (
            (folded(source.table), folded(source.column)),
            (folded(target.table), folded(target.column)),
        )


def spellings(schema: Schema) -> dict[Name, tuple[bytes, ...]]:
    """How the schema itself writes each name."""
    spellings: dict[Name, dict[bytes, None]] = {}
    for table in schema.tables:
        for name in (table.name, *(column.name for column in table.columns)):
            spellings.setdefault(folded(name), {})[name.encode()] = None
    return {name: tuple(written) for name, written in spellings.items()}


def _is_writable(name: Name) -> bool:
    """Whether a query of one line can hold the name: no control characters, no ";"."""
    return bool(name) and _UNWRITABLE.search(name) is None


def plain_names(names: Iterable[Name]) -> frozenset[Name]:
    """The names that need no quotes, by asking SQLite."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        return frozenset(name for name in names if _is_plain(connection, name))


def _is_plain(connection: sqlite3.Connection, name: Name) -> bool:
    if not _WORD.fullmatch(name):
        return False
    # A table and a column of that name, as a query would write them.
    with contextlib.suppress(sqlite3.Error, UnicodeDecodeError):
        text = name.decode()
        connection.execute(f'CREATE TABLE "{text}" ("{text}")')
        try:
            connection.execute(
                f"SELECT {text}, {text}.{text}, count({text}) FROM {text} "
                f"WHERE {text} = 1 AND 1 = {text}.{text} GROUP BY {text} ORDER BY {text}"
            )
        finally:
            connection.execute(f'DROP TABLE "{text}"')
        return True
    return False

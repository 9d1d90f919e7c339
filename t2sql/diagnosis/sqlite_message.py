"""What SQLite says to a query, without running it."""

import collections
import sqlite3

from t2sql.data.schema import Schema
from t2sql.sql.names import fold, quoted
from t2sql.sql.tokens import first_statement

_ALLOWED = frozenset(
    (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
)
_MAX_SCHEMAS = 64
_databases: "collections.OrderedDict[int, tuple[Schema, sqlite3.Connection]]" = (
    collections.OrderedDict()
)


def sqlite_message(sql: str, schema: Schema) -> str | None:
    """SQLite's message where it rejects the query, else None.

    The first statement is prepared over empty tables, never run. Only queries within the bounds of
    `parsing` and `reading` belong here: SQLite expands every use of a CTE as it prepares.
    """
    try:
        _database(schema).execute("EXPLAIN " + first_statement(sql)).close()
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
        return str(error)
    return None


def _database(schema: Schema) -> sqlite3.Connection:
    """The schema's tables in memory; kept for the next query, hashing a schema is slow."""
    entry = _databases.get(id(schema))
    if entry is None:
        entry = schema, _create(schema)
        _databases[id(schema)] = entry
        if len(_databases) > _MAX_SCHEMAS:
            _databases.popitem(last=False)[1][1].close()
    return entry[1]


def _create(schema: Schema) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    # SQLite keeps names with this prefix for its own tables, which Spider lists too.
    for table in schema.tables:
        if not fold(table.name).startswith("sqlite_"):
            names = {fold(column.name): quoted(column.name) for column in table.columns}
            columns = ", ".join(names.values()) or "_"
            connection.execute(f"CREATE TABLE IF NOT EXISTS {quoted(table.name)} ({columns})")
    connection.set_authorizer(
        lambda action, *_: sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY
    )
    return connection

"""Reads schemas: from a SQLite file object by object, or from `tables.json`.

What SQLite cannot open (a view whose table is gone, a virtual table whose module is not
there) is left out and told; the rest is read.
"""

import dataclasses
import re
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from t2sql import errors
from t2sql.data import ddl, notices
from t2sql.data.database import database_path, open_database
from t2sql.data.dataset import DataFolder
from t2sql.data.schema import Column, ColumnRef, ForeignKey, Schema, Table, natural_name
from t2sql.data.tables_json import read_tables
from t2sql.sql.names import fold, quoted

_NAMES_SHOWN = 10


def read_schemas(root: Path | DataFolder, db_ids: Iterable[str]) -> dict[str, Schema]:
    """The schemas of `db_ids`: from `tables.json`, else (no file, or not in it) from SQLite.

    Where the database has columns that `tables.json` lacks they are added, so that queries
    over them can be read; that the two disagree is told.

    Raises:
      InputError: `tables.json` is malformed, or a database is needed and cannot be read.
    """
    listed = read_tables(root)
    schemas = {}
    for db_id in sorted(set(db_ids)):
        database = database_path(root, db_id)
        if db_id not in listed:
            schemas[db_id] = schema_from_sqlite(database)
            continue
        try:
            schemas[db_id] = _completed(listed[db_id], schema_from_sqlite(database), database)
        except errors.InputError:  # Whoever runs a query on the database says what is wrong.
            schemas[db_id] = listed[db_id]
    return schemas


def schema_from_sqlite(database: Path) -> Schema:
    """Reads a schema from a SQLite file; its db_id is the file's name without the suffix.

    Raises:
      InputError: the file is missing, empty, without a readable table, or not SQLite.
    """
    with open_database(database) as connection:
        relations, left_out = _readable_relations(connection, database)
        links = {
            relation.name: _pragma(connection, "foreign_key_list", relation.name)
            for relation in relations
        }
    schema = Schema(
        db_id=database.stem,
        tables=tuple(map(_table, relations)),
        primary_keys=tuple(
            ColumnRef(relation.name, row["name"])
            for relation in relations
            for row in sorted(relation.columns, key=lambda row: row["pk"])
            if row["pk"]
        ),
        left_out=tuple(left_out),
    )
    return dataclasses.replace(schema, foreign_keys=tuple(_foreign_keys(schema, links)))


def read_db_definitions(database: Path) -> str:
    """The CREATE TABLE statements of a SQLite file, one a line, in canonical form.

    Tables come in order of creation. Views, indices and triggers are left out: they add no
    column that a query needs, and every token of the schema is paid for with each question.

    Raises:
      InputError: the file is missing, empty, without a readable table, damaged, or not SQLite.
    """
    with open_database(database) as connection:
        relations, _ = _readable_relations(connection, database)
    statements = [
        ddl.canonical_table(relation.sql) for relation in relations if relation.kind != "view"
    ]
    if not statements:
        raise errors.InputError(f"{database}: the database holds no tables")
    return "\n".join(f"{statement};" for statement in statements)


def spider_type(declared: str) -> str:
    """Spider's type for a column type as declared in SQLite, such as "VARCHAR(20)".

    Time and boolean are looked for first, then SQLite's own affinity rules apply
    (https://www.sqlite.org/datatype3.html#determination_of_column_affinity).
    """
    words = fold(declared)
    for spider, parts in _TYPE_PARTS:
        if any(part in words for part in parts):
            return spider
    return "text" if not words else "others"


_TYPE_PARTS = (
    ("time", ("date", "time", "year")),
    ("boolean", ("bool",)),
    ("number", ("int", "real", "floa", "doub", "num", "dec", "money")),
    ("text", ("char", "text", "clob", "string")),
)


class _Relation(NamedTuple):
    """A table or view that SQLite can select from.

    Attributes:
      kind: "table", "virtual table" or "view".
      name: as it is written where it is created.
      sql: the CREATE statement.
      columns: rows of `PRAGMA table_xinfo`.
    """

    kind: str
    name: str
    sql: str
    columns: list[sqlite3.Row]


def _readable_relations(
    connection: sqlite3.Connection, database: Path
) -> tuple[list[_Relation], list[str]]:
    """The tables and views that SQLite can select from, in order of creation.

    The names of the others, and of columns that cannot be selected, come second; why they
    cannot is told. SQLite's own tables and the shadow tables behind virtual ones are in neither.

    Raises:
      InputError: there are none.
    """
    # Names that are not UTF-8 come with surrogates, so that the others can be read.
    connection.text_factory = lambda raw: raw.decode(errors="surrogateescape")
    # Before SQLite 3.37 this pragma is unknown and lists nothing: shadow tables then count.
    listed = connection.execute("PRAGMA table_list")
    shadows = {name for _, name, kind, *_ in listed if kind == "shadow"}
    created = connection.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE type IN ('table', 'view') "
        r"AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY rowid"
    ).fetchall()

    relations, left_out = [], {}
    for kind, name, sql in created:
        if kind == "table" and re.match(r"\s*CREATE\s+VIRTUAL\b", sql, re.IGNORECASE):
            kind = "virtual table"
        if name not in shadows:
            columns, reasons = _selectable_columns(connection, kind, name)
            left_out |= reasons
            if columns:
                relations.append(_Relation(kind, name, _utf8(sql), columns))
    if not relations:
        lines = [*left_out.values(), "the database holds no tables"]
        raise errors.InputError(f"{database}: {'; '.join(lines)}")
    for line in (*left_out.values(), *_unusable(connection, relations)):
        notices.tell(f"{database}: {line}")
    return relations, list(left_out)


def _selectable_columns(
    connection: sqlite3.Connection, kind: str, name: str
) -> tuple[list[sqlite3.Row], dict[str, str]]:
    """The columns that SQLite can select, and by its name a line on what it cannot."""
    left_out = f"the {kind} {_utf8(name)} is left out"
    not_utf8 = (
        f"a name in its schema is not valid UTF-8, so {left_out}; "
        "export the database with its text converted to UTF-8"
    )
    if _utf8(name) != name:
        return [], {name: not_utf8}
    try:
        columns = _pragma(connection, "table_xinfo", name)
    except sqlite3.DatabaseError as error:
        return [], {name: f"{left_out}: {error}"}
    if not columns:  # SQLite could not parse it, which `open_database` has told.
        return [], {}
    if any(_utf8(column["name"]) != column["name"] for column in columns):
        return [], {name: not_utf8}
    refusal = _refusal(connection, f"SELECT * FROM {quoted(name)}")
    if refusal is None:
        return columns, {}
    # A generated column may need a function that is not there, and leave the others in order.
    refusals = {
        column["name"]: _refusal(connection, f"SELECT {quoted(column['name'])} FROM {quoted(name)}")
        for column in columns
    }
    selectable = [column for column in columns if refusals[column["name"]] is None]
    if not selectable:
        return [], {name: f"{left_out}: {refusal}"}
    return selectable, {
        f"{name}.{column}": f"the column {name}.{column} is left out: {refusal}"
        for column, refusal in refusals.items()
        if refusal
    }


def _unusable(connection: sqlite3.Connection, relations: list[_Relation]) -> Iterator[str]:
    """Lines on what can be selected and not all else: columns without an order, triggers."""
    for relation in relations:
        names = [column["name"] for column in relation.columns]
        source = f"FROM {quoted(relation.name)} ORDER BY"
        if _refusal(connection, f"SELECT 1 {source} {', '.join(map(quoted, names))}"):
            for name in names:
                if refusal := _refusal(connection, f"SELECT 1 {source} {quoted(name)}"):
                    column = f"the column {relation.name}.{name}"
                    yield f"{column} cannot be compared, grouped or sorted: {refusal}"
    triggers = connection.execute(
        "SELECT tbl_name, group_concat(name, ', ') FROM sqlite_master WHERE type = 'trigger' "
        "GROUP BY tbl_name"
    ).fetchall()
    by_name = {relation.name: relation for relation in relations}
    for table, names in triggers:
        if table in by_name:
            column = quoted(by_name[table].columns[0]["name"])
            writes = (
                f"INSERT INTO {quoted(table)} ({column}) VALUES (NULL)",
                f"UPDATE {quoted(table)} SET {column} = NULL",
                f"DELETE FROM {quoted(table)}",
            )
            # The connection is read-only, and what a statement would do is only explained.
            refusals = dict.fromkeys(_refusal(connection, write) for write in writes)
            for refusal in filter(None, refusals):
                if refusal.startswith("no such "):
                    trigger = f"a trigger on {table} ({_utf8(names)})"
                    yield f"{trigger} cannot run: {refusal}; no query needs it"


def _refusal(connection: sqlite3.Connection, sql: str) -> str | None:
    """SQLite's reason not to compile a query, which opens all that it reads; None if it does."""
    try:
        connection.execute(f"EXPLAIN {sql}").close()
    except sqlite3.DatabaseError as error:
        return str(error)
    return None


def _pragma(connection: sqlite3.Connection, pragma: str, table: str) -> list[sqlite3.Row]:
    cursor = connection.cursor()
    cursor.row_factory = sqlite3.Row
    return cursor.execute(f"SELECT * FROM pragma_{pragma}(?)", (table,)).fetchall()


def _utf8(text: str) -> str:
    """The text with a mark in place of bytes that are not UTF-8."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _table(relation: _Relation) -> Table:
    columns = tuple(
        Column(
            name=row["name"],
            type=spider_type(row["type"]),
            natural_name=natural_name(row["name"]),
            has_affinity=bool(row["type"]) and "blob" not in fold(row["type"]),
        )
        for row in relation.columns
    )
    return Table(
        name=relation.name,
        natural_name=natural_name(relation.name),
        columns=columns,
        kind=relation.kind,
    )


def _foreign_keys(schema: Schema, links: dict[str, list[sqlite3.Row]]) -> Iterator[ForeignKey]:
    """Keys whose target exists; SQLite itself allows keys that point nowhere."""
    for name, rows in links.items():
        # SQLite lists the last declared key first; `seq` orders the columns of one key.
        for row in sorted(rows, key=lambda row: (-row["id"], row["seq"])):
            target_column = row["to"]
            if target_column is None:  # `REFERENCES table` means the table's primary key.
                keys = [key for key in schema.primary_keys if fold(key.table) == fold(row["table"])]
                target_column = keys[row["seq"]].column if row["seq"] < len(keys) else None
            source = _ref(schema, name, row["from"])
            target = _ref(schema, row["table"], target_column)
            if source and target:
                yield ForeignKey(source, target)


def _ref(schema: Schema, table: str, column: str | None) -> ColumnRef | None:
    """The reference with both names as they are written where they are created."""
    owner = schema.table(table)
    if column is None or owner is None or owner.column(column) is None:
        return None
    return ColumnRef(owner.name, owner.column(column).name)


def _completed(listed: Schema, own: Schema, database: Path) -> Schema:
    """The schema of `tables.json` with what only the database has; tells where they disagree."""
    disagreements = [
        f"only {where} has {', '.join(names[:_NAMES_SHOWN])}{', ...' * (len(names) > _NAMES_SHOWN)}"
        for where, names in (
            ("tables.json", list(_names_beyond(listed, own))),
            ("the database", list(_names_beyond(own, listed))),
        )
        if names
    ]
    if disagreements:
        notices.tell(f"{database}: tables.json is not of this database: {'; '.join(disagreements)}")
    tables = []
    for table in listed.tables:
        own_columns = own.table(table.name).columns if own.table(table.name) else ()
        missing = tuple(column for column in own_columns if table.column(column.name) is None)
        untyped = {fold(column.name) for column in own_columns if not column.has_affinity}
        columns = (
            dataclasses.replace(column, has_affinity=fold(column.name) not in untyped)
            for column in table.columns
        )
        tables.append(dataclasses.replace(table, columns=(*columns, *missing)))
    tables += [table for table in own.tables if listed.table(table.name) is None]
    return dataclasses.replace(listed, tables=tuple(tables), left_out=own.left_out)


def _names_beyond(schema: Schema, other: Schema) -> Iterator[str]:
    """The tables of a schema that another one lacks, and the columns of those that both have.

    Views and virtual tables, which `tables.json` need not list, and SQLite's own are no matter.
    """
    for table in schema.tables:
        counterpart = other.table(table.name)
        if table.kind != "table" or fold(table.name).startswith("sqlite_"):
            continue
        if counterpart is None:
            yield f"the table {table.name}"
        elif counterpart.kind == "table":
            for column in table.columns:
                if counterpart.column(column.name) is None:
                    yield f"{table.name}.{column.name}"

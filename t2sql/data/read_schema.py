"""Reads a schema from Spider's `tables.json` or from a SQLite file."""

import dataclasses
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from t2sql import errors
from t2sql.data import ddl, records
from t2sql.data.database import database_path, open_database
from t2sql.data.schema import Column, ColumnRef, ForeignKey, Schema, Table
from t2sql.sql.names import fold


def read_tables(root: Path) -> dict[str, Schema]:
    """Reads `tables.json`, and `test_tables.json` where there is one: db_id -> schema.

    The format is Spider's (https://github.com/taoyds/spider#tables): `column_names_original`
    is a list of [table index, name] that starts with [-1, "*"]; `column_types` aligns with
    it; keys are indices into it (a primary key of several columns may be a list).

    Raises:
      InputError: the file is missing or malformed, or an index points nowhere.
    """
    of_test = root / "test_tables.json"
    schemas = _read_file(of_test) if of_test.exists() else {}
    return schemas | _read_file(root / "tables.json")


def read_schemas(root: Path, db_ids: Iterable[str]) -> dict[str, Schema]:
    """The schemas of `db_ids`: from `tables.json`, else (no file, or not in it) from SQLite.

    Raises:
      InputError: `tables.json` is malformed, or a database is needed and cannot be read.
    """
    listed = read_tables(root) if (root / "tables.json").exists() else {}
    return {
        db_id: listed.get(db_id) or schema_from_sqlite(database_path(root, db_id))
        for db_id in sorted(set(db_ids))
    }


def schema_from_sqlite(database: Path) -> Schema:
    """Reads a schema from a SQLite file; its db_id is the file's name without the suffix.

    Raises:
      InputError: the file is missing, empty, without tables, or not SQLite.
    """
    with open_database(database) as connection:
        names = table_names(connection)
        infos = {name: _pragma(connection, "table_xinfo", name) for name in names}
        links = {name: _pragma(connection, "foreign_key_list", name) for name in names}
    if not names:
        raise errors.InputError(f"{database}: the database holds no tables")
    tables = tuple(_table_from_info(name, info) for name, info in infos.items())
    schema = Schema(
        db_id=database.stem,
        tables=tables,
        primary_keys=tuple(_primary_keys(infos)),
    )
    keys = tuple(_foreign_keys(schema, infos, links))
    return dataclasses.replace(schema, foreign_keys=keys)


def _read_file(path: Path) -> dict[str, Schema]:
    schemas: dict[str, Schema] = {}
    for index, record in enumerate(records.read_records(path)):
        schema = _from_record(path, index, record)
        if schema.db_id in schemas:
            raise errors.InputError(f"{path}: record {index} repeats db_id {schema.db_id!r}")
        schemas[schema.db_id] = schema
    return schemas


def _from_record(path: Path, index: int, record: dict[str, Any]) -> Schema:
    def get(name: str, kind: type = list) -> Any:
        return records.field(path, index, record, name, kind)

    db_id = get("db_id", str)
    originals, types = get("column_names_original"), get("column_types")
    table_names = get("table_names_original")
    try:
        refs = _column_refs(originals, table_names)
        return Schema(
            db_id=db_id,
            tables=_tables(record, originals, types, table_names),
            primary_keys=tuple(refs[i] for i in _flatten(get("primary_keys"))),
            foreign_keys=tuple(
                ForeignKey(refs[source], refs[target]) for source, target in get("foreign_keys")
            ),
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise errors.InputError(
            f"{path}: record {index} ({db_id}): tables, columns and keys do not fit together: "
            f"{type(error).__name__}: {error}"
        ) from error


def _column_refs(originals: list, table_names: list) -> dict[int, ColumnRef]:
    return {
        index: ColumnRef(table_names[table], name)
        for index, (table, name) in enumerate(originals)
        if table >= 0
    }


def _tables(
    record: dict[str, Any], originals: list, types: list, table_names: list
) -> tuple[Table, ...]:
    naturals = record.get("column_names") or [[table, _natural(name)] for table, name in originals]
    columns: list[list[Column]] = [[] for _ in table_names]
    for (table, name), column_type, (_, natural) in zip(originals, types, naturals, strict=True):
        if table >= 0:
            columns[table].append(Column(name=name, type=column_type, natural_name=natural))
    natural_tables = record.get("table_names") or [_natural(name) for name in table_names]
    return tuple(
        Table(name=name, natural_name=natural, columns=tuple(of_table))
        for name, natural, of_table in zip(table_names, natural_tables, columns, strict=True)
    )


def _flatten(keys: list) -> list[int]:
    return [i for key in keys for i in (key if isinstance(key, list) else [key])]


def _natural(name: str) -> str:
    return name.replace("_", " ").lower()


def _pragma(connection: sqlite3.Connection, pragma: str, table: str) -> list[sqlite3.Row]:
    cursor = connection.cursor()
    cursor.row_factory = sqlite3.Row
    return cursor.execute(f"SELECT * FROM pragma_{pragma}(?)", (table,)).fetchall()


def _table_from_info(name: str, info: list[sqlite3.Row]) -> Table:
    columns = tuple(
        Column(
            name=row["name"],
            type=spider_type(row["type"]),
            natural_name=_natural(row["name"]),
        )
        for row in info
    )
    return Table(name=name, natural_name=_natural(name), columns=columns)


def _primary_keys(infos: dict[str, list[sqlite3.Row]]) -> list[ColumnRef]:
    return [
        ColumnRef(table, row["name"])
        for table, info in infos.items()
        for row in sorted(info, key=lambda row: row["pk"])
        if row["pk"]
    ]


def _foreign_keys(
    schema: Schema, infos: dict[str, list[sqlite3.Row]], links: dict[str, list[sqlite3.Row]]
) -> list[ForeignKey]:
    """Keys whose target exists; SQLite itself allows keys that point nowhere."""
    found = []
    for name, rows in links.items():
        # SQLite lists the last declared key first; `seq` orders the columns of one key.
        for row in sorted(rows, key=lambda row: (-row["id"], row["seq"])):
            source = _ref(schema, name, row["from"])
            target = _ref(schema, row["table"], row["to"] or _key_column(schema, infos, row))
            if source and target:
                found.append(ForeignKey(source, target))
    return found


def _key_column(
    schema: Schema, infos: dict[str, list[sqlite3.Row]], link: sqlite3.Row
) -> str | None:
    """The column that `REFERENCES table`, without columns, means: its primary key's."""
    table = schema.table(link["table"])
    keys = (
        [row["name"] for row in infos[table.name] if row["pk"] == link["seq"] + 1] if table else []
    )
    return keys[0] if keys else None


def _ref(schema: Schema, table: str, column: str | None) -> ColumnRef | None:
    """The reference with both names as they are written where they are created."""
    found = schema.table(table)
    if column is None or found is None or found.column(column) is None:
        return None
    return ColumnRef(found.name, found.column(column).name)


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

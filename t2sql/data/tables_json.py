"""Reads Spider's `tables.json`, the schemas of all databases in one file."""

from pathlib import Path
from typing import Any

from t2sql import errors
from t2sql.data import records
from t2sql.data.dataset import SPIDER, DataFolder
from t2sql.data.schema import Column, ColumnRef, ForeignKey, Schema, Table, natural_name


def read_tables(root: Path | DataFolder) -> dict[str, Schema]:
    """Reads a data set's files of schemas: db_id -> schema; {} where it has none.

    The format is Spider's (https://github.com/taoyds/spider#tables): `column_names_original`
    is a list of [table index, name] that starts with [-1, "*"]; `column_types` aligns with
    it; keys are indices into it (a primary key of several columns may be a list).

    Args:
      root: the data set; a plain directory is read as Spider's.

    Raises:
      InputError: a file is malformed, or an index points nowhere.
    """
    if isinstance(root, Path):
        root = DataFolder(root=root, dataset=SPIDER)
    schemas: dict[str, Schema] = {}
    for path in root.table_files():
        schemas = _read_file(path) | schemas
    return schemas


def _read_file(path: Path) -> dict[str, Schema]:
    schemas: dict[str, Schema] = {}
    for index, record in enumerate(records.read_records(path)):
        schema = _schema(path, index, record)
        if schema.db_id in schemas:
            raise errors.InputError(f"{path}: record {index} repeats db_id {schema.db_id!r}")
        schemas[schema.db_id] = schema
    return schemas


def _schema(path: Path, index: int, record: dict[str, Any]) -> Schema:
    def get(name: str, kind: type = list) -> Any:
        return records.field(path, index, record, name, kind)

    db_id = get("db_id", str)
    table_names = get("table_names_original")
    columns, types = get("column_names_original"), get("column_types")
    try:
        # Keys are indices into the columns of all tables; index 0 is the star.
        refs = {
            position: ColumnRef(table_names[table], name)
            for position, (table, name) in enumerate(columns)
            if table >= 0
        }
        key_columns = [
            position
            for key in get("primary_keys")
            for position in (key if isinstance(key, list) else [key])
        ]
        return Schema(
            db_id=db_id,
            tables=_tables(record, table_names, columns, types),
            primary_keys=tuple(refs[position] for position in key_columns),
            foreign_keys=tuple(
                ForeignKey(refs[source], refs[target]) for source, target in get("foreign_keys")
            ),
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise errors.InputError(
            f"{path}: record {index} ({db_id}): tables, columns and keys do not fit together: "
            f"{type(error).__name__}: {error}"
        ) from error


def _tables(
    record: dict[str, Any], table_names: list, columns: list, types: list
) -> tuple[Table, ...]:
    natural_tables = record.get("table_names") or list(map(natural_name, table_names))
    natural_columns = record.get("column_names") or [
        [table, natural_name(name)] for table, name in columns
    ]
    by_table: list[list[Column]] = [[] for _ in table_names]
    for (table, name), column_type, (_, natural) in zip(
        columns, types, natural_columns, strict=True
    ):
        if table >= 0:
            by_table[table].append(Column(name=name, type=column_type, natural_name=natural))
    return tuple(
        Table(name=name, natural_name=natural, columns=tuple(of_table))
        for name, natural, of_table in zip(table_names, natural_tables, by_table, strict=True)
    )

"""What a data set says of its columns in words: BIRD's CSV files, KaggleDBQA's tables.json.

Each description is a line, `-- table.column: its words; its values`, below the schema. A column
whose description says no more than its name has none.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from t2sql import errors
from t2sql.data import records
from t2sql.data.database import database_path
from t2sql.data.dataset import DataFolder
from t2sql.data.schema import natural_name
from t2sql.sql.names import fold, quote_name

_FOLDER = "database_description"
# Some explain a code book; the first words say what the column is.
MAX_CHARS = 200
_COLUMN, _DESCRIPTION, _VALUES = "original_column_name", "column_description", "value_description"


def read_descriptions(folder: DataFolder, db_id: str) -> str:
    """The lines of a database's descriptions; "" where the data set has none.

    Raises:
      InputError: a file of descriptions cannot be read, or lacks its columns.
    """
    csv_files = sorted((database_path(folder, db_id).parent / _FOLDER).glob("*.csv"))
    if csv_files:
        lines = [line for path in csv_files for line in _csv_lines(path)]
    else:
        lines = [line for path in folder.table_files() for line in _tables_lines(path, db_id)]
    return "\n".join(lines)


def _csv_lines(path: Path) -> Iterator[str]:
    rows = csv.DictReader(io.StringIO(_text(path), newline=""))
    names = {name.strip(): name for name in rows.fieldnames or () if name}
    if _COLUMN not in names:
        raise errors.InputError(
            f"{path}: a file of descriptions has the column {_COLUMN}, found "
            f"{', '.join(names) or 'nothing'}"
        )
    for row in rows:
        column = (row[names[_COLUMN]] or "").strip()
        parts = [row.get(names.get(name, "")) or "" for name in (_DESCRIPTION, _VALUES)]
        if column:
            yield from _line(path.stem, column, parts)


def _text(path: Path) -> str:
    """A file that is UTF-8, or what Excel writes where it is not."""
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


def _tables_lines(path: Path, db_id: str) -> Iterator[str]:
    """The lines of a record of `tables.json` that has `column_descriptions`."""
    for index, record in enumerate(records.read_records(path)):
        if record.get("db_id") != db_id or "column_descriptions" not in record:
            continue

        def get(name: str, path=path, index=index, record=record) -> list:
            return records.field(path, index, record, name, list)

        tables = get("table_names_original")
        for (table, column), description in zip(
            get("column_names_original"), get("column_descriptions"), strict=False
        ):
            words = description[-1] if isinstance(description, list) else description
            if table >= 0 and isinstance(words, str):
                yield from _line(tables[table], column, [words])


def _line(table: str, column: str, parts: list[str]) -> Iterator[str]:
    """The line of a column, if its description says more than its name."""
    told = "; ".join(" ".join(part.split()) for part in parts if part.strip())
    if told and fold(natural_name(told)) not in (fold(natural_name(column)), fold(column)):
        cut = told if len(told) <= MAX_CHARS else f"{told[:MAX_CHARS].rstrip()}…"
        yield f"-- {quote_name(table)}.{quote_name(column)}: {cut}"

"""Builds the sample data set from its sources: `python -m t2sql.data.sample.build`.

Written by hand: `sources/<db_id>.sql`, `dev.json` and `train_spider.json`. Built from them:
`database/`, `tables.json`, `dev_gold.sql` and `train_gold.sql`.
"""

import argparse
import json
import sqlite3
from pathlib import Path
from typing import Any

from t2sql.data import database as database_lib
from t2sql.data import examples, read_schema, schema

HERE = Path(__file__).parent
_GOLD_FILES = {"dev": "dev_gold.sql", "train": "train_gold.sql"}
# Of these tables most fill less than one page.
_PAGE_SIZE = 1024


def main() -> None:
    """Writes the built files below `--output`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=HERE, help="default: in place")
    build(parser.parse_args().output)


def build(output: Path) -> None:
    """Writes databases, tables.json and gold files below `output`, replacing what is there."""
    records = []
    for source in sorted((HERE / "sources").glob("*.sql")):
        database = database_lib.database_path(output, source.stem)
        _build_database(source, database)
        records.append(_tables_record(read_schema.schema_from_sqlite(database)))
    lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    (output / "tables.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    for split, file in _GOLD_FILES.items():
        (output / file).write_text(_gold_lines(split), encoding="utf-8")


def _build_database(source: Path, database: Path) -> None:
    database.parent.mkdir(parents=True, exist_ok=True)
    database.unlink(missing_ok=True)
    connection = sqlite3.connect(database)
    connection.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.executescript(f"BEGIN; {source.read_text(encoding='utf-8')} COMMIT;")
    connection.close()


def _tables_record(of: schema.Schema) -> dict[str, Any]:
    """The schema as a record of Spider's `tables.json`."""
    columns = [
        (index, table, column) for index, table in enumerate(of.tables) for column in table.columns
    ]
    refs = [None] + [schema.ColumnRef(table.name, column.name) for _, table, column in columns]
    return {
        "db_id": of.db_id,
        "table_names_original": [table.name for table in of.tables],
        "table_names": [table.natural_name for table in of.tables],
        "column_names_original": [[-1, "*"]] + [[i, column.name] for i, _, column in columns],
        "column_names": [[-1, "*"]] + [[i, column.natural_name] for i, _, column in columns],
        "column_types": ["text"] + [column.type for _, _, column in columns],
        "primary_keys": [refs.index(key) for key in of.primary_keys],
        "foreign_keys": [[refs.index(source), refs.index(to)] for source, to in of.foreign_keys],
    }


def _gold_lines(split: str) -> str:
    answered = examples.read_examples(HERE, split, with_schema=False)
    return "".join(f"{example.query}\t{example.db_id}\n" for example in answered)


if __name__ == "__main__":
    main()

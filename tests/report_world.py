"""A small data set and runs over it, made for the tests of the report."""

import dataclasses
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from t2sql import storage
from t2sql.data import examples
from t2sql.runs import manifest, units
from t2sql.runs.predictions import Prediction

SCHOOL = """
CREATE TABLE student (id INTEGER PRIMARY KEY, name TEXT, age INTEGER);
CREATE TABLE club (id INTEGER PRIMARY KEY, title TEXT);
CREATE TABLE member (
  student_id INTEGER REFERENCES student(id), club_id INTEGER REFERENCES club(id)
);
INSERT INTO student VALUES (1, 'Ada', 36), (2, 'Edgar', 41), (3, 'Grace', 30), (4, 'Jim', 41);
INSERT INTO club VALUES (1, 'chess'), (2, 'choir');
INSERT INTO member VALUES (1, 1), (2, 1), (3, 2);
"""
SHOP = "CREATE TABLE item (id INTEGER PRIMARY KEY, label TEXT);"

# (database, question, gold): two databases, all four hardness levels, one of them empty.
RECORDS = (
    ("school", "How many students are there?", "SELECT count(*) FROM student"),
    ("school", "Names of students, oldest first.", "SELECT name FROM student ORDER BY age DESC"),
    ("school", "Who is older than 35?", "SELECT name FROM student WHERE age > 35"),
    (
        "school",
        "How many members has each club?",
        "SELECT T1.title, count(*) FROM club AS T1 JOIN member AS T2 ON T1.id = T2.club_id "
        "GROUP BY T1.title",
    ),
    ("shop", "List the labels.", "SELECT label FROM item"),
    (
        "school",
        "Students in no club.",
        "SELECT name FROM student WHERE id NOT IN (SELECT student_id FROM member)",
    ),
)


def make_data(root: Path, records=RECORDS, split: str = "dev") -> Path:
    """Writes the data set below `root` in the Spider layout."""
    for db_id, script in (("school", SCHOOL), ("shop", SHOP)):
        folder = root / "database" / db_id
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / f"{db_id}.sqlite").exists():
            with sqlite3.connect(folder / f"{db_id}.sqlite") as connection:
                connection.executescript(script)
    values = [{"db_id": db, "question": asked, "query": gold} for db, asked, gold in records]
    (root / f"{split}.json").write_text(json.dumps(values))
    return root


def golds(records=RECORDS) -> list[str]:
    return [gold for _, _, gold in records]


def make_run(
    url: str,
    data: Path,
    sqls: list[str],
    *,
    split: str = "dev",
    limit: int | None = None,
    only: Sequence[str] | None = None,
    statuses: dict[int, str] | None = None,
    without_units: int = 0,
) -> storage.Storage:
    """Writes a run that answers example i with `sqls[i]`; may leave out its last units."""
    questions = examples.read_examples(data, split, limit=limit, only=only, with_schema=False)
    plan = units.plan_units(questions, unit_size=2, length=lambda example: len(example.question))
    target = storage.open_storage(url)
    run = manifest.Run.open(
        target,
        units=plan,
        fingerprint={
            "data": {"split": split, "limit": limit, "sha256": "0" * 64}
            | ({"only": list(only)} if only is not None else {}),
            "model": {"name": "tiny", "weights_sha256": "1" * 64},
            "adapter": None,
            "prompt": "article",
            "sampling": {"temperature": 0.0, "seed": 0, "max_new_tokens": 64},
            "dtype": "float32",
        },
        recorded={"command": "python -m t2sql.main", "commit": "abc", "versions": {"jax": "0"}},
    )
    by_id = {example.example_id: position for position, example in enumerate(questions)}
    for unit in plan[: len(plan) - without_units]:
        rows = [
            _row(example, sqls[by_id[example.example_id]], statuses or {}, by_id)
            for example in unit.examples
        ]
        run.write_unit(unit, rows)
    run.write_done_if_complete()
    return target


def _row(example, sql: str, statuses: dict[int, str], by_id: dict[str, int]) -> Prediction:
    return Prediction(
        example_id=example.example_id,
        db_id=example.db_id,
        question=example.question,
        gold=example.query,
        text=f"```sql\n{sql}\n```",
        sql=sql,
        status=statuses.get(by_id[example.example_id], "ok"),
        prompt_tokens=10,
        output_tokens=5,
    )


def replace_row(row: Prediction, **changes) -> Prediction:
    return dataclasses.replace(row, **changes)

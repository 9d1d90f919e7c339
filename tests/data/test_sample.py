"""The sample data set: whole, consistent, and what its sources say."""

import collections
import re
import sqlite3
from pathlib import Path

import pytest

import t2sql.data
from t2sql.data import database, examples, read_schema
from t2sql.data.sample import build
from t2sql.evaluation.hardness import hardness
from t2sql.evaluation.spider_dialect.parser import read_query

ROOT = Path(t2sql.data.__file__).parent / "sample"
DEV = examples.read_examples(ROOT, "dev")
TRAIN = examples.read_examples(ROOT, "train")


def connect(db_id):
    path = database.database_path(ROOT, db_id)
    return sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)


def test_size():
    dev = collections.Counter(example.db_id for example in DEV)
    assert set(dev.values()) == {12}
    assert len(dev) == 4
    assert len(TRAIN) == 15
    assert not dev.keys() & {example.db_id for example in TRAIN}
    assert sum(file.stat().st_size for file in ROOT.rglob("*") if file.is_file()) < 200_000


@pytest.mark.parametrize("example", DEV + TRAIN, ids=lambda example: example.example_id)
def test_gold_returns_rows(example):
    rows = connect(example.db_id).execute(example.query).fetchall()
    assert rows
    assert any(cell is not None for row in rows for cell in row)


@pytest.mark.parametrize(
    "example",
    [example for example in DEV + TRAIN if "LIMIT 1" in example.query],
    ids=lambda example: example.example_id,
)
def test_no_tie_decides_an_answer(example):
    unlimited, order = re.fullmatch(r"(.*) ORDER BY (.*) LIMIT 1", example.query).groups()
    key = order.removesuffix(" DESC")
    ranked = unlimited.replace("SELECT ", f"SELECT {key}, ", 1) + f" ORDER BY {order}"
    first, second = connect(example.db_id).execute(ranked).fetchmany(2)
    assert first[0] != second[0]


def test_questions_are_distinct():
    questions = [example.question for example in DEV + TRAIN]
    assert len(set(questions)) == len(questions)


def test_hardness_is_balanced():
    schemas = read_schema.read_tables(ROOT)
    counts = collections.Counter(
        hardness(read_query(example.query, schemas[example.db_id])) for example in DEV
    )
    assert counts == {"easy": 12, "medium": 13, "hard": 13, "extra": 10}


@pytest.mark.parametrize("db_id", sorted({example.db_id for example in DEV}))
def test_rows_are_as_unruly_as_real_ones(db_id):
    connection = connect(db_id)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    dump = "\n".join(connection.iterdump())
    assert "FOREIGN KEY" in dump
    assert "NULL)" in dump or "NULL," in dump
    assert "''" in dump
    assert re.search(r"\w\"", dump)
    assert not dump.isascii()
    assert re.search(r"'20\d\d-\d\d-\d\d'", dump)


def test_what_ships_is_what_the_sources_build(tmp_path):
    build.build(tmp_path)
    for file in ("tables.json", "dev_gold.sql", "train_gold.sql"):
        assert (tmp_path / file).read_bytes() == (ROOT / file).read_bytes(), file
    built = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.sqlite"))
    assert built == sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.sqlite"))
    for path in built:
        # Only the header differs between SQLite versions: it names the version.
        ours, shipped = (sqlite3.connect(root / path) for root in (tmp_path, ROOT))
        assert list(ours.iterdump()) == list(shipped.iterdump()), path


def test_two_builds_are_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        build.build(tmp_path / name)
    for path in (tmp_path / "a").rglob("*.*"):
        other = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.read_bytes() == other.read_bytes(), path

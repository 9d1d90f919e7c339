"""Gold SQL in one spelling, and the same query as before."""

import contextlib
import sqlite3

import pytest

from t2sql.data import database, examples, read_schema
from t2sql.data.schema import Column, Schema, Table
from t2sql.training.gold_sql import normal_sql


def _column(name):
    return Column(name=name, type="text", natural_name=name.lower())


SCHEMA = Schema(
    db_id="d",
    tables=(
        Table(
            name="Singer",
            natural_name="singer",
            columns=tuple(map(_column, ("Name", "Country", "year", "song name"))),
        ),
        Table(name="concert", natural_name="concert", columns=(_column("singer"),)),
    ),
)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("select  count ( * ) from SINGER ;", "SELECT COUNT(*) FROM Singer"),
        (
            'SELECT NAME FROM singer WHERE country  =  "France"',
            "SELECT Name FROM Singer WHERE Country = 'France'",
        ),
        ('SELECT "song NAME" FROM singer', 'SELECT "song name" FROM Singer'),
        (
            'SELECT name FROM singer WHERE name = "O\'Hara"',
            "SELECT Name FROM Singer WHERE Name = 'O''Hara'",
        ),
        (
            "SELECT t1.name FROM singer AS t1 JOIN concert AS t2 ON t1.name=t2.SINGER",
            "SELECT T1.Name FROM Singer AS T1 JOIN concert AS T2 ON T1.Name = T2.singer",
        ),
        (
            "SELECT YEAR FROM singer WHERE YEAR>=2000 AND year != 1",
            "SELECT year FROM Singer WHERE year >= 2000 AND year != 1",
        ),
        (
            "SELECT name FROM singer WHERE year > -1 ORDER BY year - 1",
            "SELECT Name FROM Singer WHERE year > -1 ORDER BY year - 1",
        ),
        (
            "SELECT max(year) - min(year), name FROM singer",
            "SELECT MAX(year) - MIN(year), Name FROM Singer",
        ),
        (
            "SELECT name FROM singer WHERE year IN(1,2) -- why",
            "SELECT Name FROM Singer WHERE year IN (1, 2)",
        ),
    ],
)
def test_spelling(query, expected):
    assert normal_sql(query, SCHEMA) == expected
    assert normal_sql(expected, SCHEMA) == expected


def _results(connection, query):
    steps = iter(range(2000))
    connection.set_progress_handler(lambda: next(steps, None) is None, 10_000)
    try:
        return connection.execute(query).fetchmany(10_000)
    except sqlite3.Error as error:
        return str(error).partition(":")[0]


@pytest.mark.spider
def test_every_train_query_gives_the_same_result(spider_root):
    read = examples.read_examples(spider_root, "train", with_schema=False)
    by_database = {}
    for example in read:
        by_database.setdefault(example.db_id, []).append(example.query)
    for db_id, queries in by_database.items():
        path = database.database_path(spider_root, db_id)
        of_database = read_schema.schema_from_sqlite(path)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.text_factory = bytes
            for query in queries:
                normal = normal_sql(query, of_database)
                assert normal == normal_sql(normal, of_database)
                assert _results(connection, query) == _results(connection, normal), query

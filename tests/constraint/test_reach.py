"""That the gold queries of Spider are within their schemas."""

import sqlite3

import constraint_samples as samples
import pytest

from t2sql import constraint
from t2sql.data.database import database_path, open_database
from t2sql.data.examples import read_examples
from t2sql.data.read_schema import schema_from_sqlite


@pytest.mark.spider
@pytest.mark.parametrize(("split", "every"), [("dev", 1), ("train", 5)])
@pytest.mark.parametrize(("along_keys", "share"), [(False, 0.005), (True, 0.015)])
def test_gold_queries_are_reachable(spider_root, split, every, along_keys, share):
    vocabulary = samples.dummy_vocabulary()
    examples = read_examples(spider_root, split, with_schema=False)[::every]
    made, unreachable = {}, []
    for example in sorted(examples, key=lambda example: example.db_id):
        if example.db_id not in made:
            schema = schema_from_sqlite(database_path(spider_root, example.db_id))
            constrained = constraint.SchemaConstraint(vocabulary, schema, along_keys=along_keys)
            made = {example.db_id: constrained}
        if not samples.is_query(made[example.db_id], example.query.strip()):
            unreachable.append(f"{example.example_id}: {example.query}")
    assert len(unreachable) <= share * len(examples), unreachable


@pytest.mark.spider
def test_a_thousand_random_answers_are_queries_that_sqlite_prepares(spider_root):
    """Fifty within each schema of dev, drawn from the masks alone; half of them along its keys."""
    vocabulary = samples.dummy_vocabulary()
    databases = sorted({each.db_id for each in read_examples(spider_root, "dev", compact=True)})
    refused = []
    for db_id in databases:
        path = database_path(spider_root, db_id)
        schema = schema_from_sqlite(path)
        made = [
            constraint.SchemaConstraint(vocabulary, schema, "SELECT", along_keys=along_keys)
            for along_keys in (False, True)
        ]
        with open_database(path) as connection:
            for seed in range(1000 // len(databases)):
                limit = 40 + 2 * seed
                text = samples.random_answer(made[seed % 2], limit=limit, seed=seed).decode()
                try:
                    connection.execute(f"EXPLAIN SELECT{text}")
                except sqlite3.Error as error:
                    refused.append((db_id, seed, str(error), text))
    assert not refused


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT CAST(SUM(IIF(name = 'x', 1, 0)) AS REAL) * 100 / COUNT(singer_id) FROM singer",
        "SELECT SUM(name = 'x') - SUM(age > 3) FROM singer",
        "SELECT STRFTIME('%Y', CURRENT_TIMESTAMP) - STRFTIME('%Y', year) FROM concert",
        "SELECT DATETIME() - year span FROM concert",
        "SELECT REPLACE(name, 'a', 'b'), CASE WHEN age > 3 THEN true ELSE false END FROM singer",
        "SELECT name, RANK() OVER (ORDER BY age DESC) AS place FROM singer",
        "SELECT DENSE_RANK() OVER (PARTITION BY age ORDER BY COUNT(name)) FROM singer GROUP BY age",
        "SELECT COUNT(T.name) FROM singer AS T WHERE T.age > 3",
        "SELECT T.name FROM (SELECT name, age FROM singer ORDER BY age LIMIT 3) AS T",
        "SELECT T1.name FROM singer AS T1 JOIN (SELECT singer_id FROM concert) AS T2 "
        "ON T1.singer_id = T2.singer_id",
        "SELECT name FROM (SELECT name, ROW_NUMBER() OVER (ORDER BY age) AS place FROM singer) "
        "ranked WHERE place <= 5",
    ],
)
def test_what_bird_asks_in_is_within_the_schema(singers, sql):
    assert samples.is_query(singers, sql)
    samples.make_database(samples.SINGERS).execute(f"EXPLAIN {sql}")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT name FROM singer WHERE RANK() OVER (ORDER BY age) = 1",
        "SELECT SUM(RANK() OVER (ORDER BY age)) FROM singer",
        "SELECT RANK() OVER (ORDER BY RANK() OVER (ORDER BY age)) FROM singer",
        "SELECT RANK() OVER (ORDER BY age) AS place FROM singer GROUP BY age HAVING place = 1",
        "SELECT name label FROM singer",
    ],
)
def test_a_window_stands_where_sqlite_takes_one(singers, sql):
    assert not samples.is_query(singers, sql)


@pytest.fixture(scope="module")
def singers():
    vocabulary = samples.dummy_vocabulary()
    return constraint.SchemaConstraint(vocabulary, samples.make_schema(samples.SINGERS))

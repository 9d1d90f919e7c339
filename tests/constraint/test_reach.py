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

"""That every query which was begun can be ended, and with how many tokens."""

import sqlite3

import constraint_samples as samples
import pytest

from t2sql import constraint
from t2sql.constraint import completion, lexer
from t2sql.constraint.constraint import _BOUND_ERROR
from t2sql.data.database import database_path
from t2sql.data.examples import read_examples
from t2sql.data.read_schema import schema_from_sqlite

# Tables and columns called as words of the language are, and as aliases.
WORDS = {
    "rank": ("id", "t", "iif", "date"),
    "t": ("id", "rank", "true", "over"),
    "window": ("partition", "row_number", "replace"),
    "x": ("t1", "t2", "y"),
}


@pytest.fixture(scope="module")
def vocabulary():
    return samples.dummy_vocabulary()


def check_walk(made: constraint.SchemaConstraint, database: sqlite3.Connection, seed: int) -> None:
    """Behind every word: some end, as short as was said, which makes a query."""
    for before, after, text in samples.random_lexemes(made, 45, seed):
        state = lexer.settle(before)
        bound = completion.bound(after, made.count)
        # What `SchemaConstraint.any_token_leaves_room` counts on.
        assert bound <= state.cost + 2 * state.growth - _BOUND_ERROR, text
        end = b"".join(completion.parts(after, made.count))
        assert made.count(end) <= bound + _BOUND_ERROR, (text, end)
    try:
        database.execute(f"EXPLAIN {(text + end).decode()}")
    except sqlite3.Error as error:
        # A label that is also a column of two tables: alone it is the label, else ambiguous.
        assert "ambiguous column name" in str(error) and "order by" in text.decode(), text


@pytest.mark.parametrize("along_keys", [False, True], ids=["schema", "keys"])
@pytest.mark.parametrize(
    ("tables", "keys"),
    [(samples.PAPERS, samples.PAPER_KEYS), (samples.ODD, ()), (WORDS, ())],
    ids=["papers", "odd", "words"],
)
def test_every_query_has_an_end_as_short_as_was_said(vocabulary, tables, keys, along_keys):
    schema = samples.make_schema(tables, keys)
    made = constraint.SchemaConstraint(vocabulary, schema, along_keys=along_keys)
    database = samples.make_database(tables)
    for seed in range(12):
        check_walk(made, database, seed)


@pytest.mark.spider
@pytest.mark.parametrize("along_keys", [False, True], ids=["schema", "keys"])
def test_every_query_over_spider_has_an_end_as_short_as_was_said(
    spider_root, vocabulary, along_keys
):
    for db_id in sorted({example.db_id for example in read_examples(spider_root, "dev")}):
        schema = schema_from_sqlite(database_path(spider_root, db_id))
        made = constraint.SchemaConstraint(vocabulary, schema, along_keys=along_keys)
        tables = {t.name: tuple(column.name for column in t.columns) for t in schema.tables}
        for seed in range(3):
            check_walk(made, samples.make_database(tables), seed)

"""Every wrong verdict says which rule decided it."""

import json
import os
import pathlib
import sqlite3
import sys

import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st

from t2sql.data.database import database_paths
from t2sql.data.read_schema import read_tables, schema_from_sqlite
from t2sql.evaluation.evaluate import evaluate, evaluate_all
from t2sql.evaluation.execution_accuracy import results_match
from t2sql.evaluation.reasons import explain_difference
from t2sql.evaluation.sandbox.executor import Executor, Limits
from t2sql.evaluation.sandbox.results import ExecutionResult
from t2sql.evaluation.verdict import QueryPair

sys.path.append(str(pathlib.Path(__file__).parents[1] / "diagnosis"))
from sql_mutations import MUTATIONS  # noqa: E402


@pytest.fixture(scope="module")
def executor():
    with Executor(Limits(seconds=2.0), workers=2) as shared:
        yield shared


@pytest.fixture(scope="module")
def reason(executor, tmp_path_factory):
    path = tmp_path_factory.mktemp("reasons") / "venues.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(
        """
        CREATE TABLE venue (id INTEGER PRIMARY KEY, name TEXT, papers INTEGER, fee REAL);
        INSERT INTO venue VALUES (1, 'ICML', 3, 1.5), (2, 'AAAS', 1, 2.0), (3, 'ISA', NULL, 0.1),
                                 (4, 'KDD', 1, 0.25);
        CREATE TABLE paper (id INTEGER PRIMARY KEY, venue_id INTEGER, market_value INTEGER);
        INSERT INTO paper VALUES (1, 1, 5), (2, 1, 5), (3, 2, 7);
        """
    )
    connection.close()
    schema = schema_from_sqlite(path)

    def explain(gold, predicted):
        pair = QueryPair(gold=gold, predicted=predicted, databases=(path,), schema=schema)
        return evaluate(pair, executor).reason

    return explain


JOIN = "FROM venue AS T1 JOIN paper AS T2 ON T1.id = T2.venue_id"


@pytest.mark.parametrize(
    "gold, predicted, rule, words",
    [
        (
            f"SELECT DISTINCT T1.name {JOIN}",
            f"SELECT T1.name {JOIN} GROUP BY T1.name",
            "distinct_dropped",
            "DISTINCT is dropped from both queries, as in the official evaluator; then: 3 rows in "
            "gold, 2 in the prediction",
        ),
        (
            "SELECT count(DISTINCT papers) FROM venue",
            "SELECT count(*) FROM (SELECT DISTINCT papers FROM venue)",
            "values",
            "gold returns 3, the prediction does not (DISTINCT is dropped from both)",
        ),
        (
            "SELECT name FROM venue",
            f"SELECT T1.name {JOIN} UNION ALL SELECT name FROM venue WHERE id > 2",
            "repeated_rows",
            "the rows are gold's, but not as often: 'ICML' 1 times in gold, 2 in the prediction",
        ),
        (
            "SELECT papers FROM venue ORDER BY papers",
            "SELECT papers FROM venue ORDER BY papers NULLS LAST",
            "null_order",
            "the order is gold's but for NULL (NULLS FIRST or LAST): row 1 is NULL in gold, 1 in "
            "the prediction",
        ),
        (
            "SELECT name FROM venue ORDER BY name",
            "SELECT name FROM venue",
            "row_order",
            "gold says ORDER BY, so the order of rows counts: row 1 is 'AAAS' in gold, 'ICML' in "
            "the prediction",
        ),
        (
            "SELECT name FROM venue WHERE papers = 1 ORDER BY papers",
            "SELECT name FROM venue WHERE papers = 1 ORDER BY id DESC",
            "tie_in_order",
            "the rows are gold's, in another order where gold's ORDER BY leaves it open",
        ),
        (
            "SELECT name FROM venue WHERE papers > 0 ORDER BY papers LIMIT 1",
            "SELECT name FROM venue WHERE papers > 0 ORDER BY papers, id DESC LIMIT 1",
            "tie_at_limit",
            "the prediction returns other rows that tie where gold's LIMIT cuts",
        ),
        (
            "SELECT 9007199254740993",
            "SELECT 9007199254740992.0",
            "values",
            "gold returns 9007199254740993, the prediction does not",
        ),
        (
            "SELECT papers FROM venue WHERE id = 1",
            "SELECT CAST(papers AS TEXT) FROM venue WHERE id = 1",
            "value_types",
            "values look equal and are of other types: 3 in gold, '3' in the prediction",
        ),
        (
            "SELECT name FROM venue WHERE id = 1",
            "SELECT lower(name) FROM venue WHERE id = 1",
            "text_form",
            "texts differ in case, white space or Unicode form alone: 'ICML' in gold, 'icml' in "
            "the prediction",
        ),
        (
            "SELECT 0.1 + 0.2 FROM venue",
            "SELECT 0.3 FROM venue",
            "rounding",
            "numbers differ after the ninth digit alone: 0.30000000000000004 in gold, 0.3 in the "
            "prediction",
        ),
        (
            "SELECT avg(fee) FROM venue",
            "SELECT round(avg(fee), 2) FROM venue",
            "rounding",
            "numbers are equal when rounded to two decimals: 0.9625 in gold, 0.96 in the "
            "prediction",
        ),
        (
            "SELECT papers FROM venue WHERE id = 3",
            "SELECT 0 FROM venue WHERE id = 3",
            "blank_values",
            "NULL, an empty text and 0 are different values: NULL in gold, 0 in the prediction",
        ),
        (
            "SELECT 1, 10 FROM venue",
            "SELECT 1.0, 10 FROM venue",
            "integer_or_real",
            "the values are equal, but 1 and 1.0 sort in another way among the values of a row, "
            "which the comparison sorts as text",
        ),
        (
            "SELECT id, papers FROM venue WHERE id IN (1, 2)",
            "SELECT iif(id = 1, papers, id), iif(id = 1, id, papers) FROM venue WHERE id IN (1, 2)",
            "column_order",
            "each row has gold's values, but no one order of the columns suits all rows",
        ),
        (
            "SELECT name FROM venue",
            "SELECT name, id FROM venue",
            "column_count",
            "another number of columns: 1 in gold, 2 in the prediction",
        ),
        (
            "SELECT name FROM venue",
            "SELECT name FROM venue WHERE id > 9",
            "row_count",
            "another number of rows: 4 in gold, 0 in the prediction",
        ),
        (
            "SELECT name FROM venue WHERE id < 3",
            "SELECT name FROM venue WHERE id BETWEEN 2 AND 3",
            "values",
            "gold returns 'ICML', the prediction does not; 1 of 2 rows agree",
        ),
        (
            "SELECT name FROM venue",
            "SELECT nome FROM venue",
            "prediction_fails",
            "the prediction does not run: no such column: nome",
        ),
        ("SELECT name FROM venue", "", "prediction_fails", "there is no SQL"),
        ("SELECT name FROM venue", "-- none", "no_table", "the prediction returns no table"),
        (
            "SELECT market_value FROM paper",
            "SELECT market_value FROM paper",
            "placeholder",
            "the letters `value` in a prediction become 1, as in the official evaluator, and then "
            "it fails: no such column: market_1",
        ),
        (
            "SELECT name FROM venue WHERE name = 'value'",
            "SELECT name FROM venue WHERE name = 'value' UNION ALL SELECT 'x' WHERE 'value' = '1'",
            "placeholder",
            "the letters `value` in a prediction become 1, as in the official evaluator; then: 0 "
            "rows in gold, 1 in the prediction",
        ),
        (
            "SELECT value FROM json_each('[1, 2]')",
            "SELECT value FROM json_each('[1, 2]')",
            "placeholder",
            "as in the official evaluator; then: gold returns 2, the prediction does not; 1 of 2",
        ),
        (
            "SELECT nome FROM venue",
            "SELECT name FROM venue",
            "gold_fails",
            "the gold query fails on venues.sqlite: no such column: nome",
        ),
    ],
)
def test_reasons(reason, gold, predicted, rule, words):
    told = reason(gold, predicted)
    assert told.rule == rule
    assert words in told.message


def test_a_right_answer_needs_no_reason(reason):
    assert reason("SELECT name FROM venue", "SELECT name FROM venue WHERE id > 0") is None
    assert reason(None, "SELECT nome FROM venue") is None


def test_a_tie_in_gold_is_noted_whatever_the_verdict(executor, tmp_path):
    path = tmp_path / "one.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 1), (2, 1);")
    connection.close()
    gold = "SELECT a FROM t ORDER BY b LIMIT 1"
    note = "a tie decides which ones"
    for predicted, execution in ((gold, True), ("SELECT a FROM t", False)):
        pair = QueryPair(
            gold=gold, predicted=predicted, databases=(path,), schema=schema_from_sqlite(path)
        )
        verdict = evaluate(pair, executor)
        assert verdict.execution is execution
        assert any(note in text for text in verdict.notes)


def test_the_files_on_which_gold_fails_are_counted(executor, tmp_path):
    paths = [tmp_path / f"{name}.sqlite" for name in ("good", "old", "broken")]
    for path, table in zip(paths, ("t (a)", "t (b)", "t (a)"), strict=True):
        with sqlite3.connect(path) as connection:
            connection.execute(f"CREATE TABLE {table}")
    paths[2].write_bytes(b"no database" * 1_000)
    schema = schema_from_sqlite(paths[0])

    def failed_on(gold, predicted):
        pair = QueryPair(gold=gold, predicted=predicted, databases=tuple(paths), schema=schema)
        return evaluate(pair, executor).gold_failed_on

    assert failed_on("SELECT a FROM t", "SELECT a FROM t") == tuple(paths[1:])
    assert failed_on("SELECT c FROM t", "SELECT a FROM t") == tuple(paths)
    # The first file tells them apart: the others are not looked at.
    assert failed_on("SELECT count(*) FROM t", "SELECT 7 FROM t") == ()


_VALUES = st.sampled_from([None, 0, 1, 1.0, 10, "", "a", "A", "1", b"a", 0.1 + 0.2, 0.3])
_ROWS = st.integers(1, 3).flatmap(
    lambda width: st.lists(st.tuples(*[_VALUES] * width), max_size=4).map(tuple)
)


@settings(max_examples=500, deadline=None)
@given(_ROWS, _ROWS, st.booleans())
def test_any_two_results_that_differ_have_a_reason(rows, others, ordered):
    gold, predicted = (
        ExecutionResult(
            status="ok",
            columns=("a", "b", "c")[: len(side[0]) if side else 1],
            rows=side,
            row_count=len(side),
        )
        for side in (rows, others)
    )
    if not results_match(rows, others, ordered=ordered):
        told = explain_difference(gold, predicted, ordered=ordered, ties=None)
        assert told.rule and told.message and "\n" not in told.message


@pytest.mark.spider
@pytest.mark.timeout(300)
def test_every_wrong_verdict_on_spider_has_a_reason(executor):
    root = pathlib.Path(os.environ["T2SQL_SPIDER_DIR"])
    schemas = read_tables(root)
    official = root.parent / "conformance" / "official_verdicts.json"
    queries = [(row["db_id"], row["gold"], row["pred"]) for row in json.loads(official.read_text())]
    for row in json.loads((root / "dev.json").read_text())[::20]:
        for mutations in MUTATIONS.values():
            for mutate in mutations:
                tree = sqlglot.parse_one(row["query"], dialect="sqlite")
                wrong = mutate(tree, schemas[row["db_id"]])
                if wrong is not None:
                    sql = wrong if isinstance(wrong, str) else wrong.sql(dialect="sqlite")
                    queries.append((row["db_id"], row["query"], sql))
    pairs = [
        QueryPair(
            gold=gold,
            predicted=predicted,
            databases=tuple(database_paths(root, db_id)),
            schema=schemas[db_id],
        )
        for db_id, gold, predicted in queries
    ]
    verdicts = list(evaluate_all(pairs, executor))
    wrong = [verdict for verdict in verdicts if verdict.execution is False]
    assert len(wrong) > 1_000
    assert all((verdict.reason is None) == (verdict.execution is True) for verdict in verdicts)
    assert all(verdict.reason.rule and verdict.reason.message for verdict in wrong)


def test_a_prediction_is_valid_where_gold_runs_too(executor, tmp_path):
    paths = [tmp_path / f"{name}.sqlite" for name in ("good", "old")]
    for path, table in zip(paths, ("t (a)", "u (b)"), strict=True):
        with sqlite3.connect(path) as connection:
            connection.execute(f"CREATE TABLE {table}")
    schema = schema_from_sqlite(paths[0])

    def verdict(predicted, *databases):
        pair = QueryPair(
            gold="SELECT a FROM t", predicted=predicted, databases=databases, schema=schema
        )
        return evaluate(pair, executor)

    right = verdict("SELECT a FROM t", *paths)
    assert (right.execution, right.valid, right.reason.rule) == (False, True, "gold_fails")
    assert not verdict("SELECT b FROM t", *paths).valid
    assert not verdict("SELECT a FROM t", paths[1]).valid


@pytest.mark.parametrize("sql", ["DELETE FROM venue", "CREATE TABLE x AS SELECT 1", "PRAGMA a"])
def test_the_reason_calls_what_is_no_query_so(reason, sql):
    said = reason("SELECT name FROM venue", sql)
    assert said.rule == "prediction_fails"
    assert said.message.startswith(f"the prediction is no query: {sql.split()[0]} ")

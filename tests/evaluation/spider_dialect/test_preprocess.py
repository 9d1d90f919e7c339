"""The changes that the official evaluator makes to a query before it runs."""

import json
import os
import pathlib

import pytest

from t2sql.evaluation.spider_dialect import preprocess


@pytest.mark.parametrize(
    "sql, runs",
    [
        ("SELECT DISTINCT a FROM t", "SELECT  a FROM t"),
        ("SELECT count( distinct a ) FROM t", "SELECT count(  a ) FROM t"),
        ("SELECT DISTINCT(a) FROM t", "SELECT (a) FROM t"),
        ("SELECT 'distinct', \"DISTINCT\", `distinct` FROM t", None),
        ("SELECT distinctly, is_distinct FROM t /* distinct */ -- distinct", None),
        ("SELECT a FROM t WHERE a > = 1 AND b < = 2 AND c ! = 3",
         "SELECT a FROM t WHERE a >= 1 AND b <= 2 AND c != 3"),
        ("SELECT 1; SELECT 2", "SELECT 1;"),
        ("SELECT ';', \";\", `;`, [;] /* ; */ -- ;\n; SELECT 2",
         "SELECT ';', \";\", `;`, [;] /* ; */ -- ;\n;"),
        ("SELECT 'it''s; fine'; x", "SELECT 'it''s; fine';"),
        ("SELECT YEAR ( CURDATE() ) - born FROM t", "SELECT 2020- born FROM t"),
        # A backslash escapes a quotation mark, unless the literal would have no end then.
        ("SELECT a FROM t WHERE b LIKE '%\\'; SELECT 1", "SELECT a FROM t WHERE b LIKE '%\\';"),
        ("SELECT '\\' DISTINCT; x", "SELECT '\\' ;"),
        ('SELECT "a\\"; x', 'SELECT "a\\";'),
        ("SELECT '\\'; DISTINCT', 'b'; c", "SELECT '\\'; DISTINCT', 'b';"),
        # A comment behind the semicolon is part of the statement; so SQLite refuses `#`.
        ("SELECT a FROM t; # DISTINCT", None),
        ("SELECT a FROM t; -- DISTINCT\nx", "SELECT a FROM t; -- DISTINCT"),
        ("SELECT a FROM t;\0 SELECT 1", "SELECT a FROM t;"),
        ("SELECT a FROM t\0; SELECT 1", "SELECT a FROM t\0;"),
        ("SELECT 'open; DISTINCT", "SELECT 'open;"),
        ("", None),
    ],
)  # fmt: skip
def test_comparable(sql, runs):
    assert preprocess.comparable(sql) == (sql if runs is None else runs)


def test_runnable_keeps_distinct():
    assert preprocess.runnable("SELECT DISTINCT a FROM t; x") == "SELECT DISTINCT a FROM t;"


def test_the_letters_value_are_a_placeholder():
    assert (
        preprocess.fill_values("select values, Value from x_value") == "select 1s, Value from x_1"
    )


@pytest.mark.parametrize(
    "gold, ordered",
    [
        ("SELECT a FROM t", False),
        ("SELECT a FROM t Order By a", True),
        ("SELECT a FROM t ORDER  BY a", False),  # two spaces hide it from the evaluator
        ("SELECT a FROM t WHERE b IN (SELECT b FROM u ORDER BY b LIMIT 1)", True),
    ],
)
def test_is_ordered(gold, ordered):
    assert preprocess.is_ordered(gold) is ordered


@pytest.mark.timeout(20)
@pytest.mark.parametrize("part", ["'", "\\'", '"', "/*", "[", "`", "--", "a ", ";", "distinct "])
def test_takes_time_linear_in_hostile_text(part):
    text = part * 300_000
    assert text.startswith(preprocess.runnable(text))


@pytest.mark.spider
def test_gold_queries_lose_nothing_but_distinct():
    root = os.environ.get("T2SQL_SPIDER_DIR") or pytest.fail("set T2SQL_SPIDER_DIR")
    for example in json.loads((pathlib.Path(root) / "dev.json").read_text()):
        gold = example["query"]
        assert preprocess.runnable(gold) == gold.rstrip()
        assert preprocess.comparable(gold).split() == [
            word for word in gold.replace("(DISTINCT", "(").split() if word.lower() != "distinct"
        ]

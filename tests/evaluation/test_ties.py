"""What a gold query's own ORDER BY and LIMIT leave open."""

import sqlite3

import pytest

from t2sql.evaluation.sandbox.results import ExecutionResult
from t2sql.evaluation.ties import Ties, tie_probe

SINGERS = [("Ann", 30, "UK"), ("Bob", 30, "US"), ("Cyd", 30, "US"), ("Dan", 41, "UK")]


def _ties(sql: str) -> Ties | None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE singer (name TEXT, age INTEGER, country TEXT)")
    connection.executemany("INSERT INTO singer VALUES (?, ?, ?)", SINGERS)
    probe = tie_probe(sql)
    if probe is None:
        return None
    cursor = connection.execute(probe.sql)
    rows = tuple(cursor)
    names = tuple(name for name, *_ in cursor.description)
    # The probe returns what the query does.
    limited = rows[probe.offset :][: probe.limit]
    assert [row[: len(row) - probe.terms.count(None)] for row in limited] == list(
        connection.execute(sql)
    )
    return probe.read(ExecutionResult(status="ok", columns=names, rows=rows, row_count=len(rows)))


CUT = "gold's LIMIT keeps {} of {} rows and cuts among {} that {}: a tie decides which ones"
OPEN = "gold's ORDER BY leaves the order of {} of {} rows open: a tie decides it"
EQUAL, UNSORTED = "are equal in its ORDER BY", "no ORDER BY sorts"


@pytest.mark.parametrize(
    "sql, note",
    [
        ("SELECT name FROM singer ORDER BY age LIMIT 1", CUT.format(1, 4, 3, EQUAL)),
        ("SELECT name FROM singer ORDER BY age ASC LIMIT 2;", CUT.format(2, 4, 3, EQUAL)),
        ("SELECT * FROM singer ORDER BY singer.age LIMIT 1", CUT.format(1, 4, 3, EQUAL)),
        ("SELECT name FROM singer LIMIT 2", CUT.format(2, 4, 4, UNSORTED)),
        ("SELECT name FROM singer ORDER BY age LIMIT 1 OFFSET 2", CUT.format(1, 4, 3, EQUAL)),
        ("SELECT name FROM singer ORDER BY age LIMIT 2, 2", CUT.format(2, 4, 3, EQUAL)),
        ("SELECT name FROM singer ORDER BY age", OPEN.format(3, 4)),
        ("SELECT name FROM singer ORDER BY age LIMIT 3", OPEN.format(3, 3)),
        ("SELECT name, age AS years FROM singer ORDER BY years DESC", OPEN.format(3, 4)),
        ("SELECT name, age FROM singer ORDER BY 2", OPEN.format(3, 4)),
        ("SELECT name, age n FROM singer ORDER BY upper(country) DESC, age", OPEN.format(2, 4)),
        (
            "SELECT country FROM singer GROUP BY country ORDER BY count(*) LIMIT 1",
            CUT.format(1, 2, 2, EQUAL),
        ),
        (
            "SELECT name, age FROM singer UNION SELECT name, age FROM singer ORDER BY age LIMIT 1",
            CUT.format(1, 4, 3, EQUAL),
        ),
        (
            "WITH s AS (SELECT * FROM singer) SELECT name FROM s ORDER BY age LIMIT 1",
            CUT.format(1, 4, 3, EQUAL),
        ),
        # Nothing is left open.
        ("SELECT name FROM singer ORDER BY age DESC LIMIT 1", None),
        ("SELECT age FROM singer ORDER BY age LIMIT 1", None),
        ("SELECT name FROM singer ORDER BY age, name LIMIT 1", None),
        ("SELECT country FROM singer GROUP BY country ORDER BY max(age)", None),
        ("SELECT name FROM singer ORDER BY age LIMIT 9", OPEN.format(3, 4)),
        ("SELECT name FROM singer ORDER BY name NULLS LAST LIMIT 4", None),
        ("SELECT count(*) FROM singer LIMIT 1", None),
        ("SELECT name FROM singer WHERE age > 99 ORDER BY age LIMIT 1", None),
    ],
)
def test_notes(sql, note):
    assert _ties(sql).note() == note


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT name FROM singer",
        "SELECT name FROM singer WHERE age IN (SELECT age FROM singer ORDER BY age LIMIT 1)",
        "SELECT name FROM singer LIMIT 1 + 1",
        "SELECT name FROM singer UNION SELECT name FROM singer ORDER BY name || 'x'",
        "SELECT 1 ORDER BY 1",
        "ORDER BY",
        "LIMIT",
        "",
    ],
)
def test_queries_that_order_nothing_or_in_another_way(sql):
    assert tie_probe(sql) is None


def test_rows_that_limit_may_as_well_keep():
    ties = _ties("SELECT name FROM singer ORDER BY age DESC LIMIT 2")
    assert ties.allow_rows([("Dan",), ("Ann",)])
    assert ties.allow_rows([("Bob",), ("Dan",)])
    assert not ties.allow_rows([("Bob",), ("Cyd",)])
    assert not ties.allow_rows([("Dan",), ("Dan",)])
    assert not ties.allow_rows([("Dan",)])
    assert not _ties("SELECT name FROM singer ORDER BY name LIMIT 1").allow_rows([("Bob",)])
    behind = _ties("SELECT name FROM singer ORDER BY age DESC LIMIT 2 OFFSET 1")
    assert behind.allow_rows([("Cyd",), ("Bob",)])
    assert not behind.allow_rows([("Cyd",), ("Dan",)])


def test_orders_that_order_by_allows():
    ties = _ties("SELECT name FROM singer ORDER BY age DESC")
    assert ties.allow_order([("Dan",), ("Cyd",), ("Ann",), ("Bob",)])
    assert not ties.allow_order([("Ann",), ("Bob",), ("Cyd",), ("Dan",)])
    assert not ties.allow_order([("Dan",), ("Ann",), ("Ann",), ("Bob",)])
    assert not ties.allow_order([("Dan",), ("Ann",)])
    # Equal rows that sort apart.
    ties = _ties("SELECT country FROM singer ORDER BY age")
    assert ties.allow_order([("US",), ("US",), ("UK",), ("UK",)])
    assert not ties.allow_order([("US",), ("UK",), ("UK",), ("US",)])


@pytest.mark.timeout(20)
@pytest.mark.parametrize("part", ["ORDER BY a, ", "LIMIT 1 ", "(", ")", "SELECT a AS b, ", "FROM "])
def test_any_text_is_read_in_linear_time(part):
    tie_probe("SELECT a FROM t " + part * 100_000)

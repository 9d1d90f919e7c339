"""Whether a query's values are where it looks for them."""

import contextlib
import sqlite3

import pytest

from t2sql.choose import grounding
from t2sql.data import read_schema


@pytest.fixture(scope="module")
def football(tmp_path_factory):
    path = tmp_path_factory.mktemp("grounding") / "football.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            """
            CREATE TABLE team (id INTEGER PRIMARY KEY, name TEXT, "home town" TEXT);
            CREATE TABLE player (name TEXT, team_id INT REFERENCES team(id), college TEXT);
            INSERT INTO team VALUES (1, 'Reds', 'O''Hara'), (2, 'Blues', 'York');
            INSERT INTO player VALUES ('Ann', 1, 'UCLA'), ('Bob', 2, 'Duke'), ('Cy', 2, '7');
            """
        )
    return path


def _faults(path, sql, *named):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return grounding.faults(
            sql, path, named, lambda probe: connection.execute(probe).fetchone() is not None
        )


@pytest.mark.parametrize(
    ("where", "faults"),
    [
        ("college = 'UCLA'", 0),
        ("name = 'UCLA'", 1),
        ("college = 'ucla'", 1),
        ("college != 'UCLA'", 0),
        ("team_id = 'Reds'", 1),
        ("team_id = '1'", 0),
        ("team_id = 9", 0),
        ("college IN ('UCLA', 'Duke', 'Ann')", 1),
        ("name = 'UCLA' OR name = 'UCLA'", 1),
        ("name LIKE '%x%'", 0),
        ("name LIKE 'ucla'", 1),
        ("college LIKE 'ucla'", 0),
        ("college = name", 0),
        ("team_id IN (SELECT id FROM team WHERE \"home town\" = 'O''Hara')", 0),
        ("team_id IN (SELECT id FROM team WHERE name = 'O''Hara')", 1),
        ("age = 'UCLA'", 0),
        ("NOT name = 'Duke' AND college = 'Duke'", 1),
    ],
)
def test_texts_that_their_column_does_not_hold(football, where, faults):
    assert _faults(football, f"SELECT name FROM player WHERE {where}") == faults


def test_aliases_and_joins_are_looked_through(football):
    joined = "SELECT count(*) FROM player AS T1 JOIN team AS T2 ON T1.team_id = T2.id WHERE "
    assert _faults(football, joined + "T2.name = 'Reds'") == 0
    assert _faults(football, joined + "T1.name = 'Reds'") == 1


def test_named_values_are_looked_for_in_any_spelling(football):
    one = "SELECT name FROM player WHERE college = 'UCLA'"
    assert _faults(football, one, ("Ucla",)) == 0
    assert _faults(football, one, ("UCLA",), ("Duke",)) == 1
    assert _faults(football, "SELECT name FROM player WHERE college LIKE '%UCLA%'", ("UCLA",)) == 0
    assert _faults(football, "SELECT name FROM player WHERE team_id = 1", ("1",)) == 0


@pytest.mark.parametrize("sql", ["", "no query", "SELECT " + "(" * 90 + "1" + ")" * 90])
def test_what_cannot_be_read_uses_no_value(football, sql):
    assert _faults(football, sql) == 0
    assert _faults(football, sql, ("UCLA",)) == 1


def test_comparisons_in_having_count(football):
    sql = "SELECT college FROM player GROUP BY college HAVING college = 'Ann'"
    assert grounding.comparisons(sql, read_schema.schema_from_sqlite(football)) == [
        ("player", "college", "=", "Ann", True)
    ]
    assert _faults(football, sql) == 1

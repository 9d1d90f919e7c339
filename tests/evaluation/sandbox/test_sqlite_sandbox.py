"""Hostile queries: none writes, loads, hangs, exhausts memory or touches another's verdict."""

import hashlib
import itertools
import pathlib
import sqlite3
import tempfile
import time

import pytest

from t2sql.evaluation.sandbox.executor import Executor, Limits, Query

LIMITS = Limits(seconds=0.4, grace=1.0, memory=400 << 20, rows=20_000, result_bytes=16 << 20)
# Refused before it runs, stopped while it runs, or run to its harmless end.
REFUSED, STOPPED, HARMLESS = ("error",), ("timeout", "too_large", "out_of_memory"), ("ok",)

_FOREVER = "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r)"
_DEEP = 3_000


def _nested(count: int) -> str:
    return "SELECT * FROM (" * count + "SELECT 1" + ")" * count


HOSTILE = {
    # Writing.
    "insert": ("INSERT INTO t VALUES (9, 'x')", REFUSED),
    "insert or replace": ("REPLACE INTO t SELECT * FROM t", REFUSED),
    "insert that fires a recursive trigger": ("INSERT INTO looping VALUES (1)", REFUSED),
    "update": ("UPDATE t SET a = 0", REFUSED),
    "delete": ("DELETE FROM t", REFUSED),
    "delete behind a CTE": ("WITH x AS (SELECT 1) DELETE FROM t", REFUSED),
    "returning": ("DELETE FROM t RETURNING a", REFUSED),
    "drop table": ("DROP TABLE t", REFUSED),
    "alter table": ("ALTER TABLE t RENAME TO u", REFUSED),
    "create table": ("CREATE TABLE u (a)", REFUSED),
    "create temporary table": ("CREATE TEMP TABLE u AS SELECT * FROM t", REFUSED),
    "create view": ("CREATE VIEW w AS SELECT 1", REFUSED),
    "create trigger": ("CREATE TEMP TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END", REFUSED),
    "create virtual table": ("CREATE VIRTUAL TABLE temp.f USING fts5(a)", REFUSED),
    "create index": ("CREATE INDEX i ON t (a)", REFUSED),
    "reindex": ("REINDEX t", REFUSED),
    "reindex where there is no index": ("REINDEX looping", HARMLESS),
    "analyze": ("ANALYZE", REFUSED),
    "vacuum": ("VACUUM", REFUSED),
    "vacuum into": ("VACUUM INTO '{outside}/vacuum.db'", REFUSED),
    # Other files and code.
    "attach": ("ATTACH DATABASE '{outside}/attached.db' AS other", REFUSED),
    "attach in memory": ("ATTACH ':memory:' AS other", REFUSED),
    "detach": ("DETACH main", REFUSED),
    "load_extension": ("SELECT load_extension('{outside}/evil')", REFUSED),
    "writefile": ("SELECT writefile('{outside}/written', 'x')", REFUSED),
    "readfile": ("SELECT readfile('/etc/passwd')", REFUSED),
    "edit": ("SELECT edit('x', 'touch {outside}/edited')", REFUSED),
    "fts3_tokenizer": ("SELECT fts3_tokenizer('simple')", REFUSED),
    "fsdir": ("SELECT * FROM fsdir('/')", REFUSED),
    "dot command": (".shell touch {outside}/shelled", REFUSED),
    # Settings and transactions.
    "pragma": ("PRAGMA writable_schema = ON", REFUSED),
    "pragma that reads": ("PRAGMA database_list", REFUSED),
    "pragma journal_mode": ("PRAGMA journal_mode = WAL", REFUSED),
    "pragma hard_heap_limit": ("PRAGMA hard_heap_limit = 1", REFUSED),
    "pragma as a table": ("SELECT * FROM pragma_journal_mode", REFUSED),
    "begin": ("BEGIN EXCLUSIVE", REFUSED),
    "commit": ("COMMIT", REFUSED),
    "savepoint": ("SAVEPOINT s", REFUSED),
    # Several statements.
    "second statement": ("SELECT 1; DROP TABLE t", REFUSED),
    "second statement behind a comment": ("SELECT 1 /* ; */; -- ;\nDELETE FROM t", REFUSED),
    # Time.
    "endless recursion": (f"{_FOREVER} SELECT count(*) FROM r", STOPPED),
    "endless recursion within EXISTS": (
        f"SELECT EXISTS ({_FOREVER} SELECT 1 FROM r WHERE i < 0)",
        STOPPED,
    ),
    "cross join that counts": (
        "SELECT count(*) FROM " + ", ".join(f"t AS t{i}" for i in range(20)),
        STOPPED,
    ),
    "cross join of 64 tables": (
        "SELECT max(t0.b || t63.b) FROM " + ", ".join(f"t AS t{i}" for i in range(64)),
        STOPPED,
    ),
    "cross join of 65 tables": (
        "SELECT 1 FROM " + ", ".join(f"t AS t{i}" for i in range(65)),
        REFUSED,
    ),
    "generate_series": ("SELECT count(*) FROM generate_series(1, 1000000000000)", REFUSED),
    "one call into C for hours": (
        "SELECT instr(zeroblob(9000000), zeroblob(4500000) || x'01')",
        STOPPED,
    ),
    "LIKE bomb": (
        f"SELECT hex(zeroblob(400000)) LIKE '{'%0_0' * 100}1' FROM t",
        (*STOPPED, *HARMLESS),
    ),
    "LIKE bomb of a long pattern": (f"SELECT 'aaa' LIKE '{'%a' * 5_000}'", REFUSED),
    "GLOB bomb": (
        f"SELECT hex(zeroblob(400000)) GLOB '{'*[0-9]*0' * 60}x' FROM t",
        (*STOPPED, *HARMLESS),
    ),
    "REGEXP": ("SELECT 'aaaa' REGEXP '(a+)+$'", REFUSED),
    "sort of an endless recursion": (f"{_FOREVER} SELECT i FROM r ORDER BY -i", STOPPED),
    "exponential CTE": (
        "WITH a AS (SELECT 1 x UNION ALL SELECT 2), "
        + ", ".join(
            f"{new} AS (SELECT * FROM {old}, {old} AS o)"
            for old, new in itertools.pairwise("abcdef")
        )
        + " SELECT count(*) FROM f",
        (*STOPPED, *REFUSED),
    ),
    # Memory and size.
    "zeroblob": ("SELECT zeroblob(2000000000)", REFUSED),
    "hex of a zeroblob": ("SELECT hex(zeroblob(200000000))", REFUSED),
    "randomblob": ("SELECT randomblob(1000000000)", REFUSED),
    "printf": ("SELECT printf('%.*c', 2000000000, 'x')", None),
    "printf width": ("SELECT printf('%2000000000d', 1)", None),
    "replace": ("SELECT replace(hex(zeroblob(4000000)), '0', hex(zeroblob(4000)))", REFUSED),
    "group_concat": (
        f"{_FOREVER} SELECT group_concat(hex(randomblob(100000))) FROM r",
        (*REFUSED, *STOPPED),
    ),
    "json_group_array": (f"{_FOREVER} SELECT json_group_array(hex(zeroblob(9000))) FROM r", None),
    "json nesting": (f"SELECT json('{'[' * 100_000}')", REFUSED),
    "json_each of a long array": (
        "SELECT count(*) FROM t, json_each('[1,2,3]') a, "
        "json_each('[' || replace(hex(zeroblob(1000000)), '0', '1,') || '1]') b",
        None,
    ),
    "endless rows": (f"{_FOREVER} SELECT i FROM r", STOPPED),
    "many huge values": (f"{_FOREVER} SELECT zeroblob(5000000) FROM r", STOPPED),
    "one row of many huge values": (
        "SELECT " + ", ".join(["randomblob(9000000)"] * 200),
        STOPPED,
    ),
    "distinct huge values": (
        f"{_FOREVER} SELECT DISTINCT randomblob(1000000) FROM r LIMIT 1 OFFSET 100000",
        STOPPED,
    ),
    "2,001 columns": ("SELECT " + ", ".join(["1"] * 2_001), REFUSED),
    # Text that is no SQL.
    "nothing": ("", HARMLESS),
    "spaces": (" \n\t", HARMLESS),
    "a comment": ("-- SELECT 1", HARMLESS),
    "an open comment": ("SELECT 1 /* ", HARMLESS),
    "deep brackets": ("SELECT " + "(" * _DEEP + "1" + ")" * _DEEP, REFUSED),
    "deep nesting": (_nested(_DEEP), REFUSED),
    "deep expression": ("SELECT 1" + " + 1" * 5_000, REFUSED),
    "many UNIONs": (" UNION ALL ".join(["SELECT 1"] * 5_000), REFUSED),
    "NUL bytes": ("SELECT 1\0; DROP TABLE t", REFUSED),
    "only NUL": ("\0", REFUSED),
    "a lone surrogate": ("SELECT '\ud800'", REFUSED),
    "a megabyte of text": ("SELECT '" + "x" * 999_000 + "'", HARMLESS),
    "two megabytes of text": ("SELECT '" + "x" * 2_000_000 + "'", REFUSED),
    "a megabyte of brackets": ("(" * 1_000_000, REFUSED),
    "a megabyte of quotes": ("'" * 999_999, REFUSED),
    "parameters": ("SELECT ?, :name FROM t", REFUSED),
    "right-to-left override": ("SELECT '\u202e' -- \u202e", HARMLESS),
    "huge integer": ("SELECT 9223372036854775807 + 1, -9223372036854775808 / -1", HARMLESS),
    "explain": ("EXPLAIN SELECT * FROM t", HARMLESS),
    "schema": ("SELECT sql FROM sqlite_master", HARMLESS),
}


def _make_database(path: pathlib.Path) -> pathlib.Path:
    connection = sqlite3.connect(path)
    connection.executescript(
        """
        CREATE TABLE t (a INTEGER, b TEXT);
        INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'z');
        CREATE INDEX t_by_b ON t (b);
        CREATE TABLE looping (a);
        CREATE TRIGGER again AFTER INSERT ON looping BEGIN INSERT INTO looping VALUES (1); END;
        CREATE VIEW v AS SELECT a FROM t;
        """
    )
    connection.close()
    return path


def _state(folder: pathlib.Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a database, in which the workers start; it must stay as it is."""
    path = tmp_path_factory.mktemp("hostile")
    _make_database(path / "db.sqlite")
    before = _state(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setenv("SQLITE_TMPDIR", str(path))
        patch.setattr(tempfile, "tempdir", str(path))
        yield path
    assert _state(path) == before


@pytest.fixture(scope="module")
def executor(folder):
    with Executor(LIMITS, workers=2) as shared:
        yield shared


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_query(folder, executor, name):
    sql, expected = HOSTILE[name]
    # Where anything goes (None), SQLite's versions differ.
    database, before = folder / "db.sqlite", _state(folder)
    probe = Query(database, "SELECT count(*), sum(a), group_concat(b) FROM t")
    attack = Query(database, sql.replace("{outside}", str(folder)))
    start = time.monotonic()
    first, attacked, second, third = executor.map([probe, attack, probe, probe])
    assert time.monotonic() - start < 20
    assert attacked.status in (expected or (*REFUSED, *STOPPED, *HARMLESS))
    assert bool(attacked.message) == (attacked.status != "ok")
    for result in (first, second, third):
        assert result.rows == ((3, 6, "x,y,z"),)
    assert _state(folder) == before


def test_there_are_enough_hostile_queries():
    assert len(HOSTILE) >= 40


def test_a_call_into_c_is_ended_from_outside(folder, executor):
    sql, _ = HOSTILE["one call into C for hours"]
    result = executor.run(folder / "db.sqlite", sql)
    assert (result.status, result.message) == ("timeout", "stopped after 0.4 s")


def test_useful_sql_runs(folder, executor):
    def rows(sql: str) -> tuple:
        result = executor.run(folder / "db.sqlite", sql)
        assert result.ok, result.message
        return result.rows

    assert rows("SELECT a FROM v WHERE a IN (SELECT max(a) FROM t)") == ((3,),)
    assert rows(
        "WITH RECURSIVE r(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM r WHERE i < 4)"
        " SELECT sum(i) FROM r"
    ) == ((10,),)
    assert rows("SELECT value FROM json_each('[1, 2]')") == ((1,), (2,))
    assert rows("SELECT row_number() OVER (ORDER BY a DESC) FROM t") == ((1,), (2,), (3,))
    assert rows("SELECT strftime('%Y', '2020-01-01'), upper(b), round(1.26, 1) FROM t LIMIT 1") == (
        ("2020", "X", 1.3),
    )
    assert rows('SELECT "no_such_column" FROM t LIMIT 1') == (("no_such_column",),)


def test_text_that_is_not_utf8_loses_its_wrong_bytes(tmp_path, executor):
    path = tmp_path / "latin.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (a TEXT)")
    connection.execute("INSERT INTO t VALUES (CAST(x'4A6F73E9' AS TEXT))")
    connection.commit()
    connection.close()
    assert executor.run(path, "SELECT a FROM t").rows == (("Jos",),)


def test_a_database_in_a_read_only_folder(tmp_path, executor):
    folder = tmp_path / "locked"
    folder.mkdir()
    path = _make_database(folder / "db.sqlite")
    path.chmod(0o400)
    folder.chmod(0o500)
    try:
        assert executor.run(path, "SELECT count(*) FROM t").rows == ((3,),)
    finally:
        folder.chmod(0o700)


def test_a_query_that_can_be_interrupted_is(folder):
    sql, _ = HOSTILE["endless recursion"]
    with Executor(Limits(seconds=0.4, grace=60), workers=1) as patient:
        result = patient.run(folder / "db.sqlite", sql)
    assert (result.status, result.message) == ("timeout", "stopped after 0.4 s")
    assert 0.4 <= result.seconds < 30

"""Hostile queries: none writes, loads, hangs, exhausts memory or touches another's verdict."""

import contextlib
import hashlib
import itertools
import pathlib
import random
import sqlite3
import tempfile
import time

import pytest

from t2sql.evaluation.sandbox.executor import Executor, Limits, Query
from t2sql.evaluation.sandbox.sqlite_sandbox import Sandbox

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
    "pragma of an argument": ("SELECT * FROM pragma_user_version('t')", REFUSED),
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

# The same for virtual tables: full text and R-tree.
HOSTILE_VIRTUAL = {
    "insert into fts5": ("INSERT INTO log5 VALUES ('x', 'y')", REFUSED),
    "insert of what a full-text query finds": (
        "INSERT INTO plain SELECT entry FROM log5 WHERE log5 MATCH 'fog'",
        REFUSED,
    ),
    "fts5 returning": ("DELETE FROM log5 WHERE log5 MATCH 'fog' RETURNING entry", REFUSED),
    "fts5 rebuild": ("INSERT INTO log5(log5) VALUES ('rebuild')", REFUSED),
    "fts5 optimize": ("INSERT INTO log5(log5) VALUES ('optimize')", REFUSED),
    "fts5 delete-all": ("INSERT INTO outer5(outer5) VALUES ('delete-all')", REFUSED),
    "fts5 merge": ("INSERT INTO log5(log5, rank) VALUES ('merge', 500)", REFUSED),
    "fts5 integrity-check": ("INSERT INTO log5(log5) VALUES ('integrity-check')", REFUSED),
    "fts5 pgsz": ("INSERT INTO log5(log5, rank) VALUES ('pgsz', 64)", REFUSED),
    "fts5 shadow table": ("DELETE FROM log5_data", REFUSED),
    "fts5 configuration": ("REPLACE INTO log5_config VALUES ('version', 9)", REFUSED),
    "fts4 rebuild": ("INSERT INTO log4(log4) VALUES ('rebuild')", REFUSED),
    "fts4 optimize": ("INSERT INTO log4(log4) VALUES ('optimize')", REFUSED),
    "fts4 shadow table": ("UPDATE log4_segments SET block = x''", REFUSED),
    "fts3 optimize": ("SELECT optimize(log3) FROM log3", REFUSED),
    "fts3_tokenizer of a pointer": ("SELECT fts3_tokenizer('x', x'4141414141414141')", REFUSED),
    "fts3_tokenizer within MATCH": (
        "SELECT * FROM log3 WHERE log3 MATCH fts3_tokenizer('simple')",
        REFUSED,
    ),
    "rtree insert": ("INSERT INTO area VALUES (9, 1, 2)", REFUSED),
    "rtree delete": ("DELETE FROM area WHERE id = 1", REFUSED),
    "rtree node": ("INSERT INTO area_node VALUES (9, x'00')", REFUSED),
    "rtree node, updated": ("UPDATE area_node SET data = zeroblob(9)", REFUSED),
    "rtree rowid behind a CTE": ("WITH x AS (SELECT 1) DELETE FROM area_rowid", REFUSED),
    "rtree parent, replaced": ("REPLACE INTO area_parent SELECT 1, 1", REFUSED),
    "rtree parent, returning": ("DELETE FROM area_parent RETURNING *", REFUSED),
    "rtree shadow of another module": ("DELETE FROM log5_node", REFUSED),
    "rtreecheck": ("SELECT rtreecheck('area')", (*REFUSED, *HARMLESS)),
    "rtreenode of a bad blob": ("SELECT rtreenode(9, x'ffffffffffff')", None),
    "writable schema": ("UPDATE sqlite_master SET sql = 'x' WHERE name = 'plain'", REFUSED),
    "writable schema, insert": ("INSERT INTO sqlite_master VALUES (1, 2, 3, 4, 5)", REFUSED),
    "writable schema, delete": ("DELETE FROM sqlite_schema", REFUSED),
    "drop of a virtual table": ("DROP TABLE log5", REFUSED),
    "pragma that virtual tables may read": ("PRAGMA main.page_size = 512", REFUSED),
    "endless match": (
        f"{_FOREVER} SELECT count(*) FROM r, log5 WHERE log5 MATCH 'fog OR engine'",
        STOPPED,
    ),
    "deep match": (f"SELECT * FROM log5 WHERE log5 MATCH '{'(' * 900}fog{')' * 900}'", None),
    "a megabyte to match": (f"SELECT * FROM log4 WHERE log4 MATCH '{'fog ' * 200_000}'", None),
    "many NEARs": (f"SELECT * FROM log4 WHERE log4 MATCH '{'fog NEAR ' * 5_000} fog'", None),
    "snippet of a huge size": ("SELECT snippet(log5, 0, '', '', '', 64) FROM log5('fog')", None),
    "matchinfo of bad letters": (
        "SELECT matchinfo(log4, 'zzz') FROM log4 WHERE log4 MATCH 'fog'",
        REFUSED,
    ),
    # A schema that was made to do harm.
    "view that loads": ("SELECT * FROM loads", REFUSED),
    "view that replaces a tokenizer": ("SELECT * FROM tokenizes", REFUSED),
    "view without end": ("SELECT count(*) FROM forever", STOPPED),
    "view upon itself": ("SELECT * FROM itself", REFUSED),
    "instead-of trigger": ("INSERT INTO passes VALUES (1)", REFUSED),
    "generated column of a huge value": ("SELECT * FROM generates", REFUSED),
    "default that loads": ("SELECT * FROM defaults", HARMLESS),
    "content of another table": ("SELECT * FROM outer5 WHERE outer5 MATCH 'fog'", HARMLESS),
    "content that is a view without end": ("SELECT * FROM endless5", None),
    "content that is the schema": ("SELECT * FROM schema5", (*REFUSED, *HARMLESS)),
    "content that is itself": ("SELECT * FROM mirror5", (*REFUSED, *STOPPED, *HARMLESS)),
    "configuration that is a view without end": (
        "SELECT * FROM viewed5",
        (*REFUSED, *STOPPED, *HARMLESS),
    ),
    "index that is a view": ("SELECT * FROM area_of_views", (*REFUSED, *STOPPED, *HARMLESS)),
    "module that is not there": ("SELECT * FROM spatial", REFUSED),
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


def _make_virtual_database(path: pathlib.Path) -> pathlib.Path:
    """Virtual tables that work, and a schema that does harm to whoever trusts it."""
    connection = sqlite3.connect(path)
    connection.executescript(
        f"""
        CREATE TABLE plain (a);
        INSERT INTO plain VALUES ('fog'), ('sun');
        CREATE TABLE log5_node (a);
        CREATE VIRTUAL TABLE log5 USING fts5(entry, author);
        INSERT INTO log5 VALUES ('fog at dawn', 'Ines'), ('engine repaired', 'Tomas');
        CREATE VIRTUAL TABLE log4 USING fts4(entry, author);
        INSERT INTO log4 SELECT * FROM log5;
        CREATE VIRTUAL TABLE log3 USING fts3(entry, author);
        INSERT INTO log3 SELECT * FROM log5;
        CREATE VIRTUAL TABLE area USING rtree(id, low, high);
        INSERT INTO area VALUES (1, 0, 1), (2, 5, 6);
        CREATE VIRTUAL TABLE terms USING fts5vocab(log5, 'row');
        CREATE VIRTUAL TABLE outer5 USING fts5(a, content = 'plain');
        INSERT INTO outer5(outer5) VALUES ('rebuild');

        CREATE VIEW loads AS SELECT load_extension('/tmp/evil');
        CREATE VIEW tokenizes AS SELECT fts3_tokenizer('simple', x'4141414141414141');
        CREATE VIEW forever AS {_FOREVER} SELECT i AS a FROM r;
        CREATE VIEW itself AS SELECT a FROM plain;
        CREATE VIEW passes AS SELECT a FROM plain;
        CREATE TRIGGER passes_on INSTEAD OF INSERT ON passes BEGIN
          INSERT INTO plain VALUES (new.a); END;
        CREATE TABLE generates (a, b AS (hex(zeroblob(a))));
        INSERT INTO generates VALUES (400000000);
        CREATE TABLE defaults (a, b DEFAULT (load_extension('/tmp/evil')));
        CREATE VIRTUAL TABLE endless5 USING fts5(a, content = 'forever');
        CREATE VIRTUAL TABLE schema5 USING fts5(name, content = 'sqlite_master');
        CREATE VIRTUAL TABLE mirror5 USING fts5(a, content = 'mirror5');
        CREATE VIRTUAL TABLE viewed5 USING fts5(a);
        CREATE VIRTUAL TABLE area_of_views USING rtree(id, low, high);
        PRAGMA writable_schema = ON;
        UPDATE sqlite_master SET sql = 'CREATE VIEW itself AS SELECT * FROM itself'
          WHERE name = 'itself';
        UPDATE sqlite_master SET type = 'view', rootpage = 0, sql =
          'CREATE VIEW viewed5_config AS {_FOREVER} SELECT i AS k, i AS v FROM r'
          WHERE name = 'viewed5_config';
        UPDATE sqlite_master SET type = 'view', rootpage = 0, sql =
          'CREATE VIEW area_of_views_node AS {_FOREVER} SELECT i AS nodeno, i AS data FROM r'
          WHERE name = 'area_of_views_node';
        INSERT INTO sqlite_master VALUES
          ('table', 'spatial', 'spatial', 0, 'CREATE VIRTUAL TABLE spatial USING NoModule()');
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
    _make_virtual_database(path / "virtual.sqlite")
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
    probe = Query(folder / "db.sqlite", "SELECT count(*), sum(a), group_concat(b) FROM t")
    _attack(folder, executor, "db.sqlite", sql, expected, (probe, (3, 6, "x,y,z")))


@pytest.mark.parametrize("name", HOSTILE_VIRTUAL)
def test_hostile_query_on_virtual_tables(folder, executor, name):
    sql, expected = HOSTILE_VIRTUAL[name]
    probe = Query(
        folder / "virtual.sqlite",
        "SELECT log5.author, log4.author, id FROM log5 JOIN log4 ON log4.docid = log5.rowid "
        "JOIN area ON id = log5.rowid WHERE log5 MATCH 'fog' AND low < 3",
    )
    _attack(folder, executor, "virtual.sqlite", sql, expected, (probe, ("Ines", "Ines", 1)))


def _attack(folder, executor, database, sql, expected, probed):
    """Runs a hostile query between harmless ones; where anything goes, `expected` is None."""
    probe, row = probed
    before = _state(folder)
    attack = Query(folder / database, sql.replace("{outside}", str(folder)))
    start = time.monotonic()
    first, attacked, second, third = executor.map([probe, attack, probe, probe])
    assert time.monotonic() - start < 20
    assert attacked.status in (expected or (*REFUSED, *STOPPED, *HARMLESS))
    assert bool(attacked.message) == (attacked.status != "ok")
    for result in (first, second, third):
        assert result.rows == (row,)
    assert _state(folder) == before


@pytest.mark.parametrize("seed", range(12))
def test_a_virtual_table_whose_own_tables_are_damaged_harms_nothing(folder, tmp_path, seed):
    path = _make_virtual_database(tmp_path / "damaged.sqlite")
    random_bytes = random.Random(seed).randbytes
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for table, column in (
            ("log5_data", "block"),
            ("log4_segdir", "root"),
            ("log3_segdir", "root"),
            ("log4_docsize", "size"),
            ("area_node", "data"),
        ):
            for rowid, data in connection.execute(
                f"SELECT rowid, {column} FROM {table}"
            ).fetchall():
                at = random_bytes(1)[0] % len(data)
                damaged = data[:at] + random_bytes(3) + data[at + 3 :]
                connection.execute(
                    f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (damaged, rowid)
                )
        connection.commit()
    before = _state(tmp_path)
    queries = [
        "SELECT * FROM log5 WHERE log5 MATCH 'fog OR eng*'",
        "SELECT snippet(log5, 0, '', '', '', 9), bm25(log5) FROM log5('dawn')",
        "SELECT * FROM terms",
        "SELECT * FROM log4 WHERE log4 MATCH 'fog OR eng*'",
        "SELECT snippet(log4), offsets(log4) FROM log4 WHERE log4 MATCH 'fog'",
        "SELECT matchinfo(log4, 'pcnalsx') FROM log4 WHERE log4 MATCH 'dawn'",
        "SELECT * FROM log3 WHERE log3 MATCH 'dawn NEAR fog'",
        "SELECT * FROM area WHERE low < 3",
        "SELECT rtreenode(2, data) FROM area_node",
    ]
    with Executor(LIMITS, workers=1) as executor:
        probe = Query(folder / "db.sqlite", "SELECT count(*) FROM t")
        tasks = [task for sql in queries for task in (Query(path, sql), probe)]
        results = list(executor.map(tasks))
    assert all(result.rows == ((3,),) for result in results[1::2])
    assert _state(tmp_path) == before


@pytest.mark.parametrize(
    "sql, words",
    [
        ("SELECT * FROM gone", "no such table: main.crew"),
        ("SELECT count(*) FROM calls", "no such function: soundslike"),
        ("SELECT * FROM spatial", "no such module: NoModule"),
        ("SELECT * FROM sorted ORDER BY a", "no such collation sequence: german"),
        ("SELECT * FROM text5", "no such tokenizer: icu_xx"),
        ("SELECT * FROM halved5", "vtable constructor failed: halved5"),
        ("SELECT count(*) FROM t", ""),
    ],
)
def test_an_object_that_sqlite_cannot_open_is_told_in_its_own_words(tmp_path, executor, sql, words):
    path = tmp_path / "broken.sqlite"
    connection = sqlite3.connect(path)
    connection.create_collation("german", lambda one, other: (one > other) - (one < other))
    connection.executescript(
        """
        CREATE TABLE t (a);
        CREATE TABLE crew (a);
        CREATE VIEW gone AS SELECT * FROM crew;
        DROP TABLE crew;
        CREATE VIEW calls AS SELECT soundslike(a) FROM t;
        CREATE TABLE sorted (a TEXT COLLATE german);
        CREATE VIRTUAL TABLE text5 USING fts5(a);
        CREATE VIRTUAL TABLE halved5 USING fts5(a);
        PRAGMA writable_schema = ON;
        UPDATE sqlite_master SET sql = 'CREATE VIRTUAL TABLE text5 USING fts5(a, tokenize=icu_xx)'
          WHERE name = 'text5';
        DELETE FROM sqlite_master WHERE name = 'halved5_config';
        INSERT INTO sqlite_master VALUES
          ('table', 'spatial', 'spatial', 0, 'CREATE VIRTUAL TABLE spatial USING NoModule()');
        """
    )
    connection.close()
    result = executor.run(path, sql)
    assert (result.ok, result.message) == (not words, words)


def test_what_plain_sqlite_reads_the_sandbox_reads(folder, executor):
    """Virtual tables of every module, as a connection without any restriction reads them."""
    path = folder / "virtual.sqlite"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as plain:
        for sql in (
            "SELECT author FROM log5 WHERE log5 MATCH 'fog'",
            "SELECT entry, rank FROM log5('dawn OR engine') ORDER BY rank",
            "SELECT highlight(log5, 0, '<', '>'), bm25(log5) FROM log5('fog')",
            "SELECT entry FROM log5",
            "SELECT * FROM terms",
            "SELECT a FROM outer5 WHERE outer5 MATCH 'sun'",
            "SELECT author FROM log4 WHERE entry MATCH 'eng*'",
            "SELECT snippet(log4), offsets(log4), matchinfo(log4) FROM log4 WHERE log4 MATCH 'fog'",
            "SELECT * FROM log3 WHERE author MATCH 'ines'",
            "SELECT count(*) FROM log3",
            "SELECT id FROM area WHERE low >= 5",
            "SELECT author FROM area JOIN log5 ON log5.rowid = area.id WHERE high < 2",
            "SELECT value FROM json_each('[1, 2]')",
            "SELECT name FROM dbstat ORDER BY pageno LIMIT 3",
        ):
            result = executor.run(path, sql)
            assert (result.status, result.message) == ("ok", "")
            assert list(result.rows) == plain.execute(sql).fetchall()


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
    assert rows("SELECT name FROM pragma_table_info('t') WHERE name != 'b'") == (("a",),)
    assert rows("SELECT row_number() OVER (ORDER BY a DESC) FROM t") == ((1,), (2,), (3,))
    assert rows("SELECT strftime('%Y', '2020-01-01'), upper(b), round(1.26, 1) FROM t LIMIT 1") == (
        ("2020", "X", 1.3),
    )
    assert rows('SELECT "no_such_column" FROM t LIMIT 1') == (("no_such_column",),)


def test_views_and_generated_columns_call_what_a_query_may_call(tmp_path, executor):
    path = tmp_path / "schema.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(
        """
        CREATE TABLE doc (body TEXT, color TEXT AS (json_extract(body, '$.color')));
        INSERT INTO doc VALUES ('{"color": "red"}');
        CREATE VIEW colors AS SELECT body ->> 'color' AS color FROM doc;
        CREATE VIEW evil AS SELECT load_extension('evil') FROM doc;
        CREATE VIEW pages AS SELECT * FROM sqlite_dbpage;
        """
    )
    connection.close()
    assert executor.run(path, "SELECT color FROM doc").rows == (("red",),)
    assert executor.run(path, "SELECT color FROM colors").rows == (("red",),)
    for view in ("evil", "pages"):
        assert not executor.run(path, f"SELECT * FROM {view}").ok


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


def test_an_object_that_sqlite_cannot_parse_does_not_end_the_queries_of_others(tmp_path):
    path = tmp_path / "ships.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(
        "CREATE TABLE ship (name); INSERT INTO ship VALUES ('Fram'); CREATE TABLE log (x);"
        "CREATE TRIGGER t AFTER INSERT ON log BEGIN SELECT 1; END;"
        "PRAGMA writable_schema = ON; DELETE FROM sqlite_master WHERE name = 'log';"
    )
    connection.close()
    before = path.read_bytes()
    sandbox = Sandbox(Limits())
    assert sandbox.run(path, "SELECT name FROM ship").rows == (("Fram",),)
    assert sandbox.run(path, "SELECT x FROM log").message == "no such table: log"
    for hostile in (
        "DELETE FROM sqlite_master",
        "UPDATE sqlite_master SET sql = 'x'",
        "PRAGMA writable_schema = ON",
        "INSERT INTO ship VALUES (1)",
    ):
        assert sandbox.run(path, hostile).status == "error"
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["ships.sqlite"]

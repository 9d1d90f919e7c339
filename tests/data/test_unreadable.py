"""Databases with objects that SQLite cannot open: these are left out and told, the rest is read."""

import sqlite3

import pytest

from t2sql import errors
from t2sql.data import compact, notices, read_schema
from t2sql.data.database import has_rows, open_database

TABLE = "CREATE TABLE ship (name TEXT); INSERT INTO ship VALUES ('Fram');"


def write_master(*rows):
    """Statements that SQLite would refuse, put where it keeps them."""
    inserts = (f"INSERT INTO sqlite_master VALUES {row};" for row in rows)
    return f"{TABLE} PRAGMA writable_schema = ON; {' '.join(inserts)}"


@pytest.fixture
def make_odd_database(tmp_path):
    """As `make_database`, by a program with a function and a collation of its own."""

    def make(script):
        path = tmp_path / "x.sqlite"
        connection = sqlite3.connect(path, isolation_level=None)
        connection.create_function("knots", -1, lambda *_: 1, deterministic=True)
        connection.create_collation("nautical", lambda a, b: (a > b) - (a < b))
        connection.executescript(script)
        connection.close()
        return path

    return make


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (
            f"{TABLE} CREATE TABLE crew (x); CREATE VIEW v AS SELECT * FROM crew; DROP TABLE crew",
            ["the view v is left out: no such table: main.crew"],
        ),
        (
            f"{TABLE} CREATE TABLE crew (x); CREATE VIEW v AS SELECT * FROM crew;"
            "CREATE VIEW w AS SELECT * FROM v; DROP TABLE crew",
            [
                "the view v is left out: no such table: main.crew",
                "the view w is left out: no such table: main.crew",
            ],
        ),
        (
            f"{TABLE} CREATE VIEW v AS SELECT knots(name) FROM ship",
            ["the view v is left out: no such function: knots"],
        ),
        (
            f"{TABLE} CREATE VIEW v AS SELECT name FROM ship ORDER BY name COLLATE nautical",
            ["the view v is left out: no such collation sequence: nautical"],
        ),
        (
            f"{TABLE} CREATE VIEW v AS SELECT * FROM w; CREATE VIEW w AS SELECT * FROM v",
            [
                "the view v is left out: view v is circularly defined",
                "the view w is left out: view w is circularly defined",
            ],
        ),
        (
            write_master("('table', 'v', 'v', 0, 'CREATE VIRTUAL TABLE v USING chart(x)')"),
            ["the virtual table v is left out: no such module: chart"],
        ),
        (
            write_master("('view', 'v', 'v', 0, 'CREATE VIEW v AS SELECT * FROM port.berth')"),
            [
                "the view v is left out: view v cannot reference objects in database port; "
                "other programs refuse every query until it is dropped"
            ],
        ),
        (
            write_master(
                "('trigger', 'v', 'ship', 0, 'CREATE TRIGGER v AFTER INSERT ON ship BEGIN x; END')"
            ),
            [
                'the trigger v is left out: near "x": syntax error; '
                "other programs refuse every query until it is dropped"
            ],
        ),
    ],
)
def test_what_cannot_be_opened_is_named_once_and_the_rest_is_read(make_odd_database, script, told):
    path = make_odd_database(script)
    for _ in range(2):
        (table,) = read_schema.schema_from_sqlite(path).tables
        assert (table.name, [column.name for column in table.columns]) == ("ship", ["name"])
        assert read_schema.read_db_definitions(path) == "CREATE TABLE ship (name TEXT);"
        assert compact.CompactDatabase(path).text == "ship: name text 'Fram'"
        with open_database(path) as connection:
            assert has_rows(lambda sql: connection.execute(sql).fetchall())
        assert list(notices.told()) == [f"{path}: {line}" for line in told]


def test_a_generated_column_without_its_function_is_left_out(make_odd_database):
    path = make_odd_database(
        "CREATE TABLE ship (name TEXT, speed AS (knots(name)), port TEXT) ;"
        "INSERT INTO ship VALUES ('Fram', 'Oslo')"
    )
    (table,) = read_schema.schema_from_sqlite(path).tables
    assert [column.name for column in table.columns] == ["name", "port"]
    assert compact.CompactDatabase(path).text == "ship: name text 'Fram'; port text 'Oslo'"
    assert notices.told() == (
        f"{path}: the column ship.speed is left out: unknown function: knots()",
    )


def test_a_name_that_is_not_utf8_leaves_the_other_tables(make_odd_database):
    path = make_odd_database(f"{TABLE} CREATE TABLE port (knop TEXT)")
    path.write_bytes(path.read_bytes().replace(b"knop", b"kn\xf8p"))
    assert [table.name for table in read_schema.schema_from_sqlite(path).tables] == ["ship"]
    assert read_schema.read_db_definitions(path) == "CREATE TABLE ship (name TEXT);"
    (line,) = notices.told()
    assert "a name in its schema is not valid UTF-8, so the table port is left out" in line


def test_a_database_of_which_nothing_can_be_read_is_refused_with_the_reason(make_odd_database):
    path = make_odd_database(
        "CREATE TABLE crew (x); CREATE VIEW v AS SELECT * FROM crew; DROP TABLE crew"
    )
    with pytest.raises(errors.InputError, match=r"view v .*no such table: main.crew; .* no tables"):
        read_schema.schema_from_sqlite(path)


def test_a_query_of_an_unreadable_object_fails_with_sqlites_reason(make_odd_database):
    path = make_odd_database(f"{TABLE} CREATE VIEW v AS SELECT knots(name) FROM ship")
    with (
        pytest.raises(errors.InputError, match="no such function: knots"),
        open_database(path) as connection,
    ):
        connection.execute("SELECT * FROM v")


@pytest.mark.parametrize(
    ("script", "line"),
    [
        (
            "CREATE TABLE ship (name TEXT COLLATE nautical)",
            "the column ship.name cannot be compared, grouped or sorted: "
            "no such collation sequence: nautical",
        ),
        (
            f"{TABLE} CREATE TRIGGER t AFTER INSERT ON ship BEGIN INSERT INTO log VALUES (1); END",
            "a trigger on ship (t) cannot run: no such table: main.log; no query needs it",
        ),
        (
            f"{TABLE} CREATE TRIGGER t AFTER UPDATE ON ship BEGIN SELECT chart(1); END",
            "a trigger on ship (t) cannot run: no such function: chart; no query needs it",
        ),
    ],
)
def test_what_can_be_selected_and_not_all_else_is_named(make_odd_database, script, line):
    path = make_odd_database(script)
    schema = read_schema.schema_from_sqlite(path)
    assert [table.name for table in schema.tables] == ["ship"]
    assert list(notices.told()) == [f"{path}: {line}"]


def test_triggers_that_run_and_tables_that_are_not_written_are_no_matter(make_odd_database):
    path = make_odd_database(
        f"{TABLE} CREATE TABLE log (x AS (1), y); CREATE VIEW v AS SELECT * FROM ship;"
        "CREATE TRIGGER a AFTER INSERT ON ship BEGIN INSERT INTO log (y) VALUES (1); END;"
        "CREATE TRIGGER b AFTER INSERT ON log BEGIN DELETE FROM ship; END;"
        "CREATE TRIGGER c INSTEAD OF INSERT ON v BEGIN DELETE FROM ship; END"
    )
    read_schema.schema_from_sqlite(path)
    assert notices.told() == ()


def test_a_schema_knows_what_it_leaves_out(make_odd_database):
    path = make_odd_database(
        f"{TABLE} CREATE VIEW Crewed AS SELECT * FROM crew;CREATE TABLE chart (a, b AS (knots(a)))"
    )
    schema = read_schema.schema_from_sqlite(path)
    assert schema.left_out == ("Crewed", "chart.b")
    assert [name for name in ("crewed", "B", "chart", "ship") if schema.leaves_out(name)] == [
        "crewed",
        "B",
    ]


@pytest.mark.parametrize("insert", ["", "INSERT INTO note VALUES ('a')"])
def test_an_empty_index_of_full_text_is_no_row(make_odd_database, insert):
    path = make_odd_database(
        "CREATE VIRTUAL TABLE note USING fts5(text); CREATE VIRTUAL TABLE old USING fts4(text);"
        f"CREATE VIRTUAL TABLE area USING rtree(id, low, high); CREATE TABLE ship (name); {insert}"
    )
    with open_database(path) as connection:
        assert has_rows(lambda sql: connection.execute(sql).fetchall()) is bool(insert)

"""Where databases lie, and the schema text read from them."""

import sqlite3

import pytest
from sqlite_facts import describe_tables

from t2sql import errors
from t2sql.data import database, read_schema


def test_tables_in_order_of_creation_and_nothing_else(tmp_path, make_database):
    path = make_database(
        tmp_path / "x.sqlite",
        """
        CREATE TABLE  zebra (id INTEGER PRIMARY KEY AUTOINCREMENT, -- the number
            name TEXT UNIQUE);
        CREATE TABLE ant (zebra INT REFERENCES zebra (id));
        CREATE INDEX by_name ON zebra (name);
        CREATE VIEW names AS SELECT name FROM zebra;
        CREATE TRIGGER t AFTER INSERT ON ant BEGIN DELETE FROM ant; END;
        """,
    )
    assert read_schema.read_db_definitions(path).splitlines() == [
        "CREATE TABLE zebra (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE);",
        "CREATE TABLE ant (zebra INT REFERENCES zebra(id));",
    ]


def test_shadow_tables_are_left_out(tmp_path, make_database):
    script = "CREATE VIRTUAL TABLE words USING fts5(word)"
    path = make_database(tmp_path / "x.sqlite", script)
    assert read_schema.read_db_definitions(path) == "CREATE VIRTUAL TABLE words USING fts5(word);"


def test_database_path(tmp_path):
    path = database.database_path(tmp_path, "fleet")
    assert path == tmp_path / "database/fleet/fleet.sqlite"
    other = tmp_path / "test_database/fleet"
    other.mkdir(parents=True)
    assert database.database_path(tmp_path, "fleet") == other / "fleet.sqlite"
    path.parent.mkdir(parents=True)
    assert database.database_path(tmp_path, "fleet") == path


def test_database_paths_lists_the_distilled_suite(data_root, make_database):
    folder = data_root / "database/fleet"
    for name in ("b.sqlite", "a.sqlite"):
        make_database(folder / name, "CREATE TABLE ship (id INT, name TEXT)")
    (folder / "schema.sql").touch()
    found = [path.name for path in database.database_paths(data_root, "fleet")]
    assert found == ["fleet.sqlite", "a.sqlite", "b.sqlite"]
    absent = database.database_paths(data_root, "absent")
    assert absent == [data_root / "database/absent/absent.sqlite"]


def test_files_that_are_no_databases_are_left_out_of_the_suite(data_root, capsys):
    canonical = data_root / "database/fleet/fleet.sqlite"
    for name, content in {
        "._fleet.sqlite": bytes.fromhex("0005160700020000") + b"Mac OS X        ",
        ".backup.sqlite": canonical.read_bytes(),
        "download.sqlite": b"<html>404</html>",
        "empty.sqlite": b"",
        "half.sqlite": canonical.read_bytes()[:-1000],
        "head.sqlite": canonical.read_bytes()[:50],
        "other.sqlite": canonical.read_bytes(),
    }.items():
        (canonical.parent / name).write_bytes(content)
    (canonical.parent / "folder.sqlite").mkdir()
    for _ in range(2):
        paths = database.database_paths(data_root, "fleet")
        assert [path.name for path in paths] == ["fleet.sqlite", "other.sqlite"]
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 7
    assert told[0].endswith(
        "._fleet.sqlite: left out of the databases of fleet: it is a hidden file"
    )
    assert told[2].endswith("it is not a SQLite database (begins with b'<html>404</html>')")
    assert told[3].endswith("it is empty (0 bytes)")
    assert told[4].endswith("it cannot be read: Is a directory")
    length = canonical.stat().st_size - 1000
    assert told[5].endswith(f"it is cut off after {length:,} bytes")
    assert told[6].endswith("it is cut off after 50 bytes")


def test_a_database_without_tables_is_left_out_of_the_suite(data_root, make_database, capsys):
    folder = data_root / "database/fleet"
    make_database(folder / "blank.sqlite", "CREATE TABLE gone (id INT); DROP TABLE gone")
    assert database.database_paths(data_root, "fleet") == [folder / "fleet.sqlite"]
    assert capsys.readouterr().err.endswith("of the databases of fleet: it holds no tables\n")


@pytest.mark.parametrize("db_id", ["", ".", "..", "a/b", "../a", "/a", "a\\b", "a\0"])
def test_db_ids_that_lead_elsewhere_are_refused(tmp_path, db_id):
    with pytest.raises(errors.InputError, match="is not a plain folder name"):
        database.database_path(tmp_path, db_id)


@pytest.mark.spider
def test_canonical_text_recreates_every_spider_schema(spider_root, tmp_path):
    raw_size = text_size = 0
    for folder in sorted((spider_root / "database").iterdir()):
        path = database.database_path(spider_root, folder.name)
        text = read_schema.read_db_definitions(path)
        original = sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
        again = tmp_path / path.name
        copy = sqlite3.connect(again)
        copy.executescript(f"BEGIN; {text} COMMIT;")
        assert describe_tables(copy) == describe_tables(original), folder.name
        copy.close()
        assert read_schema.read_db_definitions(again) == text, folder.name
        raw_size += raw_length(original)
        text_size += len(text)
        original.close()
    assert text_size < 0.9 * raw_size  # 187,721 characters of 211,176


def raw_length(connection: sqlite3.Connection) -> int:
    """Characters of the statements as they are stored, joined as ours are."""
    statements = connection.execute(
        "SELECT sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    ).fetchall()
    return len(";\n".join(sql for (sql,) in statements)) + 1

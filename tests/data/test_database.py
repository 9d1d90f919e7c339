"""Opening SQLite files: whole ones are left as they are, broken ones are named."""

import sqlite3

import pytest

from t2sql import errors
from t2sql.data import database, read_schema


def read_names(path):
    with database.open_database(path) as connection:
        return connection.execute("SELECT name FROM ship").fetchall()


def test_reads_and_leaves_no_trace(data_root):
    path = data_root / "database/fleet/fleet.sqlite"
    before = path.read_bytes()
    assert read_names(path) == [("Fram",)]
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_nothing_can_be_written(data_root):
    path = data_root / "database/fleet/fleet.sqlite"
    with (
        pytest.raises(errors.InputError, match="readonly"),
        database.open_database(path) as connection,
    ):
        connection.execute("DELETE FROM ship")


def test_odd_path_characters(tmp_path, make_database):
    path = make_database(tmp_path / "a?b#c%20 é/x.sqlite", "CREATE TABLE ship (name)")
    assert read_names(path) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"the database is empty \(0 bytes\)"),
        (b"<html>404</html>", "the database is not a SQLite database"),
        (b"SQL", "the database is not a SQLite database"),
        (b"SQLite format 3\x00", "SQLite cannot read it|damaged SQLite database"),
        (b"SQLite format 3\x00" + b"\xff" * 5000, "SQLite cannot read it|damaged"),
    ],
)
def test_broken_files(tmp_path, content, message):
    path = tmp_path / "x.sqlite"
    path.write_bytes(content)
    with pytest.raises(errors.InputError, match=rf"x\.sqlite: ({message})"):
        read_schema.read_db_definitions(path)


def test_truncated_database(tmp_path, make_database):
    path = make_database(
        tmp_path / "x.sqlite",
        "BEGIN;"
        + "CREATE TABLE t%d (a TEXT, b TEXT, c TEXT);" * 200 % tuple(range(200))
        + "COMMIT;",
    )
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(errors.InputError, match=r"x\.sqlite: .*(damaged|cannot read)"):
        read_schema.read_db_definitions(path)


def test_missing_and_unreadable(tmp_path):
    with pytest.raises(errors.InputError, match=r"x\.sqlite: no such database"):
        read_names(tmp_path / "x.sqlite")
    with pytest.raises(errors.InputError, match="cannot be read: Is a directory"):
        read_names(tmp_path)


def test_no_tables(tmp_path, make_database):
    path = make_database(tmp_path / "x.sqlite", "CREATE TABLE t (a); DROP TABLE t")
    with pytest.raises(errors.InputError, match=r"x\.sqlite: the database holds no tables"):
        read_schema.read_db_definitions(path)


def test_changes_left_in_a_side_file_are_not_overlooked(tmp_path):
    path = tmp_path / "x.sqlite"
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("CREATE TABLE ship (name)")
    with pytest.raises(errors.InputError, match=r"x\.sqlite-wal beside it holds changes"):
        read_names(path)
    writer.close()
    assert read_names(path) == []


def test_utf_16_databases_are_read_like_any_other(tmp_path, make_database):
    script = "CREATE TABLE ship (name TEXT, größe REAL); INSERT INTO ship (name) VALUES ('Ænes')"
    path = make_database(tmp_path / "x.sqlite", f"PRAGMA encoding = 'UTF-16le'; {script}")
    assert b"s\0h\0i\0p" in path.read_bytes()
    assert read_names(path) == [("Ænes",)]
    assert read_schema.read_db_definitions(path) == "CREATE TABLE ship (name TEXT, größe REAL);"


def test_latin_1_rows_do_not_disturb_the_schema(tmp_path, make_database):
    script = "CREATE TABLE ship (name TEXT); INSERT INTO ship VALUES (CAST(x'c6' AS TEXT))"
    path = make_database(tmp_path / "x.sqlite", script)
    assert read_schema.read_db_definitions(path) == "CREATE TABLE ship (name TEXT);"


def test_latin_1_names_are_refused(tmp_path, make_database):
    path = make_database(tmp_path / "x.sqlite", "CREATE TABLE ship (knop TEXT)")
    path.write_bytes(path.read_bytes().replace(b"knop", b"kn\xf8p"))
    with pytest.raises(errors.InputError, match=r"x\.sqlite: a name .* is not valid UTF-8"):
        read_schema.read_db_definitions(path)

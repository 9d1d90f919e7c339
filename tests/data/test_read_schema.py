"""Schemas from tables.json and from SQLite files."""

import json
from pathlib import Path

import pytest

from t2sql import errors
from t2sql.data import database as database_lib
from t2sql.data import notices, read_schema, schema
from t2sql.sql import names

RECORD = {
    "db_id": "fleet",
    "table_names_original": ["Ship", "Voyage"],
    "table_names": ["ship", "voyage"],
    "column_names_original": [
        [-1, "*"],
        [0, "Ship_ID"],
        [0, "Name"],
        [1, "ID"],
        [1, "ship_id"],
    ],
    "column_names": [[-1, "*"], [0, "ship id"], [0, "name"], [1, "id"], [1, "ship id"]],
    "column_types": ["text", "number", "text", "number", "number"],
    "primary_keys": [1, 3],
    "foreign_keys": [[4, 1]],
}


def write_tables(root: Path, *records) -> Path:
    (root / "tables.json").write_text(json.dumps(list(records)))
    return root


def test_names_types_and_keys(tmp_path):
    fleet = read_schema.read_tables(write_tables(tmp_path, RECORD))["fleet"]
    assert [table.name for table in fleet.tables] == ["Ship", "Voyage"]
    assert fleet.table("SHIP").column("name").name == "Name"
    assert fleet.column("ship", "ship_ID").natural_name == "ship id"
    assert fleet.primary_keys == (("Ship", "Ship_ID"), ("Voyage", "ID"))
    assert fleet.is_primary_key("ship", "ship_id")
    assert not fleet.is_primary_key("voyage", "ship_id")
    assert fleet.foreign_keys == ((("Voyage", "ship_id"), ("Ship", "Ship_ID")),)
    assert [table.name for table in fleet.tables_with("SHIP_ID")] == ["Ship", "Voyage"]
    assert fleet.table("port") is None
    assert fleet.column("port", "name") is None
    assert fleet.column("ship", "tonnage") is None


def test_case_folds_as_in_sqlite():
    assert names.fold("Straße_ÄB") == "straße_Äb"


def test_composite_primary_key_as_a_list(tmp_path):
    record = RECORD | {"primary_keys": [1, [3, 4]]}
    fleet = read_schema.read_tables(write_tables(tmp_path, record))["fleet"]
    assert fleet.primary_keys == (("Ship", "Ship_ID"), ("Voyage", "ID"), ("Voyage", "ship_id"))


def test_natural_names_are_made_where_absent(tmp_path):
    record = {key: RECORD[key] for key in RECORD if key not in ("table_names", "column_names")}
    fleet = read_schema.read_tables(write_tables(tmp_path, record))["fleet"]
    assert fleet.table("Ship").natural_name == "ship"
    assert fleet.column("Ship", "Ship_ID").natural_name == "ship id"


@pytest.mark.parametrize(
    "change",
    [
        {"foreign_keys": [[4, 99]]},
        {"foreign_keys": [4]},
        {"foreign_keys": [[4, 0]]},
        {"primary_keys": ["1"]},
        {"column_types": ["text"]},
        {"column_names_original": [[-1, "*"], [7, "x"]]},
        {"column_names_original": [[-1, "*"], [0, 5], [0, "a"], [1, "b"], [1, "c"]]},
        {"table_names_original": "Ship"},
        {"table_names_original": [1, 2]},
        {"db_id": 3},
    ],
)
def test_malformed_record_names_file_and_index(tmp_path, change):
    write_tables(tmp_path, RECORD, RECORD | {"db_id": "other"} | change)
    with pytest.raises(errors.InputError, match=r"tables\.json: record 1"):
        read_schema.read_tables(tmp_path)


def test_repeated_database_is_refused(tmp_path):
    write_tables(tmp_path, RECORD, RECORD)
    with pytest.raises(errors.InputError, match="record 1 repeats db_id 'fleet'"):
        read_schema.read_tables(tmp_path)


def test_missing_field_is_named(tmp_path):
    record = {key: RECORD[key] for key in RECORD if key != "column_types"}
    with pytest.raises(errors.InputError, match="record 0 has no field 'column_types'"):
        read_schema.read_tables(write_tables(tmp_path, record))


def test_the_test_split_has_tables_of_its_own(tmp_path):
    write_tables(tmp_path, RECORD)
    other = json.dumps([RECORD | {"db_id": "unseen"}])
    (tmp_path / "test_tables.json").write_text(other)
    assert sorted(read_schema.read_tables(tmp_path)) == ["fleet", "unseen"]


def test_without_a_file_of_schemas_there_are_none(tmp_path):
    assert read_schema.read_tables(tmp_path) == {}


def test_schema_from_sqlite(tmp_path, make_database):
    database = make_database(
        tmp_path / "fleet.sqlite",
        """
        CREATE TABLE Ship (Ship_ID INTEGER PRIMARY KEY AUTOINCREMENT, Name VARCHAR(20),
            built DATE, tonnage REAL, afloat BOOLEAN, plan BLOB, "odd name" TEXT,
            knots INT GENERATED ALWAYS AS (tonnage / 2));
        CREATE TABLE Voyage (a INT, b INT, ship INT REFERENCES ship, lost INT REFERENCES gone(x),
            PRIMARY KEY (b, a));
        CREATE TABLE Leg (va INT, vb INT, FOREIGN KEY (vb, va) REFERENCES voyage);
        CREATE VIEW old AS SELECT Name FROM Ship;
        INSERT INTO Ship (Name) VALUES ('Fram');
        """,
    )
    fleet = read_schema.schema_from_sqlite(database)
    assert fleet.db_id == "fleet"
    assert [table.name for table in fleet.tables] == ["Ship", "Voyage", "Leg", "old"]
    assert {column.name: column.type for column in fleet.tables[0].columns} == {
        "Ship_ID": "number",
        "Name": "text",
        "built": "time",
        "tonnage": "number",
        "afloat": "boolean",
        "plan": "others",
        "odd name": "text",
        "knots": "number",
    }
    assert fleet.primary_keys == (("Ship", "Ship_ID"), ("Voyage", "b"), ("Voyage", "a"))
    assert fleet.foreign_keys == (
        (("Voyage", "ship"), ("Ship", "Ship_ID")),
        (("Leg", "vb"), ("Voyage", "b")),
        (("Leg", "va"), ("Voyage", "a")),
    )


def test_schemas_fall_back_to_sqlite(tmp_path, make_database):
    write_tables(tmp_path, RECORD)
    make_database(tmp_path / "database/own/own.sqlite", "CREATE TABLE t (x INT)")
    found = read_schema.read_schemas(tmp_path, ["own", "fleet", "own"])
    assert list(found) == ["fleet", "own"]
    assert found["fleet"].table("Ship") and found["own"].column("t", "x")
    (tmp_path / "tables.json").unlink()
    assert read_schema.read_schemas(tmp_path, ["own"])["own"].db_id == "own"


def test_tables_json_of_another_day_is_told_with_the_columns(tmp_path, make_database):
    write_tables(tmp_path, RECORD)
    database = make_database(
        tmp_path / "database/fleet/fleet.sqlite",
        """
        CREATE TABLE SHIP (ship_id INTEGER PRIMARY KEY, title TEXT);
        CREATE TABLE voyage (id INTEGER PRIMARY KEY, ship_id INT);
        CREATE TABLE port (name TEXT);
        CREATE VIEW titles AS SELECT title FROM ship;
        """,
    )
    fleet = read_schema.read_schemas(tmp_path, ["fleet"])["fleet"]
    assert notices.told() == (
        f"{database}: tables.json is not of this database: only tables.json has Ship.Name; "
        "only the database has SHIP.title, the table port",
    )
    # The listed names and keys stay; what only the database has can be asked for as well.
    assert [table.name for table in fleet.tables] == ["Ship", "Voyage", "port", "titles"]
    assert [column.name for column in fleet.tables[0].columns] == ["Ship_ID", "Name", "title"]
    assert fleet.foreign_keys == ((("Voyage", "ship_id"), ("Ship", "Ship_ID")),)


def test_tables_json_need_not_list_views_or_have_a_database(tmp_path, make_database):
    write_tables(tmp_path, RECORD)
    listed = read_schema.read_tables(tmp_path)
    assert read_schema.read_schemas(tmp_path, ["fleet"]) == listed
    make_database(
        tmp_path / "database/fleet/fleet.sqlite",
        """
        CREATE TABLE Ship (Ship_ID INTEGER PRIMARY KEY, Name TEXT);
        CREATE TABLE Voyage (ID INTEGER PRIMARY KEY AUTOINCREMENT, ship_id INT);
        CREATE VIEW names AS SELECT Name FROM Ship;
        CREATE VIRTUAL TABLE notes USING fts5(note);
        """,
    )
    fleet = read_schema.read_schemas(tmp_path, ["fleet"])["fleet"]
    assert fleet.tables[:2] == listed["fleet"].tables
    assert notices.told() == ()


@pytest.mark.spider
def test_tables_json_agrees_with_the_databases(spider_root):
    for db_id, listed in read_schema.read_tables(spider_root).items():
        found = read_schema.schema_from_sqlite(database_lib.database_path(spider_root, db_id))
        assert set(_names(found)) == {
            name for name in _names(listed) if not name[0].startswith("sqlite_")
        }, db_id


def _names(of: schema.Schema) -> list[tuple[str, str]]:
    return [
        (names.fold(table.name), names.fold(column.name))
        for table in of.tables
        for column in table.columns
    ]

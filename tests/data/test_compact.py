"""The compact schema text, and the values that a question names."""

import sqlite3

import numpy as np
import pytest

from t2sql import errors
from t2sql.data import compact, examples


def _database(tmp_path, *statements):
    path = tmp_path / "d.sqlite"
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return compact.CompactDatabase(path)


@pytest.fixture
def ships(tmp_path):
    return _database(
        tmp_path,
        "CREATE TABLE port (id INTEGER PRIMARY KEY, name TEXT, country TEXT)",
        'CREATE TABLE "ship log" (ship TEXT, "order" INT, port_id INT REFERENCES port(id),'
        " day DATE, note TEXT)",
        "INSERT INTO port VALUES (1, 'New York', 'USA'), (2, 'York', 'UK'), (3, 'Hull', 'UK')",
        "INSERT INTO \"ship log\" VALUES ('O''Hara', 1, 1, '2001-02-03', NULL),"
        " ('hull', 2, 2, '2001-02-04', 'a text that is longer than what is shown'),"
        " ('list', 2, 2, '2001-02-05', 'in New York')",
    )


def test_a_line_per_table_with_types_keys_and_frequent_values(ships):
    assert ships.text == (
        "port: id number key; name text 'Hull', 'New York'; country text 'UK', 'USA'\n"
        "\"ship log\": ship text 'O''Hara', 'hull'; \"order\" number; "
        "port_id number -> port.id; day time '2001-02-03'; note text 'in New York'"
    )


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("Who lives in new york?", ("\"ship log\".note = 'in New York'",)),
        ("Ships of New York or the UK", ("port.name = 'New York'", "port.country = 'UK'")),
        ("What did O'Hara do?", ("\"ship log\".ship = 'O''Hara'",)),
        ("Ships to Hull", ("port.name = 'Hull'", "\"ship log\".ship = 'hull'")),
        ("ships to hull", ("\"ship log\".ship = 'hull'", "port.name = 'Hull'")),
        ("list the Yorkers", ()),
    ],
)
def test_values_are_named_by_their_words(ships, question, found):
    assert ships.matches(question) == found


def test_one_value_in_many_columns_leaves_room_for_another(tmp_path):
    columns = ", ".join(f"c{number} TEXT" for number in range(6))
    database = _database(
        tmp_path,
        f"CREATE TABLE t ({columns}, field TEXT)",
        "INSERT INTO t VALUES ('Statistics', 'Statistics', 'Statistics', 'Statistics',"
        " 'Statistics', 'Statistics', 'Biology')",
    )
    found = database.matches("Statistics but not Biology")
    assert len(found) == compact.MATCHES
    assert "t.field = 'Biology'" in found


def test_wide_schemas_show_fewer_values(tmp_path):
    def text(columns):
        (tmp_path / str(columns)).mkdir()
        names = [f"c{number} TEXT" for number in range(columns)]
        values = ", ".join(["('a'), ('b')"])
        return _database(
            tmp_path / str(columns),
            f"CREATE TABLE t ({', '.join(names)})",
            f"INSERT INTO t (c0) VALUES {values}",
        ).text

    assert "c0 text 'a', 'b';" in text(compact.MANY_COLUMNS - 1)
    assert "c0 text 'a';" in text(compact.MANY_COLUMNS)
    assert "c0 text;" in text(2 * compact.MANY_COLUMNS)


def test_blobs_invalid_text_and_line_breaks_are_not_shown(tmp_path):
    database = _database(
        tmp_path,
        "CREATE TABLE t (a TEXT, b BLOB)",
        "INSERT INTO t VALUES ('two\nlines', x'00ff'), (CAST(x'ff41' AS TEXT), 'blob text')",
    )
    assert database.text == "t: a text; b others 'blob text'"


def test_an_empty_schema_is_refused(tmp_path):
    with pytest.raises(errors.InputError, match="no tables"):
        _database(tmp_path, "CREATE TABLE t (a)", "DROP TABLE t")


@pytest.mark.spider
def test_spider_dev_is_read_with_values(spider_root):
    found = examples.read_examples(spider_root, "dev", compact=True)
    assert len(found) == 1034
    assert 0.2 < sum(bool(example.values) for example in found) / len(found) < 0.6
    texts = {example.db_id: example.db_definitions for example in found}
    assert max(map(len, texts.values())) < 6000


def test_shuffled_text_has_the_same_tables_and_columns(ships):
    texts = {ships.shuffled_text(np.random.default_rng(seed).permutation) for seed in range(8)}
    assert len(texts) > 4
    for text in texts:
        lines = sorted(text.splitlines(), key=len)
        for line, natural in zip(lines, sorted(ships.text.splitlines(), key=len), strict=True):
            table, _, columns = line.partition(": ")
            assert natural.startswith(f"{table}: ")
            assert sorted(columns.split("; ")) == sorted(natural.partition(": ")[2].split("; "))


def test_named_values_come_in_all_their_spellings(ships):
    assert ships.named("ships to hull from the UK") == (("hull", "Hull"), ("UK",))
    assert ships.named("list the Yorkers") == ()

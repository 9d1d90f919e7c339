"""Schemas by names in another spelling."""

import dataclasses
import sqlite3

import pytest

from t2sql.data import database, examples, read_schema
from t2sql.data.schema import Column, ColumnRef, ForeignKey, Schema, Table
from t2sql.sql.names import quote_name
from t2sql.training import respelling
from t2sql.training.gold_sql import normal_sql


def _table(name, *columns):
    return Table(
        name=name,
        natural_name=name,
        columns=tuple(Column(name=each, type="text", natural_name=each) for each in columns),
    )


CITIES = Schema(
    db_id="d",
    tables=(
        _table("homeCity", "City_ID", "CITYNAME", "pop2020", "% änderung"),
        _table("mayor", "id", "homeCity"),
    ),
    primary_keys=(ColumnRef("homeCity", "City_ID"),),
    foreign_keys=(ForeignKey(ColumnRef("mayor", "homeCity"), ColumnRef("homeCity", "City_ID")),),
)


class _Draw:
    """A generator whose draws are known."""

    def __init__(self, style):
        self._style = style

    def integers(self, _):
        return self._style


@pytest.mark.parametrize(
    ("style", "spelt"),
    enumerate(
        [
            ["mayor", "home_city", "city_id", "cityname", "pop_2020"],
            ["MAYOR", "HOME_CITY", "CITY_ID", "CITYNAME", "POP_2020"],
            ["Mayor", "Home_City", "City_Id", "Cityname", "Pop_2020"],
            ["mayor", "homecity", "cityid", "cityname", "pop2020"],
            ["Mayor", "HomeCity", "CityId", "Cityname", "Pop2020"],
            ["mayor", "homeCity", "cityId", "cityname", "pop2020"],
        ]
    ),
)
def test_each_style_spells_all_names(style, spelt):
    found = respelling.respelt(CITIES, _Draw(style))
    mayor, table, *columns = spelt
    assert [each.name for each in found.tables] == [table, mayor]
    assert [each.name for each in found.tables[0].columns] == [*columns, "% änderung"]
    assert found.is_primary_key(table, columns[0])
    assert found.foreign_keys[0].target == ColumnRef(table, columns[0])
    assert found.foreign_keys[0].source.column == table


def test_names_that_would_become_one_keep_the_schema_as_it_is():
    twins = dataclasses.replace(CITIES, tables=(*CITIES.tables, _table("home_city", "a")))
    for style in range(len(respelling.STYLES)):
        assert respelling.respelt(twins, _Draw(style)) == twins


def test_a_name_in_two_cases_stays_one_name():
    mixed = dataclasses.replace(
        CITIES, tables=(*CITIES.tables, _table("visit", "city_id", "CityName"))
    )
    for style in range(len(respelling.STYLES)):
        city, _, visit = respelling.respelt(mixed, _Draw(style)).tables
        assert [each.name for each in visit.columns] == [each.name for each in city.columns[:2]]


def _empty_database(of: Schema) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    for table in of.tables:
        columns = ", ".join(quote_name(column.name) for column in table.columns)
        connection.execute(f"CREATE TABLE {quote_name(table.name)} ({columns})")
    return connection


def _prepares(connection: sqlite3.Connection, sql: str) -> bool:
    try:
        connection.execute(f"EXPLAIN {sql}")
    except sqlite3.OperationalError:
        return False
    return True


@pytest.mark.spider
def test_train_queries_are_respelt_with_their_schemas(spider_root):
    by_database = {}
    for example in examples.read_examples(spider_root, "train", with_schema=False):
        by_database.setdefault(example.db_id, []).append(example.query)
    changed = 0
    for db_id, queries in by_database.items():
        own = read_schema.schema_from_sqlite(database.database_path(spider_root, db_id))
        known = [
            query for query in queries if _prepares(_empty_database(own), normal_sql(query, own))
        ]
        assert len(known) >= len(queries) - 3
        for style in range(len(respelling.STYLES)):
            spelt = respelling.respelt(own, _Draw(style))
            changed += spelt != own
            connection = _empty_database(spelt)
            for query in known:
                assert _prepares(connection, normal_sql(query, own, spelt)), query
    assert changed > 0.8 * len(by_database) * len(respelling.STYLES)

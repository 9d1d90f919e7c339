"""Schemas by names in another spelling."""

import dataclasses

import numpy as np
import pytest

from t2sql.spider import examples, schema, tables
from t2sql.spider.tables import Column, ColumnRef, ForeignKey, Schema, Table
from t2sql.training import respelling
from t2sql.training.answers import normal_sql


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


@pytest.mark.spider
def test_train_queries_are_respelt_and_come_back(spider_root):
    rng = np.random.default_rng(0)
    schemas = {}
    for example in examples.read_examples(spider_root, "train", with_schema=False):
        if example.db_id not in schemas:
            own = tables.schema_from_sqlite(schema.database_path(spider_root, example.db_id))
            schemas[example.db_id] = own, respelling.respelt(own, rng)
        own, spelt = schemas[example.db_id]
        back = normal_sql(normal_sql(example.query, own, spelt), spelt, own)
        assert back == normal_sql(example.query, own)
    assert sum(own != spelt for own, spelt in schemas.values()) > 0.9 * len(schemas)

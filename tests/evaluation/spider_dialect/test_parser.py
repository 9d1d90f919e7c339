"""The reader of Spider's dialect, against the parsed form of gold queries that Spider ships."""

import json
import os
from pathlib import Path

import pytest

from t2sql.data.read_schema import read_tables
from t2sql.data.schema import Column, Schema, Table
from t2sql.evaluation.spider_dialect.parser import UnreadableError, read_query
from t2sql.evaluation.spider_dialect.query import ColumnUse, Conditions, SpiderQuery

_AGGREGATES = ("", "max", "min", "count", "sum", "avg")
_ARITHMETIC = ("", "-", "+", "*", "/")
_COMPARISONS = ("not", "between", "=", ">", "<", ">=", "<=", "!=", "in", "like", "is", "exists")


@pytest.fixture(scope="module")
def spider_root() -> Path:
    root = os.environ.get("T2SQL_SPIDER_DIR")
    if not root:
        pytest.fail("set T2SQL_SPIDER_DIR to a directory with Spider 1.0")
    return Path(root)


@pytest.fixture(scope="module")
def schemas(spider_root) -> dict[str, Schema]:
    return read_tables(spider_root)


def _table(name: str, *columns: str) -> Table:
    made = (Column(name=name, type="text", natural_name=name) for name in columns)
    return Table(name=name, natural_name=name, columns=tuple(made))


SHOP = Schema(
    db_id="shop",
    tables=(
        _table("Customer", "id", "name", "city"),
        _table("Purchase", "id", "customer_id", "price"),
    ),
)


class _Shipped:
    """Brings our query and the parsed form that Spider ships to one form, to compare them."""

    def __init__(self, schema: Schema):
        self._tables = [table.name.lower() for table in schema.tables]
        self._columns = ["*"] + [
            f"{table.name}.{column.name}".lower()
            for table in schema.tables
            for column in table.columns
        ]

    def query(self, parsed: dict) -> dict:
        distinct, items = parsed["select"]
        order = parsed["orderBy"]
        return {
            "distinct": distinct,
            "select": [(_AGGREGATES[aggregate], self._term(term)) for aggregate, term in items],
            "tables": [self._source(*source) for source in parsed["from"]["table_units"]],
            "joined_on": self._conditions(parsed["from"]["conds"]),
            "where": self._conditions(parsed["where"]),
            "group_by": [self._use(use) for use in parsed["groupBy"]],
            "having": self._conditions(parsed["having"]),
            "order_by": (order[0], [self._term(term) for term in order[1]]) if order else None,
            "limited": parsed["limit"] is not None,
            "set_operation": next(
                (
                    (name, self.query(parsed[name]))
                    for name in ("intersect", "union", "except")
                    if parsed[name]
                ),
                None,
            ),
        }

    def _source(self, kind: str, value):
        return self.query(value) if kind == "sql" else self._tables[value]

    def _use(self, use):
        aggregate, column, distinct = use
        return _AGGREGATES[aggregate], self._columns[column], distinct

    def _term(self, term):
        operator, *uses = term
        return _ARITHMETIC[operator], *(self._use(use) for use in uses if use)

    def _conditions(self, conditions):
        return [part if isinstance(part, str) else self._condition(part) for part in conditions]

    def _condition(self, condition):
        negated, operator, term, *values = condition
        kept = values if operator == _COMPARISONS.index("between") else values[:1]
        return negated, _COMPARISONS[operator], self._term(term), list(map(self._value, kept))

    def _value(self, value):
        if isinstance(value, list):
            return self._use(value)
        return self.query(value) if isinstance(value, dict) else value


def _ours(query: SpiderQuery) -> dict:
    def use(used):
        return used.aggregate, used.column, used.distinct

    def term(part):
        return part.operator, *map(use, part.columns)

    def value(operand):
        if isinstance(operand, ColumnUse):
            return use(operand)
        return _ours(operand) if isinstance(operand, SpiderQuery) else operand

    def conditions(clause: Conditions):
        units = [
            (
                unit.negated,
                unit.operator,
                term(unit.term),
                list(map(value, unit.values)),
            )
            for unit in clause.units
        ]
        connected = [part for pair in zip(units, clause.connectors, strict=False) for part in pair]
        return connected + units[len(clause.connectors) :]

    order, operation = query.order_by, query.set_operation
    return {
        "distinct": query.distinct,
        "select": [(item.aggregate, term(item.term)) for item in query.select],
        "tables": [table if isinstance(table, str) else _ours(table) for table in query.tables],
        "joined_on": conditions(query.joined_on),
        "where": conditions(query.where),
        "group_by": list(map(use, query.group_by)),
        "having": conditions(query.having),
        "order_by": (order.direction, list(map(term, order.terms))) if order else None,
        "limited": query.limited,
        "set_operation": (operation[0], _ours(operation[1])) if operation else None,
    }


@pytest.mark.spider
def test_reads_gold_of_dev_as_spider_ships_it(spider_root, schemas):
    examples = json.loads((spider_root / "dev.json").read_text())
    different = [
        (index, example["query"])
        for index, example in enumerate(examples)
        if _ours(read_query(example["query"], schemas[example["db_id"]]))
        != _Shipped(schemas[example["db_id"]]).query(example["sql"])
    ]
    assert len(examples) == 1034
    assert different == []


@pytest.mark.spider
def test_reads_all_gold_of_train_but_one_that_names_no_table(spider_root, schemas):
    unread = []
    for example in json.loads((spider_root / "train_spider.json").read_text()):
        schema = schemas[example["db_id"]]
        try:
            query = read_query(example["query"], schema)
        except UnreadableError as error:
            unread.append((example["db_id"], str(error)))
            continue
        if "sql" in example:
            assert _ours(query) == _Shipped(schema).query(example["sql"])
    assert unread == [("assets_maintenance", "'ref_company_types' is no table or alias")]


@pytest.mark.parametrize(
    "sql, same",
    [
        ("select name from customer", "SELECT  Name\nFROM Customer ;"),
        ("SELECT count(*) FROM Customer", "SELECT COUNT ( * ) FROM Customer"),
        ("SELECT name FROM Customer WHERE id != 1", "SELECT name FROM Customer WHERE id ! = 1"),
        ("SELECT name FROM Customer WHERE id >= 1", "SELECT name FROM Customer WHERE id>= 1.0"),
        (
            "SELECT name FROM Customer WHERE city = 'a b'",
            'SELECT name FROM Customer WHERE city = "a b"',
        ),
        ("SELECT id, name FROM Customer", "SELECT id,name FROM Customer"),
        (
            "SELECT id FROM Customer ORDER BY id",
            "SELECT id FROM Customer ORDER BY id. That is all.",
        ),
        ("SELECT name FROM Customer AS c", "SELECT c.name FROM Customer AS c"),
        ("SELECT price FROM Purchase LIMIT 3", "SELECT (price) FROM (Purchase) LIMIT ten"),
    ],
)
def test_reads_as_the_same(sql, same):
    assert read_query(sql, SHOP) == read_query(same, SHOP)


def test_the_last_definition_of_an_alias_holds_everywhere():
    sql = "SELECT t.id FROM Customer AS t UNION SELECT t.id FROM Purchase AS t"
    query = read_query(sql, SHOP)
    assert query.select[0].term.left.column == "purchase.id"
    assert query.tables == ("customer",)

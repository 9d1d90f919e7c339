"""Exact set match: whether two queries agree clause by clause, as the official evaluator does.

Spider's measure (https://arxiv.org/abs/1809.08887, section 5) compares each clause as a set where
order does not matter. Values, LIMIT's number and the conditions of joins are ignored,
and so is DISTINCT. Columns that foreign keys tie are one column. Nested queries must be equal as
they are written: there DISTINCT counts, the order of columns, and which of two tied columns it is;
in FROM the values count too.
"""

import collections
import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

from t2sql.data.schema import ColumnRef, Schema
from t2sql.evaluation.spider_dialect.query import (
    ColumnUse,
    Condition,
    Conditions,
    OrderBy,
    SelectItem,
    SpiderQuery,
    Term,
)


def exact_match(gold: SpiderQuery, predicted: SpiderQuery, schema: Schema) -> bool:
    """Whether the queries agree in every clause, both read over `schema`."""
    tied = tied_columns(schema)
    gold, predicted = forget_values(gold), forget_values(predicted)
    return _agree(_Ties(tied, gold).query(gold), _Ties(tied, predicted).query(predicted))


def forget_values(query: SpiderQuery) -> SpiderQuery:
    """The query without the values that its conditions compare with.

    Queries nested in conditions lose their values too; those in FROM keep them, as in the official
    evaluator.
    """
    operation = query.set_operation
    return dataclasses.replace(
        query,
        joined_on=_forget(query.joined_on),
        where=_forget(query.where),
        having=_forget(query.having),
        set_operation=operation and (operation[0], forget_values(operation[1])),
    )


def _forget(conditions: Conditions) -> Conditions:
    return Conditions(tuple(map(_forget_in, conditions.units)), conditions.connectors)


def _forget_in(condition: Condition) -> Condition:
    values = (
        forget_values(value) if isinstance(value, SpiderQuery) else None
        for value in condition.values
    )
    return Condition(condition.negated, condition.operator, condition.term, tuple(values))


def _agree(gold: SpiderQuery, predicted: SpiderQuery) -> bool:
    return (
        _same_bag(gold.select, predicted.select)
        and _same_bag(gold.where.units, predicted.where.units)
        and set(gold.where.connectors) == set(predicted.where.connectors)
        and _same_grouping(gold, predicted)
        and _same_order(gold, predicted)
        and _keywords(gold) == _keywords(predicted)
        and _same_set_operation(gold, predicted)
        and _same_bag(gold.tables, predicted.tables)
    )


def _same_bag(gold: Iterable[Any], predicted: Iterable[Any]) -> bool:
    return collections.Counter(gold) == collections.Counter(predicted)


def _same_grouping(gold: SpiderQuery, predicted: SpiderQuery) -> bool:
    """GROUP BY has the same columns in the same order, and HAVING the same conditions."""
    if not gold.group_by and not predicted.group_by:
        return True
    columns, others = ([use.column for use in query.group_by] for query in (gold, predicted))
    return columns == others and gold.having == predicted.having


def _same_order(gold: SpiderQuery, predicted: SpiderQuery) -> bool:
    return gold.order_by == predicted.order_by and (
        not gold.order_by or gold.limited == predicted.limited
    )


def _same_set_operation(gold: SpiderQuery, predicted: SpiderQuery) -> bool:
    if gold.set_operation is None or predicted.set_operation is None:
        return gold.set_operation is predicted.set_operation
    (name, query), (other_name, other) = gold.set_operation, predicted.set_operation
    return name == other_name and _agree(query, other)


def _keywords(query: SpiderQuery) -> frozenset[str]:
    """The keywords that the query uses, nested queries aside."""
    conditions = query.conditions()
    operators = {condition.operator for condition in conditions}
    uses = {
        "where": query.where,
        "group": query.group_by,
        "having": query.having,
        "order": query.order_by,
        "limit": query.limited,
        "or": "or" in query.connectors(),
        "not": any(condition.negated for condition in conditions),
        "in": "in" in operators,
        "like": "like" in operators,
    }
    uses[query.order_by.direction] = query.order_by
    if query.set_operation:
        uses[query.set_operation[0]] = True
    return frozenset(name for name, used in uses.items() if used)


class _Ties:
    """Gives columns that foreign keys tie one name, and forgets DISTINCT.

    It applies to the columns of the tables in the query's own FROM, there and after its set
    operations, but not within nested queries of conditions.
    """

    def __init__(self, tied: dict[str, str], query: SpiderQuery):
        tables = {table for table in query.tables if isinstance(table, str)}
        self._names = {
            column: first for column, first in tied.items() if column.split(".")[0] in tables
        }

    def query(self, query: SpiderQuery) -> SpiderQuery:
        """The query with its columns renamed."""
        set_operation = query.set_operation
        if set_operation:
            set_operation = (set_operation[0], self.query(set_operation[1]))
        return dataclasses.replace(
            query,
            distinct=None,
            select=tuple(self._item(item) for item in query.select),
            joined_on=self._conditions(query.joined_on),
            where=self._conditions(query.where),
            group_by=tuple(self._column(use) for use in query.group_by),
            having=self._conditions(query.having),
            order_by=OrderBy(
                query.order_by.direction, tuple(map(self._term, query.order_by.terms))
            ),
            set_operation=set_operation,
        )

    def _column(self, use: ColumnUse) -> ColumnUse:
        return ColumnUse(use.aggregate, self._names.get(use.column, use.column), None)

    def _term(self, term: Term) -> Term:
        right = self._column(term.right) if term.right else None
        return Term(term.operator, self._column(term.left), right)

    def _item(self, item: SelectItem) -> SelectItem:
        return SelectItem(item.aggregate, self._term(item.term))

    def _conditions(self, conditions: Conditions) -> Conditions:
        units = (
            Condition(unit.negated, unit.operator, self._term(unit.term), unit.values)
            for unit in conditions.units
        )
        return Conditions(tuple(units), conditions.connectors)


@functools.lru_cache(maxsize=64)
def tied_columns(schema: Schema) -> dict[str, str]:
    """Each column that a foreign key ties -> the first column it is tied to, in schema order.

    The groups are the official ones: a key joins the first group that has one of its ends,
    and two groups never merge; of a column in two groups, the later group counts.
    """
    columns = (
        _name(ColumnRef(table.name, column.name))
        for table in schema.tables
        for column in table.columns
    )
    position = {column: index for index, column in enumerate(columns)}
    groups: list[set[str]] = []
    for key in schema.foreign_keys:
        ends = {_name(key.source), _name(key.target)}
        group = next((group for group in groups if group & ends), None)
        if group is None:
            groups.append(ends)
        else:
            group |= ends
    return {column: min(group, key=position.__getitem__) for group in groups for column in group}


def _name(ref: ColumnRef) -> str:
    return f"{ref.table.lower()}.{ref.column.lower()}"

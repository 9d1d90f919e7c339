"""A query as the official evaluator breaks it down.

Columns are written `table.column` in lower case, `*` stands for all.
"""

import dataclasses
from collections.abc import Iterator

AGGREGATES = ("max", "min", "count", "sum", "avg")
COMPARISONS = ("not", "between", "=", ">", "<", ">=", "<=", "!=", "in", "like", "is", "exists")
ARITHMETIC = ("-", "+", "*", "/")
SET_OPERATIONS = ("intersect", "union", "except")


@dataclasses.dataclass(frozen=True)
class ColumnUse:
    """A column, perhaps within an aggregate.

    Attributes:
      aggregate: one of `AGGREGATES`, or "".
      column: `table.column`, or `*`.
      distinct: whether DISTINCT stands before it.
    """

    aggregate: str
    column: str
    distinct: bool | None


@dataclasses.dataclass(frozen=True)
class Term:
    """One column, or two with an operator of `ARITHMETIC` between them."""

    operator: str
    left: ColumnUse
    right: ColumnUse | None = None

    @property
    def columns(self) -> tuple[ColumnUse, ...]:
        """Its one or two columns."""
        return (self.left,) if self.right is None else (self.left, self.right)


@dataclasses.dataclass(frozen=True)
class SelectItem:
    """One value of the result.

    Attributes:
      aggregate: one of `AGGREGATES` around the whole term, or "".
      term: what is taken.
    """

    aggregate: str
    term: Term


@dataclasses.dataclass(frozen=True)
class Condition:
    """One comparison.

    Attributes:
      negated: whether NOT stands before the operator.
      operator: one of `COMPARISONS`.
      term: its left side.
      values: what it compares with, two for `between`: a text in double quotes, a number, a
        column or a nested query; None where it was forgotten.
    """

    negated: bool
    operator: str
    term: Term
    values: "tuple[str | float | ColumnUse | SpiderQuery | None, ...]"

    @property
    def queries(self) -> "Iterator[SpiderQuery]":
        """The nested queries among its values."""
        return (value for value in self.values if isinstance(value, SpiderQuery))


@dataclasses.dataclass(frozen=True)
class Conditions:
    """Comparisons in the order they are written, and the `and` and `or` between them."""

    units: tuple[Condition, ...] = ()
    connectors: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.units)


@dataclasses.dataclass(frozen=True)
class OrderBy:
    """The terms that rows are sorted by, and the one direction that is kept of them.

    Attributes:
      direction: `asc` or `desc`: the last one written.
      terms: in order; empty if there is no ORDER BY.
    """

    direction: str = ""
    terms: tuple[Term, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.terms)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpiderQuery:
    """A query.

    Attributes:
      distinct: whether SELECT DISTINCT.
      select: the values of the result.
      tables: tables and nested queries of FROM.
      joined_on: the conditions of all ON clauses.
      limited: whether there is a LIMIT.
      set_operation: one of `SET_OPERATIONS` and the query after it, or None.
    """

    distinct: bool | None
    select: tuple[SelectItem, ...]
    tables: "tuple[str | SpiderQuery, ...]"
    joined_on: Conditions = Conditions()
    where: Conditions = Conditions()
    group_by: tuple[ColumnUse, ...] = ()
    having: Conditions = Conditions()
    order_by: OrderBy = OrderBy()
    limited: bool = False
    set_operation: "tuple[str, SpiderQuery] | None" = None

    @property
    def all_conditions(self) -> tuple[Conditions, Conditions, Conditions]:
        """The conditions of FROM, WHERE and HAVING."""
        return self.joined_on, self.where, self.having

    def connectors(self) -> list[str]:
        """Every `and` and `or` of this query, nested ones aside."""
        return [word for conditions in self.all_conditions for word in conditions.connectors]

    def conditions(self) -> list[Condition]:
        """Every comparison of this query, nested ones aside."""
        return [unit for conditions in self.all_conditions for unit in conditions.units]

    def nested(self) -> "Iterator[SpiderQuery]":
        """The queries within its conditions, and the one after its set operation."""
        for condition in self.conditions():
            yield from condition.queries
        if self.set_operation:
            yield self.set_operation[1]

"""A reader of Spider's dialect of SQL, tolerant and strict where the official parser is.

The dialect: SELECT with plain columns and the five aggregates over them; FROM with tables
(`AS` aliases only), JOIN and ON; WHERE and HAVING without brackets; GROUP BY, ORDER BY, LIMIT;
INTERSECT, UNION, EXCEPT; nested queries in FROM and as values of conditions. It is written
after the format that https://github.com/taoyds/spider documents for parsed queries, and agrees
with the parsed form of all of Spider's gold queries (tests).

Aliases hold for the whole text, whichever query defines them, and the last definition wins.
What follows the end of a readable query is ignored.
"""

import dataclasses
from collections.abc import Callable

from t2sql.data.schema import Schema
from t2sql.evaluation.spider_dialect.names import QueryNames
from t2sql.evaluation.spider_dialect.query import (
    AGGREGATES,
    ARITHMETIC,
    COMPARISONS,
    SET_OPERATIONS,
    ColumnUse,
    Condition,
    Conditions,
    OrderBy,
    SelectItem,
    SpiderQuery,
    Term,
)
from t2sql.evaluation.spider_dialect.tokens import UnreadableError, tokenize

__all__ = ["UnreadableError", "read_query"]

_CLAUSES = frozenset(("select", "from", "where", "group", "order", "limit", *SET_OPERATIONS))
_ENDS_CLAUSE = _CLAUSES | {")", ";"}
_JOINS = frozenset(("join", "on", "as"))
_ENDS_CONDITIONS = _ENDS_CLAUSE | _JOINS
_ENDS_VALUE = _CLAUSES | _JOINS | {",", ")", "and"}
_END = ""


def read_query(sql: str, schema: Schema) -> SpiderQuery:
    """Reads a query over a schema.

    Raises:
      UnreadableError: it is outside the dialect, or names what the schema does not have.
    """
    try:
        words = tokenize(sql)
        return _SpiderParser(words, QueryNames(words, schema)).query()
    except RecursionError:
        raise UnreadableError("it is nested too deeply") from None


class _SpiderParser:
    """Reads words from left to right; every method takes what it reads."""

    def __init__(self, words: list[str], names: QueryNames):
        self._words = words
        self._names = names
        self._at = 0

    def query(self) -> SpiderQuery:
        """A query, in brackets or not, with what a set operation adds to it."""
        bracketed = self._take("(")
        select_at = self._at
        # FROM comes first: columns without a table are looked for in its tables.
        self._at = self._index_of_from() + 1
        tables, joined_on, names = self._from()
        after_from, self._at = self._at, select_at
        distinct, select = self._select(names)
        self._at = after_from
        query = SpiderQuery(
            distinct=distinct,
            select=select,
            tables=tables,
            joined_on=joined_on,
            where=self._conditions_after("where", names),
            group_by=self._group_by(names),
            having=self._conditions_after("having", names),
            order_by=self._order_by(names),
            limited=self._limit(),
        )
        self._skip_semicolons()
        if bracketed:
            self._expect(")")
        self._skip_semicolons()
        if self._word() not in SET_OPERATIONS:
            return query
        return dataclasses.replace(query, set_operation=(self._next(), self.query()))

    def _index_of_from(self) -> int:
        try:
            return self._words.index("from", self._at)
        except ValueError:
            raise UnreadableError("there is no FROM") from None

    def _from(self) -> tuple[tuple, Conditions, list[str]]:
        """Tables and nested queries, the conditions that join them, and the tables' names."""
        tables: list[str | SpiderQuery] = []
        names: list[str] = []
        joined_on = Conditions()
        while not self._ended():
            bracketed = self._take("(")
            if self._word() == "select":
                tables.append(self.query())
            else:
                self._take("join")
                names.append(self._table())
                tables.append(names[-1])
            if self._take("on"):
                joined_on = _both(joined_on, self._conditions(names))
            if bracketed:
                self._expect(")")
            if self._word() in _ENDS_CLAUSE:
                break
        return tuple(tables), joined_on, names

    def _table(self) -> str:
        name = self._names.table(self._next())
        if self._take("as"):
            self._next()
        return name

    def _select(self, names: list[str]) -> tuple[bool, tuple[SelectItem, ...]]:
        self._expect("select")
        distinct = self._take("distinct")
        items = []
        while not self._ended(_CLAUSES):
            aggregate = self._next() if self._word() in AGGREGATES else ""
            items.append(SelectItem(aggregate, self._term(names)))
            self._take(",")
        return distinct, tuple(items)

    def _conditions_after(self, keyword: str, names: list[str]) -> Conditions:
        return self._conditions(names) if self._take(keyword) else Conditions()

    def _conditions(self, names: list[str]) -> Conditions:
        units: list[Condition] = []
        connectors: list[str] = []
        while not self._ended():
            if len(units) > len(connectors):
                raise UnreadableError(f"neither AND nor OR stands before {self._word()!r}")
            units.append(self._condition(names))
            if self._word() in _ENDS_CONDITIONS:
                break
            if self._word() in ("and", "or"):
                connectors.append(self._next())
        return Conditions(tuple(units), tuple(connectors))

    def _condition(self, names: list[str]) -> Condition:
        term = self._term(names)
        negated = self._take("not")
        operator = self._next()
        if operator not in COMPARISONS:
            raise UnreadableError(f"{operator!r} is no comparison")
        values = [self._value(names)]
        if operator == "between":
            self._expect("and")
            values.append(self._value(names))
        return Condition(negated, operator, term, tuple(values))

    def _value(self, names: list[str]) -> str | float | ColumnUse | SpiderQuery:
        start = self._at
        bracketed = self._take("(")
        if self._word() == "select":
            value = self.query()
        elif '"' in self._word():
            value = self._next()
        elif (number := _number(self._word())) is not None:
            value = number
            self._next()
        else:
            value = self._column_value(start, names)
        if bracketed:
            self._expect(")")
        return value

    def _column_value(self, start: int, names: list[str]) -> ColumnUse:
        """A column; all up to the next end of a value goes with it, `or` included."""
        end = self._at
        while end < len(self._words) and self._words[end] not in _ENDS_VALUE:
            end += 1
        self._at = end
        return _SpiderParser(self._words[start:end], self._names).column_use(names)

    def _group_by(self, names: list[str]) -> tuple[ColumnUse, ...]:
        if not self._take("group"):
            return ()
        self._expect("by")
        return self._listed(lambda: self.column_use(names))

    def _order_by(self, names: list[str]) -> OrderBy:
        if not self._take("order"):
            return OrderBy()
        self._expect("by")
        direction = "asc"

        def term() -> Term:
            nonlocal direction
            sorted_by = self._term(names)
            if self._word() in ("asc", "desc"):
                direction = self._next()
            return sorted_by

        terms = self._listed(term)
        return OrderBy(direction, terms)

    def _listed[Item](self, read: Callable[[], Item]) -> tuple[Item, ...]:
        items = []
        while not self._ended(_ENDS_CLAUSE):
            items.append(read())
            if not self._take(","):
                break
        return tuple(items)

    def _limit(self) -> bool:
        if not self._take("limit"):
            return False
        self._next()
        return True

    def _term(self, names: list[str]) -> Term:
        bracketed = self._take("(")
        left, operator, right = self.column_use(names), "", None
        if self._word() in ARITHMETIC:
            operator = self._next()
            right = self.column_use(names)
        if bracketed:
            self._expect(")")
        return Term(operator, left, right)

    def column_use(self, names: list[str]) -> ColumnUse:
        """A column, perhaps in brackets, with DISTINCT, or within an aggregate."""
        bracketed = self._take("(")
        if self._word() in AGGREGATES:
            # The bracket before an aggregate is never looked at again.
            aggregate = self._next()
            self._expect("(")
            distinct = self._take("distinct")
            column = self._names.column(self._next(), names)
            self._expect(")")
            return ColumnUse(aggregate, column, distinct)
        distinct = self._take("distinct")
        column = self._names.column(self._next(), names)
        if bracketed:
            self._expect(")")
        return ColumnUse("", column, distinct)

    def _skip_semicolons(self) -> None:
        while self._take(";"):
            pass

    def _ended(self, stops: frozenset[str] = frozenset()) -> bool:
        return self._at >= len(self._words) or self._words[self._at] in stops

    def _word(self) -> str:
        """The next word, which is left there; `_END` after the last one."""
        return _END if self._ended() else self._words[self._at]

    def _next(self) -> str:
        if self._ended():
            raise UnreadableError("it ends too early")
        self._at += 1
        return self._words[self._at - 1]

    def _take(self, word: str) -> bool:
        """Takes the next word if it is this one."""
        taken = self._word() == word
        self._at += taken
        return taken

    def _expect(self, word: str) -> None:
        if not self._take(word):
            raise UnreadableError(f"{word!r} expected, {self._word()!r} found")


def _both(first: Conditions, second: Conditions) -> Conditions:
    """Conditions of two ON clauses: both must hold."""
    if not first:
        return second
    connectors = (*first.connectors, "and", *second.connectors)
    return Conditions(first.units + second.units, connectors)


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None

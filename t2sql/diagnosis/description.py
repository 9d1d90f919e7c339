"""A query's description, independent of spelling: what it reads, keeps, groups, returns, orders."""

import collections
import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

from t2sql.diagnosis import conditions
from t2sql.diagnosis.conditions import ALWAYS, Condition, Junction
from t2sql.diagnosis.terms import (
    ColumnTerm,
    Literal,
    Term,
    columns_of,
    nested_of,
    replace_columns,
)

_MOST_LISTED = 8


class OrderKey(NamedTuple):
    """One term of an ORDER BY.

    Attributes:
      nulls: "FIRST" or "LAST" where NULLs stand at the other end than SQLite's, else "".
    """

    term: Term
    descending: bool
    nulls: str = ""

    def __str__(self) -> str:
        direction = "DESC" if self.descending else "ASC"
        return f"{self.term} {direction}{f' NULLS {self.nulls}' if self.nulls else ''}"


@dataclasses.dataclass(frozen=True)
class TableSource:
    """One entry of FROM.

    Attributes:
      table: the table's name as in the schema, or as written where the schema has none;
        "" for a subquery.
      outer: "LEFT", "RIGHT" or "FULL" where it is joined so.
      query: the subquery or CTE, else None.
    """

    table: str
    outer: str = ""
    query: "Query | None" = None

    def __str__(self) -> str:
        return self.table or f"({self.query})"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sorting:
    """How the rows that a query returns are ordered and cut."""

    order: tuple[OrderKey, ...] = ()
    limit: Term | None = None
    offset: Term | None = None

    def clauses(self) -> list[str]:
        """ORDER BY, LIMIT and OFFSET as messages show them."""
        order = [f"ORDER BY {', '.join(map(str, self.order))}"] if self.order else []
        cuts = (("LIMIT", self.limit), ("OFFSET", self.offset))
        return order + [f"{name} {term}" for name, term in cuts if term]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Core:
    """One SELECT.

    Attributes:
      sources: the tables and subqueries it reads, in the order of FROM.
      ties: pairs of columns of different sources that must be equal, from ON, USING or WHERE.
      items: what it returns, `*` spelled out.
      names: what the items are called, for the SELECT around it.
      starred: the tables of which `*` returns all columns.
      where: the other conditions on rows, those of HAVING without an aggregate among them.
      having: conditions on groups.
      late: the conditions of `where` that stand in HAVING, where they test one row of a group.
    """

    sources: tuple[TableSource, ...] = ()
    ties: frozenset[frozenset[ColumnTerm]] = frozenset()
    items: tuple[Term, ...] = ()
    names: tuple[str, ...] = dataclasses.field(default=(), compare=False)
    starred: tuple[str, ...] = dataclasses.field(default=(), compare=False)
    distinct: bool = False
    where: Condition = ALWAYS
    group: tuple[Term, ...] = ()
    having: Condition = ALWAYS
    late: Condition = dataclasses.field(default=ALWAYS, compare=False)
    sorting: Sorting = Sorting()

    def __post_init__(self):
        # That a column equals itself joins nothing.
        object.__setattr__(self, "ties", frozenset(tie for tie in self.ties if len(tie) == 2))

    def with_columns(self, change: Callable[[ColumnTerm], ColumnTerm]) -> "Core":
        """The SELECT with every column outside of subqueries changed."""
        order = tuple(
            key._replace(term=replace_columns(key.term, change)) for key in self.sorting.order
        )
        return dataclasses.replace(
            self,
            ties=frozenset(frozenset(map(change, tie)) for tie in self.ties),
            items=tuple(replace_columns(item, change) for item in self.items),
            where=conditions.replace_columns(self.where, change),
            group=tuple(replace_columns(key, change) for key in self.group),
            having=conditions.replace_columns(self.having, change),
            late=conditions.replace_columns(self.late, change),
            sorting=dataclasses.replace(self.sorting, order=order),
        )

    def terms(self) -> Iterator[Term]:
        """Yields what it returns, groups by, sorts by and compares."""
        atoms = (*conditions.atoms(self.where), *conditions.atoms(self.having))
        yield from (side for atom in atoms for side in (atom.left, atom.right) if side)
        yield from (*self.items, *self.group, *(key.term for key in self.sorting.order))

    def columns(self) -> Iterator[ColumnTerm]:
        """Yields the columns in its terms, those of subqueries left out."""
        return (column for term in self.terms() for column in columns_of(term))

    def __str__(self) -> str:
        """The query on one line, as messages show it."""
        parts = ["SELECT DISTINCT" if self.distinct else "SELECT"]
        parts.append("*" if self.starred else ", ".join(map(str, self.items)))
        if self.sources:
            parts += ["FROM", " JOIN ".join(map(str, self.sources))]
        if self.ties:
            ties = (" = ".join(sorted(map(str, tie))) for tie in self.ties)
            parts += ["ON", " AND ".join(sorted(ties))]
        clauses = (("WHERE", self.where), ("GROUP BY", self.group), ("HAVING", self.having))
        for name, clause in clauses:
            if clause not in (ALWAYS, ()):
                shown = ", ".join(map(str, clause)) if name == "GROUP BY" else str(clause)
                parts += [name, shown[1:-1] if isinstance(clause, Junction) else shown]
        return " ".join([*parts, *self.sorting.clauses()])


@dataclasses.dataclass(frozen=True, kw_only=True)
class SetOperation:
    """Two queries combined by UNION, UNION ALL, INTERSECT or EXCEPT."""

    operator: str
    left: "Query"
    right: "Query"
    sorting: Sorting = Sorting()

    def __str__(self) -> str:
        return f"{self.left} {self.operator} {self.right}"


Query = Core | SetOperation


def listed(items: Iterable[Term], starred: Collection[str] = ()) -> str:
    """What is returned, in words: `*` as such, repetitions counted, a long list cut."""
    shown = collections.Counter(
        f"all columns of {item.table}"
        if isinstance(item, ColumnTerm) and item.table in starred
        else f"the text {item}"
        if isinstance(item, Literal) and item.is_text
        else str(item)
        for item in items
    )
    names = [
        f"{name} ({count} times)" if count > 1 and not name.startswith("all columns") else name
        for name, count in shown.items()
    ]
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more


def cores(query: Query) -> list[Core]:
    """The SELECTs that a query combines, from left to right."""
    if isinstance(query, Core):
        return [query]
    return cores(query.left) + cores(query.right)


def subqueries(query: Query) -> list[Query]:
    """The queries nested in a query: in FROM, in conditions and among what it returns."""
    queries = []
    for core in cores(query):
        queries += [source.query for source in core.sources if source.query]
        atoms = (*conditions.atoms(core.where), *conditions.atoms(core.having))
        values = [side for atom in atoms for side in (atom.left, atom.right) if side]
        nested = [part for value in (*core.items, *values) for part in nested_of(value)]
        queries += [part.query for part in nested if part.query]
    return queries


def all_cores(query: Query) -> list[Core]:
    """The SELECTs of a query and of all its subqueries."""
    nested = [core for inner in subqueries(query) for core in all_cores(inner)]
    return cores(query) + nested


def tables_of(query: Query) -> tuple[str, ...]:
    """The tables that a query reads, anywhere."""
    names = (source.table for core in all_cores(query) for source in core.sources)
    return tuple(dict.fromkeys(filter(None, names)))

"""One SELECT, from its syntax tree to its description."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sqlglot import exp

from t2sql.data.schema import Table
from t2sql.diagnosis import conditions
from t2sql.diagnosis.closest_name import closest
from t2sql.diagnosis.conditions import ALWAYS, Atom, Condition, has_aggregate, split
from t2sql.diagnosis.description import Core, Query, Source, cores
from t2sql.diagnosis.scope import Entry, NameProblem, Scope, table_entry
from t2sql.diagnosis.terms import Column, Nested, Term, aggregates_of
from t2sql.sql.names import fold

if TYPE_CHECKING:
    from t2sql.diagnosis.reading import Ctes, QueryReader

# Names that are this much alike differ by a slip.
_SLIP = 0.85


class CoreReader:
    """Reads one SELECT: first what it reads, then the expressions over that."""

    def __init__(self, queries: QueryReader, parent: Scope | None, ctes: Ctes):
        self._queries = queries
        self._ctes = ctes
        self._scope = Scope(parent)
        self._sources: list[Source] = []
        self._joined: list[Condition] = []
        self._all_of: list[str] = []
        self._expressions = queries.expressions(self._scope, ctes)

    def read(self, node: exp.Expression) -> Core:
        """Describes the SELECT."""
        if from_ := node.args.get("from_"):
            self._add(from_.this)
        for join in node.args.get("joins") or ():
            self._join(join)
        items = tuple(self._items(node.expressions))
        terms = tuple(term for _, term in items)
        where = self._condition(node.args.get("where"))
        having = self._condition(node.args.get("having"))
        ties, where = split(conditions.junction("AND", (*self._joined, where)), _is_tie)
        on_groups, on_rows = split(having, has_aggregate)
        return Core(
            sources=tuple(self._sources),
            ties=frozenset(frozenset((tie.left, tie.right)) for tie in ties),
            items=terms,
            names=tuple(name for name, _ in items),
            starred=tuple(self._all_of),
            distinct=bool(node.args.get("distinct")),
            where=conditions.junction("AND", (where, on_rows)),
            group=self._expressions.group(node, terms),
            having=conditions.junction("AND", on_groups),
            sorting=self._expressions.sorting(node, terms),
        )

    def _condition(self, clause: exp.Expression | None) -> Condition:
        return self._expressions.condition(clause.this) if clause else ALWAYS

    def _join(self, join: exp.Join) -> None:
        before = list(self._scope.entries)
        self._add(join.this, outer=join.side if join.side in ("LEFT", "RIGHT", "FULL") else "")
        using = [identifier.name for identifier in join.args.get("using") or ()]
        if join.method == "NATURAL" and self._scope.entries:
            columns = self._scope.entries[-1].columns
            using = [name for name in columns if any(name in entry.columns for entry in before)]
        for name in using:
            self._merge(before, name)
        if on := join.args.get("on"):
            self._joined.append(self._expressions.condition(on, joins=True))

    def _merge(self, before: Iterable[Entry], name: str) -> None:
        left = self._scope.shared(before, name)
        right = self._scope.entries[-1].get(name) if self._scope.entries else None
        if left is None or right is None:
            self._queries.problems.append(NameProblem("column", name, self._scope.tables()))
            return
        self._joined.append(conditions.compare(left, "=", right))
        self._scope.merged.add(fold(name))

    def _add(self, node: exp.Expression, outer: str = "") -> None:
        if isinstance(node, exp.Table):
            self._add_table(node, outer)
        elif isinstance(node.this, exp.Table):
            self._add(node.this, outer)
        elif isinstance(node, exp.Subquery):
            self._add_query(node.this, node.alias, (), outer)
        for join in node.args.get("joins") or ():
            self._join(join)

    def _add_table(self, node: exp.Table, outer: str) -> None:
        key = fold(node.name)
        if isinstance(node.this, exp.Func):
            call = node.this
            name = call.name if isinstance(call, exp.Anonymous) else call.sql_name()
            self._add_unknown(node, name.lower(), outer)
        elif key in self._ctes:
            self._add_cte(node, key, outer)
        else:
            self._add_named(node, outer)

    def _add_named(self, node: exp.Table, outer: str) -> None:
        table = self._queries.schema.table(node.name)
        if table is None:
            table = self._meant(node.name)
            meant = table.name if table else ""
            self._queries.problems.append(NameProblem("table", node.name, meant=meant))
        if table is None:
            self._add_unknown(node, node.name, outer)
            return
        instance = sum(source.table == table.name for source in self._sources)
        self._sources.append(Source(table.name, outer))
        self._scope.entries.append(table_entry(table, node.alias or node.name, instance))

    def _add_unknown(self, node: exp.Table, name: str, outer: str) -> None:
        """Adds a table whose columns are not known: any name may be one."""
        alias = fold(node.alias or name)
        self._sources.append(Source(name, outer))
        self._scope.entries.append(Entry(alias=alias, name=name, columns={}, is_open=True))

    def _meant(self, name: str) -> Table | None:
        """The table that an invented name stands for, so that the rest can be compared."""
        schema = self._queries.schema
        names = [table.name for table in schema.tables]
        slip = closest(name, names, cutoff=_SLIP, parts=False)
        guess = slip or closest(name, self._queries.likely) or closest(name, names, cutoff=_SLIP)
        return schema.table(guess) if guess else None

    def _add_cte(self, node: exp.Table, key: str, outer: str) -> None:
        cte = self._ctes[key]
        if cte is None:
            self._add_unknown(node, node.name, outer)
            return
        names = tuple(column.name for column in cte.args["alias"].columns)
        inner = self._ctes | {key: None}
        self._add_query(cte.this, node.alias or node.name, names, outer, ctes=inner)

    def _add_query(
        self,
        node: exp.Expression,
        alias: str,
        names: tuple[str, ...],
        outer: str,
        ctes: Ctes | None = None,
    ) -> None:
        query = self._queries.read(node, None, ctes or self._ctes)
        first = cores(query)[0]
        columns: dict[str, Term] = {}
        for name, item in zip(names or first.names, first.items, strict=False):
            # SQLite calls a second column of one name `name:1`.
            columns[fold(f"{name}:{len(columns)}" if fold(name) in columns else name)] = item
        if self._sources and _is_one_row(query):
            # Joined to every row, it is a value: `FROM singer, (SELECT AVG(age) AS mean ...)`.
            columns = {name: _value(query, item) for name, item in columns.items()}
        else:
            self._sources.append(Source("", outer, query))
        self._scope.entries.append(
            Entry(alias=fold(alias), name=alias or "the subquery", columns=columns)
        )

    def _items(self, nodes: Iterable[exp.Expression]) -> Iterable[tuple[str, Term]]:
        for node in nodes:
            star = node.this if isinstance(node, exp.Column) else node
            if isinstance(star, exp.Star):
                qualifier = fold(node.table) if isinstance(node, exp.Column) else ""
                yield from self._starred(qualifier)
                continue
            term = self._expressions.term(node)
            if node.alias:
                self._scope.aliases[fold(node.alias)] = term
            yield node.alias_or_name or str(term), term

    def _starred(self, qualifier: str) -> Iterable[tuple[str, Term]]:
        entries = [each for each in self._scope.entries if qualifier in ("", each.alias)]
        if not entries and qualifier:
            self._queries.problems.append(NameProblem("table", qualifier))
        self._all_of += [entry.name for entry in entries if self._queries.schema.table(entry.name)]
        found = [entry.columns.items() for entry in entries if not entry.is_open]
        return itertools.chain.from_iterable(found)


def _is_one_row(query: Query) -> bool:
    """Whether it computes over all rows, without groups."""
    if not isinstance(query, Core) or query.group or query.having != ALWAYS:
        return False
    return bool(query.items) and all(map(aggregates_of, query.items))


def _value(query: Core, item: Term) -> Nested:
    return Nested(dataclasses.replace(query, items=(item,)))


def _is_tie(part: Condition) -> bool:
    """Whether it joins: columns of two of this SELECT's own sources must be equal."""
    if not isinstance(part, Atom) or part.operator != "=":
        return False
    sides = part.left, part.right
    if not all(isinstance(side, Column) and side.instance >= 0 for side in sides):
        return False
    return (fold(part.left.table), part.left.instance) != (
        fold(part.right.table),
        part.right.instance,
    )

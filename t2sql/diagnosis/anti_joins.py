"""EXISTS and LEFT JOIN ... IS NULL, rewritten as IN.

SQL has three ways to ask whether a row of another table matches. They differ only where there is a
NULL, and are compared as one.
"""

import collections
import dataclasses
from collections.abc import Iterator

from t2sql.data.schema import Schema
from t2sql.diagnosis import conditions, terms
from t2sql.diagnosis.conditions import ALWAYS, Atom, Condition, columns_of, conjuncts
from t2sql.diagnosis.description import Core, Query, Sorting, TableSource
from t2sql.diagnosis.terms import Call, ColumnTerm, Literal, Nested, Star, Term
from t2sql.sql.names import fold

_NULL = Literal("NULL")


def exists(query: Query) -> Atom:
    """EXISTS; as `column IN (...)` where it ties one column of the subquery to one outside."""
    lone = Atom(Star(), "EXISTS", Nested(query))
    if not isinstance(query, Core) or query.sorting.limit:
        return lone
    ties = [part for part in conjuncts(query.where) if _is_outer_tie(part)]
    rest = [part for part in conjuncts(query.where) if part not in ties]
    if len(ties) != 1 or any(column.instance < 0 for part in rest for column in columns_of(part)):
        return lone
    outer, inner = sorted((ties[0].left, ties[0].right), key=lambda column: column.instance >= 0)
    if query.group not in ((), (inner,)):
        return lone
    core = dataclasses.replace(
        query,
        items=(inner,),
        names=(inner.name,),
        starred=(),
        distinct=False,
        where=conditions.junction("AND", rest),
        group=(inner,) if query.having != ALWAYS else (),
    )
    left = ColumnTerm(outer.table, outer.name, -1 - outer.instance)
    return Atom(left, "IN", Nested(core, spelling="EXISTS"))


def counting_matches(atom: Atom) -> Atom:
    """`(SELECT COUNT(*) FROM b WHERE b.x = a.x) > 1` as `a.x IN (...)`; another atom as it is."""
    inner = atom.left.query if isinstance(atom.left, Nested) else None
    if not isinstance(inner, Core) or inner.group or inner.having != ALWAYS or len(inner.items) > 1:
        return atom
    (count,) = inner.items
    is_count = isinstance(count, Call) and count.name == "COUNT"
    if not is_count or not isinstance(atom.right, Literal) or not atom.right.value.isdigit():
        return atom
    # From this number on, a row without a match does not fulfil the condition.
    least = {">": 0, ">=": 1, "=": 1}.get(atom.operator)
    if least is None or int(atom.right.value) < least:
        return atom
    having = Atom(count, atom.operator, atom.right)
    rewritten = exists(dataclasses.replace(inner, having=having))
    return rewritten if rewritten.operator == "IN" else atom


def _is_outer_tie(part: Condition) -> bool:
    if not isinstance(part, Atom) or part.operator != "=":
        return False
    sides = part.left, part.right
    if not all(isinstance(side, ColumnTerm) for side in sides):
        return False
    return (part.left.instance < 0) != (part.right.instance < 0)


def without_anti_join(core: Core) -> Core:
    """The SELECT with `LEFT JOIN b ON a.x = b.y WHERE b.y IS NULL` as `a.x NOT IN (...)`."""
    for source in core.sources:
        if source.outer == "LEFT" and source.table:
            rewritten = _as_not_in(core, source)
            if rewritten is not None:
                return rewritten
    return core


def _as_not_in(core: Core, source: TableSource) -> Core | None:
    """The SELECT without the join; None where the join does more than to leave out matches."""
    ties = [tie for tie in core.ties if any(_is_of(column, source) for column in tie)]
    parts = conjuncts(core.where)
    own = [part for part in parts if any(_is_of(column, source) for column in columns_of(part))]
    absent = [
        part
        for part in own
        if isinstance(part, Atom) and part.operator == "IS" and part.right == _NULL
    ]
    inside = [part for part in own if part not in absent]
    if len(ties) != 1 or not absent or _is_used(core, source):
        return None
    if not all(_is_of(column, source) for part in inside for column in columns_of(part)):
        return None
    inner, outer = sorted(ties[0], key=lambda column: not _is_of(column, source))
    query = Core(
        sources=(TableSource(source.table),),
        items=(inner,),
        names=(inner.name,),
        where=conditions.junction("AND", inside),
    )
    condition = Atom(outer, "NOT IN", Nested(query, spelling="LEFT JOIN"))
    others = [part for part in parts if part not in own]
    return dataclasses.replace(
        core,
        sources=tuple(other for other in core.sources if other is not source),
        ties=core.ties - set(ties),
        where=conditions.junction("AND", (*others, condition)),
    )


def _is_of(column: ColumnTerm, source: TableSource) -> bool:
    return fold(column.table) == fold(source.table) and column.instance >= 0


def _is_used(core: Core, source: TableSource) -> bool:
    """Whether the table is read twice, or needed by another clause than WHERE."""
    clauses: list[Term] = [*core.items, *core.group, *(key.term for key in core.sorting.order)]
    used = [column for term in clauses for column in terms.columns_of(term)]
    used += columns_of(core.having)
    tables = [fold(other.table) for other in core.sources]
    return tables.count(fold(source.table)) > 1 or any(_is_of(column, source) for column in used)


def by_keys(core: Core, schema: Schema) -> Core:
    """The SELECT with `a.name IN (SELECT a.name FROM a JOIN b ON a.id = b.a_id)` by its key.

    That is `a.id IN (SELECT b.a_id FROM b)`, the same where no two rows of a share a name.
    """

    def change(atom: Atom) -> Atom:
        return _by_key(atom, schema)

    return dataclasses.replace(core, where=conditions.map_atoms(core.where, change))


def _by_key(atom: Atom, schema: Schema) -> Atom:
    inner = atom.right.query if isinstance(atom.right, Nested) else None
    if atom.operator not in ("IN", "NOT IN") or not isinstance(inner, Core):
        return atom
    if not isinstance(atom.left, ColumnTerm):
        return atom
    inside = ColumnTerm(atom.left.table, atom.left.name)
    own = [source for source in inner.sources if inner.items == (inside,)]
    own = [source for source in own if _is_of(inner.items[0], source)]
    ties = [tie for source in own for tie in inner.ties if any(_is_of(c, source) for c in tie)]
    if len(own) != 1 or len(ties) != 1 or _asks_of(inner, own[0]):
        return atom
    key, other = sorted(ties[0], key=lambda column: not _is_of(column, own[0]))
    if not schema.is_primary_key(key.table, key.name):
        return atom
    query = dataclasses.replace(
        inner,
        sources=tuple(source for source in inner.sources if source is not own[0]),
        ties=inner.ties - set(ties),
        items=(other,),
        names=(other.name,),
    )
    left = ColumnTerm(key.table, key.name, atom.left.instance)
    return Atom(left, atom.operator, Nested(query, atom.right.spelling))


def _asks_of(query: Core, source: TableSource) -> bool:
    """Whether the query asks more of a table than to join it."""
    used = [column for term in query.group for column in terms.columns_of(term)]
    used += columns_of(query.where) + columns_of(query.having)
    return bool(query.sorting.limit) or any(_is_of(column, source) for column in used)


def as_joins(core: Core) -> Iterator[tuple[Core, Atom]]:
    """The SELECT with one `a.x IN (SELECT b.y FROM b)` as a join of b, and that condition.

    So with `a.x = (SELECT b.y FROM b ORDER BY ... LIMIT 1)`, where the order is the join's then,
    and with `a.x IN (SELECT b.y FROM b GROUP BY b.y HAVING ...)`, where the groups are.
    """
    for part in conjuncts(core.where):
        inner = _membership(part, core)
        if inner is None:
            continue
        inner = with_later_uses(inner, core)
        rest = [other for other in conjuncts(core.where) if other is not part]
        joined = dataclasses.replace(
            core,
            sources=core.sources + inner.sources,
            ties=core.ties | inner.ties | {frozenset((part.left, inner.items[0]))},
            where=conditions.junction("AND", (*rest, inner.where)),
            group=core.group or inner.group,
            having=conditions.junction("AND", (core.having, inner.having)),
            late=conditions.junction(
                "AND", (inner.where if late == part else late for late in conjuncts(core.late))
            ),
            sorting=inner.sorting if inner.sorting.limit else core.sorting,
        )
        yield joined, part


def _membership(part: Condition, core: Core) -> Core | None:
    """The subquery of an IN, or of a `=` that takes one row, which can be joined instead."""
    if not isinstance(part, Atom) or not isinstance(part.right, Nested):
        return None
    inner = part.right.query
    if not isinstance(inner, Core) or part.operator not in ("IN", "="):
        return None
    columns = (part.left, *inner.items)
    if len(columns) != 2 or not all(isinstance(column, ColumnTerm) for column in columns):
        return None
    if inner.sorting.limit:
        computes = any(map(terms.aggregates_of, core.items))
        is_plain = not core.group and core.sorting == Sorting() and not computes
    else:
        is_plain = not inner.group or not core.group
        # Grouped by more or less than it returns, it is another question.
        is_plain &= inner.group in ((), inner.items)
        is_plain &= not inner.group or not _tables(core) & _tables(inner)
    return inner if is_plain and all(source.table for source in inner.sources) else None


def as_membership(core: Core, alone: Core) -> Core | None:
    """The SELECT on the tables of `alone`, with what it joins besides as `a.x IN (SELECT b.y ...)`.

    None where it reads other tables, joins by more than one pair of columns, or returns or groups
    by more than the rows of these tables.
    """
    kept = [source for source in core.sources if source in alone.sources]
    joined = [source for source in core.sources if source not in kept]
    if len(kept) != len(alone.sources) or not joined or any(source.outer for source in joined):
        return None

    def is_inside(column: ColumnTerm) -> bool:
        return any(_is_of(column, source) for source in joined)

    bridges = [tie for tie in core.ties if len({is_inside(column) for column in tie}) == 2]
    inside = frozenset(tie for tie in core.ties if all(map(is_inside, tie)))
    returned = [column for term in (*core.items, *core.group) for column in terms.columns_of(term)]
    if len(bridges) != 1 or any(map(is_inside, returned)) or len(core.group) > 1:
        return None
    outer, inner = sorted(bridges[0], key=is_inside)
    own, rest = conditions.split(core.where, lambda part: not any(map(is_inside, columns_of(part))))
    query = Core(
        sources=tuple(joined),
        ties=inside,
        items=(inner,),
        names=(inner.name,),
        where=rest,
        group=(inner,) if core.group else (),
        having=core.having,
    )
    condition = Atom(outer, "IN", Nested(query))
    return dataclasses.replace(
        core,
        sources=tuple(kept),
        ties=core.ties - inside - set(bridges),
        where=conditions.junction("AND", (*own, condition)),
        group=(),
        having=ALWAYS,
    )


def takes_first(atom: Atom) -> bool:
    """Whether a `=` tests only the first of the rows that its subquery may return."""
    inner = atom.right.query if isinstance(atom.right, Nested) else None
    if not isinstance(inner, Core) or atom.operator != "=" or inner.sorting.limit:
        return False
    nested = (
        part.right.query
        for part in conjuncts(inner.where)
        if isinstance(part, Atom) and isinstance(part.right, Nested) and part.operator == "="
    )
    takes_extreme = any(
        isinstance(item, Call) and item.name in ("MIN", "MAX")
        for query in nested
        if isinstance(query, Core)
        for item in query.items
    )
    return not takes_extreme


def extreme_by_key(core: Core, joined: Core) -> Iterator[Core]:
    """The SELECT with `a.b_id = (SELECT b.id FROM b ORDER BY b.x LIMIT 1)` on a joined b.

    That is `... JOIN b ON a.b_id = b.id WHERE b.id = (SELECT ...)`. What the other SELECT,
    `joined`, tests in the same way is no reason for its joins.
    """
    for part in conjuncts(core.where):
        if part in conjuncts(joined.where):
            continue
        inner = part.right.query if isinstance(part, Atom) and isinstance(part.right, Nested) else 0
        if not isinstance(inner, Core) or part.operator not in ("=", "IN"):
            continue
        columns = (part.left, *inner.items)
        is_plain = len(inner.sources) == 1 and inner.sources[0].table and inner.sorting.limit
        if not is_plain or not all(isinstance(column, ColumnTerm) for column in columns):
            continue
        if part.left.table_use[0] == inner.items[0].table_use[0] or len(columns) != 2:
            continue
        (key,) = with_later_uses(inner, core).items
        rest = [other for other in conjuncts(core.where) if other is not part]
        taken = Atom(key, part.operator, part.right)
        yield dataclasses.replace(
            core,
            sources=core.sources + inner.sources,
            ties=core.ties | {frozenset((part.left, key))},
            where=conditions.junction("AND", (*rest, taken)),
        )


def _tables(core: Core) -> set[str]:
    return {fold(source.table) for source in core.sources}


def with_later_uses(inner: Core, core: Core) -> Core:
    """The subquery with its tables numbered as further uses in the SELECT around it."""
    used = collections.Counter(fold(source.table) for source in core.sources)

    def change(column: ColumnTerm) -> ColumnTerm:
        if column.instance < 0:
            # Seen from within, the SELECT around is outside.
            return ColumnTerm(column.table, column.name, -1 - column.instance)
        instance = column.instance + used[fold(column.table)]
        return ColumnTerm(column.table, column.name, instance)

    return inner.with_columns(change)

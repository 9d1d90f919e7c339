"""UNION, INTERSECT or EXCEPT of two SELECTs, rewritten as one SELECT.

SELECT name FROM a EXCEPT SELECT name FROM b     SELECT name FROM a WHERE name NOT IN (...)
SELECT name FROM a INTERSECT SELECT name FROM b  SELECT name FROM a WHERE name IN (...)
... WHERE x UNION ... WHERE y                    ... WHERE x OR y
... WHERE x INTERSECT ... WHERE y                ... WHERE x AND y, which is another question
"""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import NamedTuple

from t2sql.diagnosis import anti_joins, conditions, terms
from t2sql.diagnosis.conditions import ALWAYS, Atom, Condition
from t2sql.diagnosis.description import Core, Query, SetOperation, Sorting, TableSource
from t2sql.diagnosis.terms import ColumnTerm, Literal, Nested

# SELECTs tried for a side that is itself combined.
_MAX_SINGLES = 2
_MEMBERSHIP = {"INTERSECT": "IN", "EXCEPT": "NOT IN"}


class Single(NamedTuple):
    """One SELECT for two.

    Attributes:
      core: the SELECT.
      is_same: whether it returns the rows of the two, duplicates and NULLs aside.
    """

    core: Core
    is_same: bool


def as_one_select(operation: SetOperation, other: Core) -> Iterator[Single]:
    """Yields the SELECTs that stand for the operation; `other` is compared with them."""
    sides = (_as_cores(side, other) for side in (operation.left, operation.right))
    for left, right in itertools.product(*sides):
        yield from _combined(operation, left, right, other)


def _as_cores(query: Query, other: Core) -> list[Core]:
    if isinstance(query, Core):
        return [query]
    singles = (single.core for single in as_one_select(query, other) if single.is_same)
    return list(itertools.islice(singles, _MAX_SINGLES))


def _combined(operation: SetOperation, left: Core, right: Core, other: Core) -> Iterator[Single]:
    if any(side.sorting != Sorting() for side in (left, right)):
        return
    # Both return one column, or the same ones, of which the first stands for all.
    is_by_one = len(left.items) == len(right.items) == 1 or left.items == right.items
    if operation.operator in _MEMBERSHIP and is_by_one:
        first = dataclasses.replace(right, items=right.items[:1], names=right.names[:1])
        membership = Atom(left.items[0], _MEMBERSHIP[operation.operator], Nested(first))
        # Where the other SELECT asks no membership, what it lacks is the operation.
        is_same = len(other.sources) > len(left.sources) or _asks_membership(other)
        yield Single(_filtered(operation, left, membership), is_same)
        if is_same and (core := _by_two_memberships(left, membership, other)):
            yield Single(dataclasses.replace(core, sorting=operation.sorting), True)
    if operation.operator == "INTERSECT" and (core := _by_counting(left, right, other)):
        yield Single(dataclasses.replace(core, sorting=operation.sorting), True)
    if operation.operator.startswith("UNION"):
        yield from _over_other_tables(operation, left, right)
    if _differ_in_where(left, right):
        part = conditions.negate(right.where) if operation.operator == "EXCEPT" else right.where
        if operation.operator in _MEMBERSHIP:
            yield Single(_filtered(operation, left, part), False)
        else:
            core = _with_either(operation, left, right)
            # Of two counts the sum is another question.
            yield Single(core, not any(map(terms.aggregates_of, left.items)))


def _over_other_tables(operation: SetOperation, left: Core, right: Core) -> Iterator[Single]:
    """`... FROM a WHERE x UNION ... FROM a JOIN b WHERE y`, on a alone and on all tables."""
    if left.sources == right.sources:
        return
    returned = {column.table for item in left.items for column in terms.columns_of(item)}
    alone = Core(sources=tuple(map(TableSource, returned)))
    sides = [
        side if side.sources == alone.sources else anti_joins.as_membership(side, alone)
        for side in (left, right)
    ]
    if all(sides) and _differ_in_where(*sides):
        core = _with_either(operation, *sides)
        yield Single(core, not any(map(terms.aggregates_of, core.items)))
    if not (left.group or right.group) and ALWAYS not in (left.where, right.where):
        more = tuple(source for source in right.sources if source not in left.sources)
        core = _with_either(operation, left, right)
        # A row of one table without a match in another is gone.
        yield Single(
            dataclasses.replace(core, sources=core.sources + more, ties=left.ties | right.ties),
            False,
        )


def _with_either(operation: SetOperation, left: Core, right: Core) -> Core:
    where = _either(left.where, right.where)
    return dataclasses.replace(left, where=where, sorting=operation.sorting)


def _asks_membership(core: Core) -> bool:
    atoms = conditions.atoms(core.where)
    return any(isinstance(atom.right, Nested) for atom in atoms)


def _by_two_memberships(left: Core, membership: Atom, other: Core) -> Core | None:
    """`SELECT x FROM a WHERE x IN (left) AND x IN (right)`, where `other` reads a alone."""
    tables = [source.table for source in other.sources]
    (item, *_) = left.items
    if not isinstance(item, ColumnTerm) or tables != [item.table] or other.group:
        return None
    whole = ColumnTerm(item.table, item.name)
    first = dataclasses.replace(left, items=left.items[:1], names=left.names[:1])
    both = (Atom(whole, "IN", Nested(first)), dataclasses.replace(membership, left=whole))
    items = tuple(
        ColumnTerm(item.table, item.name) if isinstance(item, ColumnTerm) else item
        for item in left.items
    )
    return Core(
        sources=(TableSource(item.table),),
        items=items,
        names=left.names,
        where=conditions.junction("AND", both),
    )


def _by_counting(left: Core, right: Core, other: Core) -> Core | None:
    """`WHERE x IN (1, 2) GROUP BY y HAVING COUNT(DISTINCT x) = 2`, where `other` counts so."""
    own = [
        [part for part in conditions.conjuncts(one.where) if part not in rest]
        for one, rest in (
            (left, conditions.conjuncts(right.where)),
            (right, conditions.conjuncts(left.where)),
        )
    ]
    atoms = [parts[0] for parts in own if len(parts) == 1 and isinstance(parts[0], Atom)]
    if len(atoms) != 2 or atoms[0].left != atoms[1].left or not _differ_in_where(left, right):
        return None
    counts = terms.call("COUNT", atoms[0].left, distinct=True)
    counted = (atom.left for atom in conditions.atoms(other.having))
    if counts not in counted:
        return None
    having = Atom(counts, "=", Literal("2"))
    where = _either(left.where, right.where)
    return dataclasses.replace(left, where=where, group=other.group, having=having)


def with_conditions_of_both(operation: SetOperation) -> Iterator[Core]:
    """Yields SELECTs that ask what both sides ask of rows and groups, on the tables of either.

    They ask another question. A query that does this has no condition beyond gold's.
    """
    left, right = operation.left, operation.right
    if not isinstance(left, Core) or not isinstance(right, Core):
        return
    is_negated = operation.operator == "EXCEPT" and right.where != ALWAYS
    part = conditions.negate(right.where) if is_negated else right.where
    for side in (right, left):
        yield dataclasses.replace(
            side,
            where=conditions.junction("AND", (left.where, part)),
            group=side.group or left.group or right.group,
            having=conditions.junction("AND", (left.having, right.having)),
            sorting=operation.sorting,
        )


def _filtered(operation: SetOperation, core: Core, part: Condition) -> Core:
    where = conditions.junction("AND", (core.where, part))
    return dataclasses.replace(core, where=where, sorting=operation.sorting)


def _either(one: Condition, other: Condition) -> Condition:
    """OR of two conditions, with their shared conjuncts outside of it."""
    sides = conditions.conjuncts(one), conditions.conjuncts(other)
    shared = [part for part in sides[0] if part in sides[1]]
    own = [[part for part in side if part not in shared] for side in sides]
    if not all(own):
        return conditions.junction("AND", shared)
    choices = (conditions.junction("AND", parts) for parts in own)
    return conditions.junction("AND", (*shared, conditions.junction("OR", choices)))


def _differ_in_where(left: Core, right: Core) -> bool:
    """Whether two SELECTs are equal but for WHERE."""
    if left.group or ALWAYS in (left.where, right.where):
        return False
    return dataclasses.replace(left, where=ALWAYS) == dataclasses.replace(right, where=ALWAYS)

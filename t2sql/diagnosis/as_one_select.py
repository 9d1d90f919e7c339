"""UNION, INTERSECT or EXCEPT of two SELECTs, rewritten as one SELECT.

SELECT name FROM a EXCEPT SELECT name FROM b     SELECT name FROM a WHERE name NOT IN (...)
SELECT name FROM a INTERSECT SELECT name FROM b  SELECT name FROM a WHERE name IN (...)
... WHERE x UNION ... WHERE y                    ... WHERE x OR y
... WHERE x INTERSECT ... WHERE y                ... WHERE x AND y, which is another question
"""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

from t2sql.diagnosis import conditions
from t2sql.diagnosis.conditions import ALWAYS, Atom, Condition
from t2sql.diagnosis.description import Core, SetOperation, Sorting
from t2sql.diagnosis.terms import Nested

_MEMBERSHIP = {"INTERSECT": "IN", "EXCEPT": "NOT IN"}


class Single(NamedTuple):
    """One SELECT for two.

    Attributes:
      core: the SELECT.
      is_same: whether it returns the rows of the two, duplicates and NULLs aside.
    """

    core: Core
    is_same: bool


def as_one_select(operation: SetOperation) -> Iterator[Single]:
    """Yields the SELECTs that stand for the operation, if any."""
    left, right = operation.left, operation.right
    if not (isinstance(left, Core) and isinstance(right, Core)):
        return
    if any(side.sorting != Sorting() for side in (left, right)):
        return
    # Both return one column, or the same ones, of which the first stands for all.
    is_by_one = len(left.items) == len(right.items) == 1 or left.items == right.items
    if operation.operator in _MEMBERSHIP and is_by_one:
        first = dataclasses.replace(right, items=right.items[:1], names=right.names[:1])
        membership = Atom(left.items[0], _MEMBERSHIP[operation.operator], Nested(first))
        yield Single(_filtered(operation, left, membership), True)
    if _differ_in_where(left, right):
        part = conditions.negate(right.where) if operation.operator == "EXCEPT" else right.where
        if operation.operator in _MEMBERSHIP:
            yield Single(_filtered(operation, left, part), False)
        else:
            core = dataclasses.replace(
                left, where=_either(left.where, right.where), sorting=operation.sorting
            )
            yield Single(core, True)


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

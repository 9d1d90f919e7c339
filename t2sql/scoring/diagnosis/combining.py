"""Two SELECTs combined by UNION, INTERSECT or EXCEPT, written as the one SELECT that is alike.

SELECT name FROM a EXCEPT SELECT name FROM b     SELECT name FROM a WHERE name NOT IN (...)
SELECT name FROM a INTERSECT SELECT name FROM b  SELECT name FROM a WHERE name IN (...)
... WHERE x UNION ... WHERE y                    ... WHERE x OR y
... WHERE x INTERSECT ... WHERE y                ... WHERE x AND y, which is another question
"""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

from t2sql.scoring.diagnosis import conditions
from t2sql.scoring.diagnosis.conditions import Atom
from t2sql.scoring.diagnosis.description import Core, SetOperation, Sorting
from t2sql.scoring.diagnosis.terms import Column, Nested
from t2sql.spider.tables import fold

_MEMBERSHIP = {"INTERSECT": "IN", "EXCEPT": "NOT IN"}


class Single(NamedTuple):
    """One SELECT for two.

    Attributes:
      core: the SELECT.
      is_same: whether it asks the same, duplicates and NULLs aside.
    """

    core: Core
    is_same: bool


def as_one(operation: SetOperation) -> Iterator[Single]:
    """The SELECTs that a reader may take for the two, if any."""
    left, right = operation.left, operation.right
    if not (isinstance(left, Core) and isinstance(right, Core)) or _is_cut(left, right):
        return
    if operation.operator in _MEMBERSHIP and len(left.items) == len(right.items) == 1:
        for column, query in _memberships(right, left):
            found = Atom(column, _MEMBERSHIP[operation.operator], Nested(query))
            yield Single(_filtered(operation, left, found), True)
    if _differ_in_where(left, right):
        part = conditions.negate(right.where) if operation.operator == "EXCEPT" else right.where
        if operation.operator in _MEMBERSHIP:
            yield Single(_filtered(operation, left, part), False)
        else:
            where = conditions.junction("OR", (left.where, right.where))
            core = dataclasses.replace(left, where=where, sorting=operation.sorting)
            yield Single(core, True)


def _is_cut(*sides: Core) -> bool:
    return any(side.sorting != Sorting() for side in sides)


def _filtered(operation: SetOperation, core: Core, part: conditions.Condition) -> Core:
    where = conditions.junction("AND", (core.where, part))
    return dataclasses.replace(core, where=where, sorting=operation.sorting)


def _differ_in_where(left: Core, right: Core) -> bool:
    plain = [dataclasses.replace(side, where=conditions.ALWAYS) for side in (left, right)]
    return (
        plain[0] == plain[1]
        and not left.group
        and conditions.ALWAYS
        not in (
            left.where,
            right.where,
        )
    )


def _memberships(query: Core, around: Core) -> Iterator[tuple[Column, Core]]:
    """What is tested, and against which subquery; also by the key that ties the table to it.

    `name NOT IN (SELECT a.name FROM a JOIN b ON a.id = b.a_id)` is `id NOT IN (SELECT a_id FROM
    b)` where names are unique.
    """
    if not isinstance(around.items[0], Column):
        return
    yield around.items[0], query
    returned = query.items[0]
    if not isinstance(returned, Column) or returned != around.items[0]:
        return
    own = [source for source in query.sources if fold(source.table) == fold(returned.table)]
    ties = [tie for tie in query.ties if any(_is_in(column, own) for column in tie)]
    used = [column for column in _tested(query) if _is_in(column, own)]
    if len(own) == 1 and len(ties) == 1 and len(query.sources) > 1 and not used:
        key, other = sorted(ties[0], key=lambda column: not _is_in(column, own))
        inner = dataclasses.replace(
            query,
            sources=tuple(source for source in query.sources if source is not own[0]),
            ties=query.ties - set(ties),
            items=(other,),
            names=(other.name,),
        )
        yield key, inner


def _is_in(column: Column, sources: list) -> bool:
    return any(fold(column.table) == fold(source.table) for source in sources)


def _tested(query: Core) -> list[Column]:
    return conditions.columns_of(query.where) + [
        column for term in query.group for column in conditions.columns_of(Atom(term, "TRUE"))
    ]

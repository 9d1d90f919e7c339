"""What a rule's action (`!name` in `grammar.py`) does to the scopes, where no schema is needed.

A `Scopes` is a tuple of immutable scopes, one for each open query, the innermost last. An
action maps it to another one; None closes the reading that the action is part of. The
actions that need the schema are in `scope.py`.
"""

from collections.abc import Callable
from typing import NamedTuple

from t2sql.constraint.foreign_keys import End
from t2sql.constraint.from_clause import FromItem, Name, Ref

# Deeper nesting is closed: each open parenthesis may be read in several ways.
MAX_NESTING = 5
# While a query is in one of these phases its FROM is open.
EARLY = ("select", "from", "on")
_AGGREGATING = ("select", "having", "order")


class QueryScope(NamedTuple):
    """What is known of one query.

    Attributes:
      phase: "select", "from", "on", "where", "group", "having" or "order".
      refs: columns named so far, kept until FROM is closed.
      from_items: what FROM has named so far; the last one's name is None until it is known.
      joining: whether FROM's next word names a table.
      aliased: whether AS has come, and the last item's name not yet.
      qualifier: the table or alias before a dot whose column comes next.
      half: the qualified column before the equals sign of a link.
      linked: the links that ON has made.
      items: result columns so far, with the one at hand.
      star: whether one of them is a star.
      want: how many there have to be; None: any number, but at least one.
      outputs: the result columns' names, None for one without, until FROM is closed.
      last: the name of the value just read, if it is a plain column.
      labels: names given with AS.
      aggregate: whether the query aggregates: only then may ORDER BY.
      inside: whether an aggregate's argument is being read.
      produced: the names of the result columns; in a compound those of its first arm.
      later: whether this is a later arm of a compound.
      repeat: the tables that a star stands for, which later arms have to repeat.
      results: by what names a compound may be ordered.
      sees_outer: whether the outer query's columns are in scope.
      derived: whether this is a query in FROM.
      nesting: open parentheses around it.
    """

    phase: str = "select"
    refs: frozenset[Ref] = frozenset()
    from_items: tuple[FromItem, ...] = ()
    joining: bool = True
    aliased: bool = False
    qualifier: Name | None = None
    half: End | None = None
    linked: frozenset[frozenset[End]] = frozenset()
    items: int = 1
    star: bool = False
    want: int | None = None
    outputs: tuple[Name | None, ...] = ()
    last: Name | None = None
    labels: frozenset[Name] = frozenset()
    aggregate: bool = False
    inside: bool = False
    produced: frozenset[Name] = frozenset()
    later: bool = False
    repeat: tuple[Name, ...] = ()
    results: frozenset[Name] = frozenset()
    sees_outer: bool = False
    derived: bool = False
    nesting: int = 0


Scopes = tuple[QueryScope, ...]
_FIELDS = {name: place for place, name in enumerate(QueryScope._fields)}
_OF_COMPOUND = "want", "produced", "repeat", "results", "sees_outer", "derived", "nesting"


def with_values(scopes: Scopes, **values) -> Scopes:
    scope = list(scopes[-1])
    for name, value in values.items():
        scope[_FIELDS[name]] = value
    return (*scopes[:-1], QueryScope._make(scope))  # a third of what `_replace` takes


def _push(scopes: Scopes, *, want: int | None) -> Scopes:
    scope = scopes[-1]
    sees_outer = scope.phase not in EARLY
    return (*scopes, QueryScope(want=want, sees_outer=sees_outer, nesting=scope.nesting))


def _pop(scopes: Scopes) -> Scopes | None:
    """The end of a query in parentheses; a query in FROM becomes an item of it."""
    inner, scopes = scopes[-1], with_values(scopes[:-1], nesting=scopes[-2].nesting - 1)
    if not inner.derived:
        return scopes
    item = FromItem(None, inner.produced, None)
    return with_values(scopes, from_items=(*scopes[-1].from_items, item), joining=False)


def _derivable(scopes: Scopes) -> Scopes | None:
    """Before a query in FROM: only the first item of a query without qualified names."""
    scope = scopes[-1]
    qualified = any(qualifier for qualifier, _ in scope.refs)
    repeats = scope.later and scope.star
    return None if scope.from_items or qualified or repeats else scopes


def _derived(scopes: Scopes) -> Scopes:
    """The beginning of a query in FROM, which may give none of the columns that are missing."""
    inner = QueryScope(derived=True, nesting=scopes[-1].nesting)
    return (*with_values(scopes, joining=False), inner)


def _nest(scopes: Scopes) -> Scopes | None:
    nesting = scopes[-1].nesting + 1
    return with_values(scopes, nesting=nesting) if nesting <= MAX_NESTING else None


def _whole(scopes: Scopes) -> Scopes | None:
    """Before `T1.*`, whose columns are not counted."""
    scope = scopes[-1]
    return scopes if scope.want is None and not scope.derived else None


def _star(scopes: Scopes) -> Scopes | None:
    """`*`, which a later arm of a compound may have where the first is nothing else."""
    scope = scopes[-1]
    narrow = scope.want is not None and not scope.repeat
    if narrow or (scope.derived and scopes[-2].refs):
        return None
    return with_values(scopes, star=True, outputs=(*scope.outputs, None))


def _item(scopes: Scopes) -> Scopes | None:
    """A value in the select list; where the first arm has a star there is none."""
    return None if scopes[-1].repeat else scopes


def _more(scopes: Scopes) -> Scopes | None:
    scope = scopes[-1]
    fits = scope.want is None or (scope.items < scope.want and not scope.star)
    return with_values(scopes, items=scope.items + 1) if fits else None


def _first(scopes: Scopes) -> Scopes | None:
    """The end of a compound's first arm, which sets what the others have to be like."""
    scope = scopes[-1]
    if scope.star and (scope.items != 1 or None in scope.repeat):
        return None
    plain = scope.labels.union(unique_columns(scope.from_items))
    return with_values(scopes, want=scope.items, results=scope.produced & plain)


def _arm(scopes: Scopes) -> Scopes:
    scope = scopes[-1]
    kept = {name: getattr(scope, name) for name in _OF_COMPOUND}
    return (*scopes[:-1], QueryScope(later=True, **kept))


def _aggregate(scopes: Scopes) -> Scopes | None:
    scope = scopes[-1]
    allowed = scope.phase in _AGGREGATING and not scope.inside
    if not allowed or (scope.phase == "order" and not scope.aggregate):
        return None
    return with_values(scopes, inside=True)


def _aggregated(scopes: Scopes) -> Scopes:
    aggregate = scopes[-1].aggregate or scopes[-1].phase == "select"
    return with_values(scopes, inside=False, aggregate=aggregate)


def unique_columns(from_items: tuple[FromItem, ...]) -> list[Name]:
    names = [name for item in from_items for name in item.columns]
    return sorted({name for name in names if names.count(name) == 1})


def tables_of(from_items: tuple[FromItem, ...]) -> tuple[Name | None, ...]:
    return tuple(item.table for item in from_items)


ACTIONS: dict[str, Callable[[Scopes], Scopes | None]] = {
    "top": lambda scopes: (QueryScope(),),
    "derivable": _derivable,
    "derived": _derived,
    "scalar": lambda scopes: _push(scopes, want=1),
    "rows": lambda scopes: _push(scopes, want=None),
    "pop": _pop,
    "nest": _nest,
    "leave": lambda scopes: with_values(scopes, nesting=scopes[-1].nesting - 1),
    "star": _star,
    "whole": _whole,
    "item": _item,
    "named": lambda scopes: with_values(
        scopes, outputs=(*scopes[-1].outputs, scopes[-1].last), last=None
    ),
    "more": _more,
    "computed": lambda scopes: with_values(scopes, last=None),
    "on": lambda scopes: with_values(scopes, phase="on"),
    "off": lambda scopes: with_values(scopes, phase="from", linked=frozenset()),
    "group": lambda scopes: with_values(scopes, phase="group"),
    "grouped": lambda scopes: with_values(scopes, phase="having", aggregate=True),
    "order": lambda scopes: with_values(scopes, phase="order"),
    "first": _first,
    "arm": _arm,
    "nameable": lambda scopes: scopes if scopes[-1].results else None,
    "aggregate": _aggregate,
    "aggregated": _aggregated,
}

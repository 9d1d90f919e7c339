"""Which tables, columns and aliases a prefix of a query may name next.

SELECT names columns before FROM names their tables. Until FROM is closed a query's
references are kept, and every step has to leave some choice of tables that gives each of
them exactly one meaning (`sources.Choices`). After that a name has to be in scope.

A `Scopes` is a tuple of immutable scopes, one a query, the innermost last. Actions (the
rules' `!name`) and lookups (the rules' `<name>`) map it to another one; an action that
gives None closes its way.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from t2sql.constraint.foreign_keys import End, LinkedChoices, Links
from t2sql.constraint.from_clause import MAX_SOURCES, Choices, Name, Ref, Source, number, numbered

# Deeper nesting is closed: each open parenthesis may be read in several ways.
MAX_NESTING = 5
# The aliases that SELECT may use before FROM introduces them.
EARLY_ALIASES = tuple(map(numbered, range(1, MAX_SOURCES + 1)))
# Of the first so many sources some may be there to join others only.
MAX_IDLE = 2
# How far apart their numbers may be: FROM has to name the sources between two of them as well.
MAX_LEAP = 3

_EARLY = ("select", "from", "on")
_SHUT = ("group", "order")
_AGGREGATING = ("select", "having", "order")


class Scope(NamedTuple):
    """What is known of one query.

    Attributes:
      phase: "select", "from", "on", "where", "group", "having" or "order".
      refs: columns named so far, kept until FROM is closed.
      sources: what FROM has named so far; the last one's name is None until it is known.
      joining: whether FROM's next word names a source.
      aliased: whether AS has come, and the last source's name not yet.
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
    sources: tuple[Source, ...] = ()
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


Scopes = tuple[Scope, ...]
_OF_COMPOUND = "want", "produced", "repeat", "results", "sees_outer", "derived", "nesting"


class ScopeCheck:
    """The actions and lookups of the rules, for one schema.

    Args:
      tables: each table's name and its columns', folded.
      links: the columns that tables may be joined on; None for any.
    """

    def __init__(self, tables: dict[Name, tuple[Name, ...]], links: Links | None = None):
        self.tables = tables
        self.links = links
        self.choices = LinkedChoices(tables, links) if links else Choices(tables)
        self.names_of_schema = frozenset(tables).union(*tables.values())
        self.columns = sorted({column for columns in tables.values() for column in columns})
        self._actions: dict[str, Callable[[Scopes], Scopes | None]] = {
            "top": lambda scopes: (Scope(),),
            "derivable": _derivable,
            "derived": _derived,
            "scalar": lambda scopes: _push(scopes, want=1),
            "rows": lambda scopes: _push(scopes, want=None),
            "pop": _pop,
            "nest": _nest,
            "leave": lambda scopes: _set(scopes, nesting=scopes[-1].nesting - 1),
            "star": _star,
            "whole": _whole,
            "all": self._all,
            "item": _item,
            "named": lambda scopes: _set(
                scopes, outputs=(*scopes[-1].outputs, scopes[-1].last), last=None
            ),
            "more": _more,
            "computed": lambda scopes: _set(scopes, last=None),
            "listed": self._listed,
            "plain": self._plain,
            "free": lambda scopes: None if self._is_keyed(scopes) else scopes,
            "keyed": lambda scopes: scopes if self._is_keyed(scopes) else None,
            "on": lambda scopes: _set(scopes, phase="on"),
            "off": lambda scopes: _set(scopes, phase="from", linked=frozenset()),
            "again": lambda scopes: scopes if self._open_ends(scopes[-1]) else None,
            "joined": self._joined,
            "ungrouped": lambda scopes: scopes,
            "group": lambda scopes: _set(scopes, phase="group"),
            "grouped": lambda scopes: _set(scopes, phase="having", aggregate=True),
            "order": lambda scopes: _set(scopes, phase="order"),
            "first": _first,
            "arm": _arm,
            "nameable": lambda scopes: scopes if scopes[-1].results else None,
            "joinable": self._joinable,
            "aliasable": self._aliasable,
            "aggregate": _aggregate,
            "aggregated": _aggregated,
        }
        self._lookups: dict[str, Callable[[Scopes], Iterator[tuple[Name, Scopes]]]] = {
            "column": self._columns,
            "qualifier": self._qualifiers,
            "member": self._members,
            "table": self._tables,
            "alias": self._aliases,
            "short": self._short_aliases,
            "label": lambda scopes: iter(()),
            "result": self._results,
            "end": self._ends,
            "key": self._keys,
        }

    def act(self, action: str, scopes: Scopes) -> Scopes | None:
        """The scopes after an action; None where it is not allowed."""
        return self._actions[action](scopes)

    def names(self, kind: str, scopes: Scopes) -> Iterator[tuple[Name, Scopes]]:
        """The names of a class that may come next, each with the scopes after it."""
        return self._lookups[kind](scopes)

    def fresh(self, kind: str, scopes: Scopes) -> Callable[[Name], Scopes | None] | None:
        """What a name of the user's own choice (after AS) leads to; None: there may be none."""
        if kind == "label":
            return lambda name: _label(scopes, name)
        if kind == "alias" and not self.links:
            pending = self.choices.pending_qualifiers(scopes[-1].refs, scopes[-1].sources)
            if self._named(scopes, b"") is not None:
                return lambda name: None if name in pending else self._named(scopes, name)
        return None

    def missing(self, scopes: Scopes) -> tuple[int, int]:
        """How many tables and result columns all open queries still need at the least."""
        tables = columns = 0
        for scope in scopes:
            if scope.phase in _EARLY:
                refs = scope.refs | ({(scope.qualifier, b"*")} if scope.qualifier else frozenset())
                needed = self.choices.fewest(refs, scope.sources, aliased=scope.aliased)
                needed = needed or 0
                needed = max(needed, len(scope.repeat) - len(scope.sources))
                tables += max(0, needed - scope.joining)  # that one is in the rules' own cost
                if scope.sources and scope.sources[-1].name is None:
                    # An alias may have to follow.
                    tables += bool(self.choices.pending_qualifiers(refs, scope.sources))
            if scope.phase == "select" and scope.want is not None:
                columns += scope.want - scope.items
        return tables, columns

    def is_ambiguous(self, name: Name, scopes: Scopes) -> bool:
        """Whether SQLite may trip over a double-quoted text because it is a column's name."""
        scope = scopes[-1]
        if scope.phase in _EARLY:
            return name in self.columns
        return any(sum(name in source.columns for source in each.sources) > 1 for each in scopes)

    # Actions

    def _all(self, scopes: Scopes) -> Scopes | None:
        """The star of `T1.*`."""
        scope = scopes[-1]
        refs = scope.refs | {(scope.qualifier, b"*")}
        if self.choices.missing(refs, scope.sources) is None:
            return None
        return _set(
            scopes,
            refs=refs,
            qualifier=None,
            star=True,
            items=scope.items + 1,  # no other arm of a compound can be as wide
            outputs=(*scope.outputs, None),
        )

    def _listed(self, scopes: Scopes) -> Scopes | None:
        """The end of the select list."""
        scope = scopes[-1]
        if scope.want is not None and not scope.star and scope.items != scope.want:
            return None
        scopes = _set(scopes, phase="from", last=None)
        if scope.derived and not scope.star and not scope.later:
            outer = scopes[-2]
            source = Source(b"", frozenset(filter(None, scope.outputs)), None)
            if self.choices.missing(outer.refs, (*outer.sources, source)) is None:
                return None
        return scopes

    def _joinable(self, scopes: Scopes) -> Scopes | None:
        """Before another source: whether any fits."""
        fits = next(self._tables(scopes), None)
        return _set(scopes, joining=True) if fits else None

    def _plain(self, scopes: Scopes) -> Scopes | None:
        """A source without an alias."""
        source = scopes[-1].sources[-1]
        if source.table is None:
            return self._named(scopes, b"")
        return self._named(scopes, source.table)

    def _aliasable(self, scopes: Scopes) -> Scopes | None:
        """Before AS: whether any alias may follow."""
        fits = self.fresh("alias", scopes) or next(self._aliases(scopes), None)
        return _set(scopes, aliased=True) if fits else None

    def _named(self, scopes: Scopes, name: Name) -> Scopes | None:
        scope = scopes[-1]
        others, source = scope.sources[:-1], scope.sources[-1]
        if any(name == other.name for other in others if name):
            return None
        sources = (*others, source._replace(name=name))
        missing = self.choices.missing(scope.refs, sources)
        if missing is None:
            return None
        pending = self.choices.pending_qualifiers(scope.refs, others)
        if source.table in pending and name not in (source.table, *pending):
            return None  # SELECT has named the table by its own name
        before = self.choices.missing(scope.refs, others)
        # From the third source on each has to give what is missing: else FROM has no end.
        if len(sources) > MAX_IDLE and before and missing >= before:
            return None
        return _set(scopes, sources=sources, aliased=False)

    def _joined(self, scopes: Scopes) -> Scopes | None:
        """The end of FROM: every reference has its one meaning."""
        scope = scopes[-1]
        if self.choices.missing(scope.refs, scope.sources) != 0:
            return None
        if scope.star and scope.repeat and _tables_of(scope.sources) != scope.repeat:
            return None
        return _set(
            scopes,
            phase="where",
            refs=frozenset(),
            sources=tuple(sorted(scope.sources, key=lambda each: (each.name, each.table or b""))),
            repeat=_tables_of(scope.sources) if scope.star else (),
            outputs=(),
            produced=scope.produced if scope.later else _produced(scope),
        )

    def _is_keyed(self, scopes: Scopes) -> bool:
        """Whether the sources are joined along keys; what a query in FROM gives has none."""
        return bool(self.links) and None not in _tables_of(scopes[-1].sources)

    # Lookups

    def _columns(self, scopes: Scopes) -> Iterator[tuple[Name, Scopes]]:
        scope = scopes[-1]
        if scope.phase in ("having", "order") and not scope.inside:
            yield from ((label, scopes) for label in scope.labels)
        if scope.phase == "select":
            for column in self.columns:
                yield from self._early(scopes, (None, column))
        elif scope.phase == "on":
            for column in _unique(scope.sources):
                yield from self._early(scopes, (None, column))
        else:
            yield from ((column, scopes) for column in _visible_columns(scopes))

    def _early(self, scopes: Scopes, ref: Ref) -> Iterator[tuple[Name, Scopes]]:
        scope = scopes[-1]
        refs = scope.refs | {ref}
        if ref in scope.refs or self.choices.missing(refs, scope.sources) is not None:
            yield ref[1], _set(scopes, refs=refs, qualifier=None, last=ref[1])

    def _qualifiers(self, scopes: Scopes) -> Iterator[tuple[Name, Scopes]]:
        scope = scopes[-1]
        names = {source.name for each in _seen(scopes) for source in each.sources if source.name}
        if scope.phase == "select":
            names = {*self.tables, *_early_aliases(scope.refs)}
        for name in sorted(names):
            after = _set(scopes, qualifier=name)
            if next(self._members(after), None):
                yield name, after

    def _members(self, scopes: Scopes) -> Iterator[tuple[Name, Scopes]]:
        scope = scopes[-1]
        if scope.phase == "select":
            for column in self.tables.get(scope.qualifier, self.columns):
                yield from self._early(scopes, (scope.qualifier, column))
            return
        for each in _seen(scopes):
            for source in each.sources:
                if source.name == scope.qualifier:
                    after = _set(scopes, qualifier=None)
                    yield from ((column, after) for column in sorted(source.columns))
                    return

    def _tables(self, scopes: Scopes) -> Iterator[tuple[Name, Scopes]]:
        scope = scopes[-1]
        if len(scope.sources) >= MAX_SOURCES:
            return
        follows = scope.repeat if scope.star else ()
        missing = self.choices.missing(scope.refs, scope.sources)
        keyed, present = self._is_keyed(scopes), frozenset(_tables_of(scope.sources))
        for table, columns in self.tables.items():
            sources = (*scope.sources, Source(None, frozenset(columns), table))
            if follows and _tables_of(sources) != follows[: len(sources)]:
                continue
            if keyed and not self.links.joins(present, table):
                continue
            needed = self.choices.fewest(scope.refs, sources)
            if needed is None or (missing and needed >= missing and len(sources) > MAX_IDLE):
                continue
            yield table, _set(scopes, sources=sources, joining=False)

    def _aliases(self, scopes: Scopes) -> Iterator[tuple[Name, Scopes]]:
        """The aliases that SELECT has used and nothing has introduced yet.

        Along keys also the numbered ones, and there are no others: ON has to repeat them, for
        which there has to be room. A table that only links others keeps its name while SELECT's
        are to come.
        """
        scope = scopes[-1]
        names = self.choices.pending_qualifiers(scope.refs, scope.sources)
        if self.links and not any(map(number, names)):
            names = dict.fromkeys((*names, *EARLY_ALIASES))
        for name in names:
            after = None if name in self.tables else self._named(scopes, name)
            if after is not None:
                yield name, after

    def _short_aliases(self, scopes: Scopes) -> Iterator[tuple[Name, Scopes]]:
        """The aliases that may stand without AS."""
        for name in EARLY_ALIASES:
            if (after := self._named(scopes, name)) is not None:
                yield name, after

    def _ends(self, scopes: Scopes) -> Iterator[tuple[Name, Scopes]]:
        """The sources that one side of a link may be of."""
        for name in sorted({name for name, _ in self._open_ends(scopes[-1])}):
            yield name, _set(scopes, qualifier=name)

    def _keys(self, scopes: Scopes) -> Iterator[tuple[Name, Scopes]]:
        """The columns that it may be."""
        scope = scopes[-1]
        for end in sorted(self._open_ends(scope)):
            if end[0] != scope.qualifier:
                continue
            if scope.half is None:
                yield end[1], _set(scopes, qualifier=None, half=end)
            else:
                linked = scope.linked | {frozenset((scope.half, end))}
                yield end[1], _set(scopes, qualifier=None, half=None, linked=linked)

    def _open_ends(self, scope: Scope) -> frozenset[End]:
        """The columns that link the last source to one before it, by their sources' names."""
        last = scope.sources[-1]
        links = (
            frozenset(((source.name, mine), (last.name, its)))
            for source in scope.sources[:-1]
            for mine, its in self.links.pairs(source.table, last.table)
        )
        # A key of several columns is a link for each; none of them is in two.
        taken = frozenset().union(*scope.linked)
        fitting = (
            each
            for each in links
            if not each & taken and (scope.half is None or scope.half in each)
        )
        return frozenset().union(*(each - {scope.half} for each in fitting))

    def _results(self, scopes: Scopes) -> Iterator[tuple[Name, Scopes]]:
        return ((name, scopes) for name in sorted(scopes[-1].results))


def _early_aliases(refs: frozenset[Ref]) -> Iterator[Name]:
    """The aliases that SELECT may use next."""
    numbers = [each for each in (number(qualifier) for qualifier, _ in refs) if each]
    for name in EARLY_ALIASES:
        own = number(name)
        if not numbers or min(numbers) - MAX_LEAP <= own <= max(numbers) + MAX_LEAP:
            yield name


def _set(scopes: Scopes, **values) -> Scopes:
    return (*scopes[:-1], scopes[-1]._replace(**values))


def _push(scopes: Scopes, *, want: int | None) -> Scopes:
    scope = scopes[-1]
    sees_outer = scope.phase not in _EARLY
    return (*scopes, Scope(want=want, sees_outer=sees_outer, nesting=scope.nesting))


def _pop(scopes: Scopes) -> Scopes | None:
    """The end of a query in parentheses; a query in FROM becomes a source."""
    inner, scopes = scopes[-1], _set(scopes[:-1], nesting=scopes[-2].nesting - 1)
    if not inner.derived:
        return scopes
    source = Source(None, inner.produced, None)
    return _set(scopes, sources=(*scopes[-1].sources, source), joining=False)


def _derivable(scopes: Scopes) -> Scopes | None:
    """Before a query in FROM: only the first source of a query without qualified names."""
    scope = scopes[-1]
    qualified = any(qualifier for qualifier, _ in scope.refs)
    repeats = scope.later and scope.star
    return None if scope.sources or qualified or repeats else scopes


def _derived(scopes: Scopes) -> Scopes:
    """The beginning of a query in FROM, which may give none of the columns that are missing."""
    inner = Scope(derived=True, nesting=scopes[-1].nesting)
    return (*_set(scopes, joining=False), inner)


def _nest(scopes: Scopes) -> Scopes | None:
    nesting = scopes[-1].nesting + 1
    return _set(scopes, nesting=nesting) if nesting <= MAX_NESTING else None


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
    return _set(scopes, star=True, outputs=(*scope.outputs, None))


def _item(scopes: Scopes) -> Scopes | None:
    """A value in the select list; where the first arm has a star there is none."""
    return None if scopes[-1].repeat else scopes


def _more(scopes: Scopes) -> Scopes | None:
    scope = scopes[-1]
    fits = scope.want is None or (scope.items < scope.want and not scope.star)
    return _set(scopes, items=scope.items + 1) if fits else None


def _first(scopes: Scopes) -> Scopes | None:
    """The end of a compound's first arm, which sets what the others have to be like."""
    scope = scopes[-1]
    if scope.star and (scope.items != 1 or None in scope.repeat):
        return None
    plain = scope.labels.union(_unique(scope.sources))
    return _set(scopes, want=scope.items, results=scope.produced & plain)


def _arm(scopes: Scopes) -> Scopes:
    scope = scopes[-1]
    kept = {name: getattr(scope, name) for name in _OF_COMPOUND}
    return (*scopes[:-1], Scope(later=True, **kept))


def _aggregate(scopes: Scopes) -> Scopes | None:
    scope = scopes[-1]
    allowed = scope.phase in _AGGREGATING and not scope.inside
    if not allowed or (scope.phase == "order" and not scope.aggregate):
        return None
    return _set(scopes, inside=True)


def _aggregated(scopes: Scopes) -> Scopes:
    aggregate = scopes[-1].aggregate or scopes[-1].phase == "select"
    return _set(scopes, inside=False, aggregate=aggregate)


def _label(scopes: Scopes, name: Name) -> Scopes:
    scope = scopes[-1]
    return _set(scopes, labels=scope.labels | {name}, outputs=(*scope.outputs[:-1], name))


def _seen(scopes: Scopes) -> Iterator[Scope]:
    """The scopes that names are looked up in, the innermost first.

    SQLite looks no further from an aggregate's argument, GROUP BY or ORDER BY.
    """
    for scope in reversed(scopes):
        yield scope
        if scope.inside or scope.phase in _SHUT or not scope.sees_outer:
            return


def _visible_columns(scopes: Scopes) -> Iterator[Name]:
    """Columns that mean one thing without a qualifier; an inner query's hide an outer's."""
    hidden: set[Name] = set()
    for scope in _seen(scopes):
        yield from (name for name in _unique(scope.sources) if name not in hidden)
        hidden.update(*(source.columns for source in scope.sources))


def _unique(sources: tuple[Source, ...]) -> list[Name]:
    names = [name for source in sources for name in source.columns]
    return sorted({name for name in names if names.count(name) == 1})


def _produced(scope: Scope) -> frozenset[Name]:
    named = frozenset(filter(None, scope.outputs))
    return named.union(*(source.columns for source in scope.sources)) if scope.star else named


def _tables_of(sources: tuple[Source, ...]) -> tuple[Name | None, ...]:
    return tuple(source.table for source in sources)

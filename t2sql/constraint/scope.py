"""Which tables, columns and aliases a prefix of a query may name next.

SELECT names columns before FROM names their tables. Until FROM is closed a query's
references are kept, and every step has to leave some choice of tables that gives each of
them exactly one meaning (`from_clause.Choices`). After that a name has to be in scope.

The rules' actions (`!name`) and lookups (`<name>`) map a `Scopes` to another one.
"""

import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence

from t2sql.constraint import scope_actions
from t2sql.constraint.foreign_keys import End, LinkedChoices, Links
from t2sql.constraint.from_clause import (
    MAX_FROM_ITEMS,
    Choices,
    FromItem,
    Name,
    Ref,
    number,
    numbered,
)
from t2sql.constraint.scope_actions import (
    EARLY,
    QueryScope,
    Scopes,
    tables_of,
    unique_columns,
    with_values,
)

# The aliases that SELECT may use before FROM introduces them.
EARLY_ALIASES = tuple(map(numbered, range(1, MAX_FROM_ITEMS + 1)))
# Of the first so many tables in FROM some may be there to join others only.
MAX_IDLE = 2
# How far apart their numbers may be: FROM has to name the tables between two of them as well.
MAX_LEAP = 3

_SHUT = ("group", "order")


class Names:
    """The names of one kind that may come next.

    Args:
      candidates: these, and perhaps others, in order.
      after: the scopes after a candidate, one for each meaning; none where it may not come.

    Attributes:
      candidates: these, and perhaps others, in order.
    """

    def __init__(self, candidates: Sequence[Name], after: Callable[[Name], tuple[Scopes, ...]]):
        self.candidates = candidates
        self._find = after
        self._after: dict[Name, tuple[Scopes, ...]] = {}

    def after(self, name: Name) -> tuple[Scopes, ...]:
        """The scopes after a name, one for each meaning; none where it may not come."""
        after = self._after.get(name)
        if after is None:
            place = bisect.bisect_left(self.candidates, name)
            known = place < len(self.candidates) and self.candidates[place] == name
            after = self._after[name] = self._find(name) if known else ()
        return after

    def any(self) -> bool:
        """Whether any name may come next."""
        return any(map(self.after, self.candidates))


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
        self.has_literals = any({b"true", b"false"} & set(own) for own in tables.values())
        self.columns = sorted({column for columns in tables.values() for column in columns})
        self._actions: dict[str, Callable[[Scopes], Scopes | None]] = {
            **scope_actions.ACTIONS,
            "all": self._all,
            "listed": self._listed,
            "plain": self._plain,
            "free": lambda scopes: None if self._follows_keys(scopes) else scopes,
            # Along keys an answer is written in what Spider's queries need, and in nothing else.
            "wide": lambda scopes: None if self.links else scopes,
            # Where a column is called so, these words are that column.
            "literal": lambda scopes: None if self.links or self.has_literals else scopes,
            "along_keys": lambda scopes: scopes if self._follows_keys(scopes) else None,
            "again": lambda scopes: scopes if self._open_ends(scopes[-1]) else None,
            "joined": self._joined,
            "joinable": self._joinable,
            "aliasable": self._aliasable,
        }
        self._lookups: dict[str, Callable[[Scopes], Names]] = {
            "column": self._columns,
            "qualifier": self._qualifiers,
            "member": self._members,
            "table": self._tables,
            "alias": self._aliases,
            "short": self._short_aliases,
            "label": lambda scopes: Names((), lambda name: ()),
            "result": self._results,
            "end": self._ends,
            "key": self._keys,
        }
        self._names: dict[tuple[str, Scopes], Names] = {}

    def act(self, action: str, scopes: Scopes) -> Scopes | None:
        """The scopes after an action; None where it is not allowed."""
        return self._actions[action](scopes)

    def names(self, kind: str, scopes: Scopes) -> Names:
        """The names of a kind that may come next."""
        key = (kind, scopes)
        if key not in self._names:
            self._names[key] = self._lookups[kind](scopes)
        return self._names[key]

    def forget(self) -> None:
        """Drops the names that are kept."""
        self._names.clear()

    def fresh(self, kind: str, scopes: Scopes) -> Callable[[Name], Scopes | None] | None:
        """What a name of the user's own choice (after AS) leads to; None: there may be none."""
        if kind == "label":
            return lambda name: _label(scopes, name)
        if kind == "alias" and not self.links:
            pending = self.choices.pending_qualifiers(scopes[-1].refs, scopes[-1].from_items)
            if self._named(scopes, b"") is not None:
                return lambda name: None if name in pending else self._named(scopes, name)
        return None

    def missing(self, scopes: Scopes) -> tuple[int, int]:
        """How many tables and result columns all open queries still need at the least."""
        tables = columns = 0
        for scope in scopes:
            if scope.phase in EARLY:
                refs = scope.refs
                if scope.qualifier and scope.phase == "select":  # in ON it has been introduced
                    refs = refs | {(scope.qualifier, b"*")}
                needed = self.choices.fewest(refs, scope.from_items, aliased=scope.aliased)
                if needed is None:  # a search along keys tries few tables for a qualifier
                    needed = MAX_FROM_ITEMS - len(scope.from_items)
                needed = max(needed, len(scope.repeat) - len(scope.from_items))
                tables += max(0, needed - scope.joining)  # that one is in the rules' own cost
                if scope.from_items and scope.from_items[-1].name is None:
                    # An alias may have to follow.
                    tables += bool(self.choices.pending_qualifiers(refs, scope.from_items))
            if scope.phase == "select" and scope.want is not None:
                columns += scope.want - scope.items
        return tables, columns

    def is_ambiguous(self, name: Name, scopes: Scopes) -> bool:
        """Whether SQLite may trip over a double-quoted text because it is a column's name."""
        scope = scopes[-1]
        if scope.phase in EARLY:
            return name in self.columns
        return any(sum(name in item.columns for item in scope.from_items) > 1 for scope in scopes)

    # Actions

    def _all(self, scopes: Scopes) -> Scopes | None:
        """The star of `T1.*`."""
        scope = scopes[-1]
        refs = scope.refs | {(scope.qualifier, b"*")}
        if self.choices.missing(refs, scope.from_items) is None:
            return None
        return with_values(
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
        scopes = with_values(scopes, phase="from", last=None)
        if scope.derived and not scope.star and not scope.later:
            outer = scopes[-2]
            item = FromItem(b"", frozenset(filter(None, scope.outputs)), None)
            if self.choices.missing(outer.refs, (*outer.from_items, item)) is None:
                return None
        return scopes

    def _joinable(self, scopes: Scopes) -> Scopes | None:
        """Before another table: whether any fits."""
        scopes = with_values(scopes, joining=True)
        return scopes if self.names("table", scopes).any() else None

    def _plain(self, scopes: Scopes) -> Scopes | None:
        """A table or query without an alias."""
        item = scopes[-1].from_items[-1]
        if item.table is None:
            return self._named(scopes, b"")
        return self._named(scopes, item.table)

    def _aliasable(self, scopes: Scopes) -> Scopes | None:
        """Before AS: whether any alias may follow."""
        scopes = with_values(scopes, aliased=True)
        return scopes if self.fresh("alias", scopes) or self.names("alias", scopes).any() else None

    def _named(self, scopes: Scopes, name: Name) -> Scopes | None:
        scope = scopes[-1]
        others, item = scope.from_items[:-1], scope.from_items[-1]
        if any(name == other.name for other in others if name):
            return None
        from_items = (*others, item._replace(name=name))
        missing = self.choices.missing(scope.refs, from_items)
        if missing is None:
            return None
        pending = self.choices.pending_qualifiers(scope.refs, others)
        if item.table in pending and name not in (item.table, *pending):
            return None  # SELECT has named the table by its own name
        before = self.choices.missing(scope.refs, others)
        # From the third on each has to give what is missing: else FROM has no end.
        if len(from_items) > MAX_IDLE and before and missing >= before:
            return None
        return with_values(scopes, from_items=from_items, aliased=False)

    def _joined(self, scopes: Scopes) -> Scopes | None:
        """The end of FROM: every reference has its one meaning."""
        scope = scopes[-1]
        if self.choices.missing(scope.refs, scope.from_items) != 0:
            return None
        if scope.star and scope.repeat and tables_of(scope.from_items) != scope.repeat:
            return None
        return with_values(
            scopes,
            phase="where",
            refs=frozenset(),
            from_items=tuple(
                sorted(scope.from_items, key=lambda item: (item.name, item.table or b""))
            ),
            repeat=tables_of(scope.from_items) if scope.star else (),
            outputs=(),
            produced=scope.produced if scope.later else _produced(scope),
        )

    def _follows_keys(self, scopes: Scopes) -> bool:
        """Whether FROM is joined along keys; what a query in FROM gives has none."""
        return bool(self.links) and None not in tables_of(scopes[-1].from_items)

    # Lookups

    def _columns(self, scopes: Scopes) -> Names:
        scope = scopes[-1]
        if scope.phase == "select":
            return Names(self.columns, lambda column: self._early(scopes, (None, column)))
        if scope.phase == "on":
            columns = unique_columns(scope.from_items)
            return Names(columns, lambda column: self._early(scopes, (None, column)))
        columns = set(_visible_columns(scopes))
        if scope.phase in ("having", "order") and not scope.inside:
            columns |= scope.labels
        return Names(sorted(columns), lambda column: (scopes,))

    def _early(self, scopes: Scopes, ref: Ref) -> tuple[Scopes, ...]:
        """The scopes after a column that is named while FROM is open."""
        scope = scopes[-1]
        refs = scope.refs | {ref}
        if ref in scope.refs or self.choices.missing(refs, scope.from_items) is not None:
            return (with_values(scopes, refs=refs, qualifier=None, last=ref[1]),)
        return ()

    def _qualifiers(self, scopes: Scopes) -> Names:
        scope = scopes[-1]
        if scope.phase == "select":
            names = {*self.tables, *_early_aliases(scope.refs)}
        else:
            names = {item.name for scope in _seen(scopes) for item in scope.from_items if item.name}

        def after(name: Name) -> tuple[Scopes, ...]:
            qualified = with_values(scopes, qualifier=name)
            return (qualified,) if self.names("member", qualified).any() else ()

        return Names(sorted(names), after)

    def _members(self, scopes: Scopes) -> Names:
        scope = scopes[-1]
        name = scope.qualifier
        if scope.phase == "select":
            columns = sorted(self.tables[name]) if name in self.tables else self.columns
            return Names(columns, lambda column: self._early(scopes, (name, column)))
        items = (item for seen in _seen(scopes) for item in seen.from_items if item.name == name)
        item = next(items, None)
        after = (with_values(scopes, qualifier=None),)
        return Names(sorted(item.columns) if item else (), lambda column: after)

    def _tables(self, scopes: Scopes) -> Names:
        scope = scopes[-1]
        if len(scope.from_items) >= MAX_FROM_ITEMS:
            return Names((), lambda table: ())
        follows = scope.repeat if scope.star else ()
        missing = self.choices.missing(scope.refs, scope.from_items)
        follows_keys, present = self._follows_keys(scopes), frozenset(tables_of(scope.from_items))

        def after(table: Name) -> tuple[Scopes, ...]:
            item = FromItem(None, self.choices.tables[table], table)
            from_items = (*scope.from_items, item)
            if follows and tables_of(from_items) != follows[: len(from_items)]:
                return ()
            if follows_keys and not self.links.joins(present, table):
                return ()
            needed = self.choices.fewest(scope.refs, from_items)
            if needed is None or (missing and needed >= missing and len(from_items) > MAX_IDLE):
                return ()
            return (with_values(scopes, from_items=from_items, joining=False),)

        return Names(sorted(self.tables), after)

    def _aliases(self, scopes: Scopes) -> Names:
        """The aliases that SELECT has used and nothing has introduced yet.

        Along keys also the numbered ones, and there are no others: ON has to repeat them, for
        which there has to be room. A table that only links others keeps its name while SELECT's
        are to come.
        """
        scope = scopes[-1]
        names = set(self.choices.pending_qualifiers(scope.refs, scope.from_items))
        if self.links and not any(map(number, names)):
            names |= set(EARLY_ALIASES)
        return self._names_for_last(scopes, names - self.tables.keys())

    def _short_aliases(self, scopes: Scopes) -> Names:
        """The aliases that may stand without AS."""
        return self._names_for_last(scopes, EARLY_ALIASES)

    def _names_for_last(self, scopes: Scopes, names: Iterable[Name]) -> Names:
        def after(name: Name) -> tuple[Scopes, ...]:
            named = self._named(scopes, name)
            return () if named is None else (named,)

        return Names(sorted(names), after)

    def _ends(self, scopes: Scopes) -> Names:
        """The tables that one side of a link may be of."""
        names = {name for name, _ in self._open_ends(scopes[-1])}
        return Names(sorted(names), lambda name: (with_values(scopes, qualifier=name),))

    def _keys(self, scopes: Scopes) -> Names:
        """The columns that it may be."""
        scope = scopes[-1]

        def after(column: Name) -> tuple[Scopes, ...]:
            end = (scope.qualifier, column)
            if scope.half is None:
                return (with_values(scopes, qualifier=None, half=end),)
            linked = scope.linked | {frozenset((scope.half, end))}
            return (with_values(scopes, qualifier=None, half=None, linked=linked),)

        columns = {column for name, column in self._open_ends(scope) if name == scope.qualifier}
        return Names(sorted(columns), after)

    def _open_ends(self, scope: QueryScope) -> frozenset[End]:
        """The columns that link the last table to one before it, by what names the tables."""
        last = scope.from_items[-1]
        links = (
            frozenset(((item.name, mine), (last.name, its)))
            for item in scope.from_items[:-1]
            for mine, its in self.links.pairs(item.table, last.table)
        )
        # A key of several columns is a link for each; none of them is in two.
        taken = frozenset().union(*scope.linked)
        fitting = (
            link
            for link in links
            if not link & taken and (scope.half is None or scope.half in link)
        )
        return frozenset().union(*(link - {scope.half} for link in fitting))

    def _results(self, scopes: Scopes) -> Names:
        return Names(sorted(scopes[-1].results), lambda name: (scopes,))


def with_prefix(names: Sequence[Name], text: bytes) -> Iterator[Name]:
    """Those of sorted names that begin with `text`."""
    for place in range(bisect.bisect_left(names, text), len(names)):
        if not names[place].startswith(text):
            return
        yield names[place]


def _early_aliases(refs: frozenset[Ref]) -> Iterator[Name]:
    """The aliases that SELECT may use next."""
    numbers = [count for count in (number(qualifier) for qualifier, _ in refs) if count]
    for name in EARLY_ALIASES:
        own = number(name)
        if not numbers or min(numbers) - MAX_LEAP <= own <= max(numbers) + MAX_LEAP:
            yield name


def _label(scopes: Scopes, name: Name) -> Scopes:
    scope = scopes[-1]
    return with_values(scopes, labels=scope.labels | {name}, outputs=(*scope.outputs[:-1], name))


def _seen(scopes: Scopes) -> Iterator[QueryScope]:
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
        yield from (name for name in unique_columns(scope.from_items) if name not in hidden)
        hidden.update(*(item.columns for item in scope.from_items))


def _produced(scope: QueryScope) -> frozenset[Name]:
    named = frozenset(filter(None, scope.outputs))
    return named.union(*(item.columns for item in scope.from_items)) if scope.star else named

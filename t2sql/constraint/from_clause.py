"""Which tables FROM can name so that every column of the select list has one meaning."""

import functools
import re
from typing import NamedTuple

# Names are bytes: UTF-8, ASCII letters in lower case.
Name = bytes
# The tables that a qualifier may stand for which FROM has not introduced yet.
Pending = tuple[Name, ...]
# A column that was named before its table: the qualifier, None without; b"*" for all.
Ref = tuple[Name | None, Name]

# FROM may name no more.
MAX_FROM_ITEMS = 8
# How many tables to look for besides those that are qualified.
MAX_MORE = 4
_NUMBERED = re.compile(rb"t([1-9]\d?)")


class FromItem(NamedTuple):
    """A table or a query in FROM.

    Attributes:
      name: what qualifies its columns; b"" for nothing, None while it is not known yet.
      columns: its columns' names.
      table: the table's own name; None for a query.
    """

    name: Name | None
    columns: frozenset[Name]
    table: Name | None


def number(name: Name | None) -> int | None:
    """The number of an alias such as T1; None for any other name."""
    match = _NUMBERED.fullmatch(name or b"")
    return int(match[1]) if match else None


def numbered(count: int) -> Name:
    """The alias of a number."""
    return b"t%d" % count


def _turn(
    numbers: set[int], from_items: tuple[FromItem, ...], *, apart: bool = False
) -> int | None:
    """The number of the next numbered alias; 0 where any may come, None where order is broken.

    Numbered aliases name the items of a FROM one after the other, T1 before T2: nearly all
    queries are written so (of 3,402 of Spider's that number them all but 2), and a text that
    is written from left to right depends on it. What SELECT calls T1 is then known to be the
    first item.

    Args:
      numbers: of the aliases that SELECT has used.
      from_items: so far; the names of all are known.
      apart: whether items without a number may stand between two that have one.
    """
    last = 0
    for item in from_items:
        waiting = [number_ for number_ in numbers if number_ > last]
        own = number(item.name)
        if own is None:
            fits = apart and last
        else:
            fits = own == last + 1 if last else not waiting or own <= min(waiting)
        if waiting and not fits:
            return None
        last = max(last, own or 0)
    return last + 1 if last else 0


def _in_turn(name: Name) -> tuple[int, Name]:
    """Sorts qualifiers as FROM names them: first those with a number."""
    return number(name) or 100, name


class Choices:
    """Searches the tables of a schema for those that references need.

    Args:
      tables: each table's columns.

    Attributes:
      tables: each table's columns.
      having: each column's tables.
      missing: as `_missing`, kept.
    """

    # Whether items without a number may stand between two that have one.
    _apart = False

    def __init__(self, tables: dict[Name, tuple[Name, ...]]):
        self.tables = {table: frozenset(columns) for table, columns in tables.items()}
        self.having: dict[Name, tuple[Name, ...]] = {}
        for table, columns in tables.items():
            for column in columns:
                self.having[column] = (*self.having.get(column, ()), table)
        # Columns that the same tables have; any of them may stand for another in a search.
        alike: dict[tuple[Name, ...], list[Name]] = {}
        for column in sorted(self.having):
            alike.setdefault(self.having[column], []).append(column)
        self._alike = {column: alike[having] for column, having in self.having.items()}
        self.missing = functools.lru_cache(maxsize=10_000)(self._missing)
        self._kept_more = functools.lru_cache(maxsize=10_000)(self._more)
        self._fitting = functools.lru_cache(maxsize=2_000)(self._find_fitting)

    def pending_qualifiers(
        self, refs: frozenset[Ref], from_items: tuple[FromItem, ...]
    ) -> tuple[Name, ...]:
        """The qualifiers that FROM has not introduced, in order; numbered ones without a gap."""
        named = {item.name for item in from_items}
        pending = {qualifier for qualifier, _ in refs if qualifier} - named
        numbers = {count for count in map(number, pending) if count}
        if numbers:
            known = tuple(item for item in from_items if item.name is not None)
            turn = _turn(numbers, known, apart=self._apart) or 1
            pending |= {numbered(count) for count in range(turn, max(numbers))}
        return tuple(sorted(pending))

    def fewest(
        self, refs: frozenset[Ref], from_items: tuple[FromItem, ...], *, aliased: bool = False
    ) -> int | None:
        """As `missing`, where the last item may not have its name yet: with the best one.

        Where it is `aliased` that is not its table's own.
        """
        if not from_items or from_items[-1].name is not None:
            return self.missing(refs, from_items)
        *others, last = from_items
        counts = [
            self.missing(refs, (*others, last._replace(name=name)))
            for name in (b"", *self.pending_qualifiers(refs, from_items))
            if name not in self.tables or (name == last.table and not aliased)
        ]
        return min((count for count in counts if count is not None), default=None)

    def _missing(self, refs: frozenset[Ref], from_items: tuple[FromItem, ...]) -> int | None:
        """The fewest tables to add to `from_items` so that each of `refs` has one meaning.

        None where no choice of up to `MAX_MORE` tables besides the qualified ones does.
        """
        named = {item.name: item for item in from_items if item.name}
        numbers = {count for count in (number(qualifier) for qualifier, _ in refs) if count}
        turn = _turn(numbers, from_items, apart=self._apart)
        if turn is None:
            return None
        waiting = {count for count in numbers if count >= turn}
        pending: dict[Name, set[Name]] = {}
        if waiting:
            between = range(turn or min(waiting), max(waiting))
            pending |= {numbered(count): set() for count in between}
        for qualifier, column in refs:
            if qualifier in named:
                if column != b"*" and column not in named[qualifier].columns:
                    return None
            elif qualifier:
                pending.setdefault(qualifier, set()).add(column)
        bare = frozenset(column for qualifier, column in refs if not qualifier)
        covered = [column for item in from_items for column in item.columns & bare]
        if len(covered) != len(set(covered)):
            return None
        # A star alone, or a constant, needs some table too.
        least = 0 if from_items or pending or bare else 1
        present = frozenset(item.table for item in from_items)
        if None not in present:
            bare, covered = self._generalised(bare, covered)
        qualified = (
            self._fitting(name if name in self.tables else None, frozenset(pending[name]))
            for name in sorted(pending, key=_in_turn)
        )
        more = self._kept_more(present, tuple(qualified), bare, frozenset(covered))
        if more is None or len(from_items) + more > MAX_FROM_ITEMS:
            return None
        return max(least, more)

    def _generalised(self, bare, covered) -> tuple[frozenset[Name], frozenset[Name]]:
        """The columns with the first of those alike in their place: fewer searches are new."""
        general: dict[Name, int] = {}
        for column in bare:
            first = self._alike[column][0]
            general[first] = general.get(first, 0) + 1
        firsts = {self._alike[column][0] for column in covered}
        covered = {column for first in firsts for column in self._alike[first][: general[first]]}
        return (
            frozenset(c for first, count in general.items() for c in self._alike[first][:count]),
            frozenset(covered),
        )

    def _more(
        self, present: frozenset[Name | None], pending: tuple[Pending, ...], bare, covered
    ) -> int | None:
        """Tables for the qualifiers, one by one, then for the columns without."""
        if not pending:
            return self._cover(bare, covered)
        tables, *rest = pending
        ways = {self.tables[table] & bare for table in tables}
        counts = [
            self._kept_more(present, tuple(rest), bare, covered | way)
            for way in ways
            if not way & covered
        ]
        counts = [count for count in counts if count is not None]
        return 1 + min(counts) if counts else None

    def _find_fitting(self, table: Name | None, columns: frozenset[Name]) -> Pending:
        """The tables that a qualifier may stand for; `table` where it is one's name."""
        tables = self.tables if table is None else (table,)
        columns -= {b"*"}
        return tuple(table for table in tables if columns <= self.tables[table])

    def _cover(self, bare: frozenset[Name], covered: frozenset[Name]) -> int | None:
        """The fewest tables that hold each column of `bare - found` once and no other of it."""
        ways = {table & bare for table in self.tables.values()} - {frozenset()}
        reached = {covered}
        for count in range(MAX_MORE + 1):
            if bare in reached:
                return count
            reached = {have | way for have in reached for way in ways if not have & way}
        return None

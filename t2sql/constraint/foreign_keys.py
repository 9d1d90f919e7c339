"""Along which columns the tables of a schema are joined: those that its foreign keys make equal."""

import functools
import itertools
import operator
from collections.abc import Iterable, Iterator

from t2sql.constraint.from_clause import MAX_FROM_ITEMS, MAX_MORE, Choices, Name, Pending

# Of the tables that a column may be of so many are tried; there may be dozens with a "name".
_MAX_WAYS = 4
# No search looks further: as many tables as may be added.
_MAX_BETWEEN = MAX_FROM_ITEMS + MAX_MORE
# A table's column.
End = tuple[Name, Name]


class Links:
    """The joins along keys.

    Two columns are linked where a chain of foreign keys leads from one to the other: both of
    two columns that refer to a third are linked to each other too. Tables that no chain
    connects at all are open: any of their columns may be joined, for the keys that a schema
    declares are not always all.

    Args:
      tables: each table's columns.
      keys: the foreign keys, each as a column and the one that it refers to.

    Attributes:
      pairs: the columns of two tables that may be set equal, one of the first and one of the
        second each; of a table and itself no column twice.
    """

    def __init__(self, tables: dict[Name, tuple[Name, ...]], keys: Iterable[tuple[End, End]]):
        self._tables = tables
        keys = [pair for pair in keys if all(column in tables.get(t, ()) for t, column in pair)]
        self._group = _groups(keys)
        connected = _groups([(one, other) for (one, _), (other, _) in keys])
        self._part = {table: connected.get(table, table) for table in tables}
        self.pairs = functools.cache(self._find_pairs)
        ends: dict[End, list[End]] = {}
        for end, group in self._group.items():
            ends.setdefault(group, []).append(end)
        near: dict[Name, set[Name]] = {table: set() for table in tables}
        for linked in ends.values():
            for end in linked:
                near[end[0]].update(other[0] for other in linked if other != end)
        # Of tables that are as near, those with more keys come first, which lead further.
        order = sorted(tables, key=lambda table: (-len(near[table]), table))
        self._bits = {table: 1 << place for place, table in enumerate(order)}
        self.by_bit = {bit: table for table, bit in self._bits.items()}
        self._all = self.set_of(tables)
        self._near = {self._bits[table]: self.set_of(others) for table, others in near.items()}
        parts: dict[Name, int] = {}
        for table, part in self._part.items():
            parts[part] = parts.get(part, 0) | self._bits[table]
        self._parts = {table: parts[part] for table, part in self._part.items()}
        self._having: dict[Name, int] = {}
        for table, columns in tables.items():
            for column in columns:
                self._having[column] = self._having.get(column, 0) | self._bits[table]
        self.reach = functools.lru_cache(maxsize=5_000)(self._find_reach)

    def _find_pairs(self, one: Name, other: Name) -> frozenset[tuple[Name, Name]]:
        candidates = itertools.product(self._tables[one], self._tables[other])
        if self._part[one] != self._part[other]:
            return frozenset(candidates)
        return frozenset(
            (mine, its)
            for mine, its in candidates
            if (one, mine) != (other, its)
            and (one, mine) in self._group
            and self._group[one, mine] == self._group.get((other, its))
        )

    def set_of(self, tables: Iterable[Name]) -> int:
        """Tables as a set of bits, the lowest for the one with the most keys."""
        return functools.reduce(operator.or_, (self._bits[table] for table in tables), 0)

    def joins(self, present: frozenset[Name], table: Name) -> bool:
        """Whether a table can be joined to one of those in FROM, or FROM is empty."""
        return self.between(present, table, frozenset()) == 0

    def between(self, present: frozenset[Name], table: Name, barred: frozenset[Name]) -> int | None:
        """The fewest tables that have to stand between those in FROM and another one.

        Args:
          present: the tables in FROM.
          table: the other one.
          barred: columns that none of the tables between them may have.

        Returns:
          None where none lead there, or more than any search may add.
        """
        bit = self._bits[table]
        reach = self.reach(present, barred)
        return next((count for count, tables in enumerate(reach) if tables & bit), None)

    def _find_reach(self, present: frozenset[Name], barred: frozenset[Name]) -> list[int]:
        """The tables for which `between` is 0, at most 1, at most 2, and so on."""
        passed = frontier = self.set_of(present)
        parts = functools.reduce(operator.or_, (self._parts[table] for table in present), 0)
        having = functools.reduce(operator.or_, (self._having.get(c, 0) for c in barred), 0)
        reached, reach = self._all & ~parts, []
        for _ in range(_MAX_BETWEEN):
            near = functools.reduce(operator.or_, (self._near[bit] for bit in bits(frontier)), 0)
            reached |= near
            reach.append(reached)
            frontier = near & ~passed & ~having
            passed |= near
            if not frontier:
                break
        return reach

    def steps(
        self, present: frozenset[Name], table: Name, barred: frozenset[Name]
    ) -> Iterator[Name]:
        """The tables that may come first of those `between`."""
        count = self.between(present, table, barred)
        tables = self.set_of(present)
        part = (self._near[bit] for bit in bits(tables & self._parts[table]))
        near = functools.reduce(operator.or_, part, 0) & ~tables
        for bit in bits(near):
            step = self.by_bit[bit]
            closer = self.between(present | {step}, table, barred) == count - 1
            if closer and barred.isdisjoint(self._tables[step]):
                yield step


def bits(tables: int) -> Iterator[int]:
    """The bits of a set, the lowest first."""
    while tables:
        lowest = tables & -tables
        yield lowest
        tables ^= lowest


class LinkedChoices(Choices):
    """Searches for the tables that references need, with those that link them to each other.

    What it finds can be written so: each table, in turn, is linked to one before it.
    """

    # A table that links two others has no place among what SELECT has numbered.
    _apart = True

    def __init__(self, tables: dict[Name, tuple[Name, ...]], links: Links):
        super().__init__(tables)
        self._links = links
        self._set_of = functools.lru_cache(maxsize=2_000)(links.set_of)
        self._fits = functools.lru_cache(maxsize=20_000)(self._find)

    def _more(
        self,
        present: frozenset[Name | None],
        pending: tuple[Pending, ...],
        bare: frozenset[Name],
        covered: frozenset[Name],
    ) -> int | None:
        for spare in range(MAX_MORE + 1):
            if self._fits(present, pending, bare, covered, spare):
                return len(pending) + spare
        return None

    def _find(self, present, pending, bare, covered, spare: int) -> bool:
        """Whether `spare` tables are enough besides those of the qualifiers."""
        if (
            present
            and None not in present
            and self._is_too_far(present, pending, bare, covered, spare)
        ):
            return False
        if pending:
            tables, *rest = pending
        elif missing := bare - covered:
            tables, rest = min((self.having[column] for column in missing), key=_by_size), ()
        else:
            return True
        left = spare if pending else spare - 1  # with the table itself in its place
        for between, table in self._nearest(present, tables, bare, covered, left):
            shared = self.tables[table] & bare
            if not between:
                after = [(present | {table}, tuple(rest), bare, covered | shared, left)]
            else:
                steps = self._links.steps(present, table, bare)
                after = [(present | {step}, pending, bare, covered, spare - 1) for step in steps]
            if any(self._fits(*choice) for choice in after):
                return True
        return False

    def _is_too_far(self, present, pending, bare, covered, spare: int) -> bool:
        """Whether a table that has to come is further than the tables that come before it lead."""
        needed = (*pending, *(self.having[column] for column in bare - covered))
        before = len(pending) + spare - 1
        if not needed or before < 0:
            return bool(needed)
        reach = self._links.reach(present, frozenset())
        near = reach[min(before, len(reach) - 1)]
        return any(not near & self._set_of(tables) for tables in needed)

    def _nearest(
        self, present, tables: Pending, bare: frozenset[Name], covered: frozenset[Name], most: int
    ) -> list[tuple[int, Name]]:
        """The first of the tables that may come, each with how many have to stand before it.

        These are at `most` so many. Nearer ones first, then those with more of the columns.
        """
        candidates = self._set_of(tables)
        reach = [candidates] if None in present else self._links.reach(present, bare)
        ways: list[tuple[int, Name]] = []
        for between, near in enumerate(reach[: most + 1]):
            level = []
            for bit in bits(candidates & near):
                table = self._links.by_bit[bit]
                shared = self.tables[table] & bare
                if not shared & covered:
                    level.append((-len(shared), bit, table))
                if not bare and len(ways) + len(level) == _MAX_WAYS:
                    break
            ways += [(between, table) for *_, table in sorted(level)]
            candidates &= ~near
            if len(ways) >= _MAX_WAYS:
                break
        return ways[:_MAX_WAYS]


def _by_size(tables: tuple[Name, ...]) -> tuple:
    return len(tables), tables


def _groups(pairs: Iterable[tuple]) -> dict:
    """Which of the things that are paired belong together: each one's group, by one of them."""
    group: dict = {}
    for one, other in pairs:
        kept, gone = group.setdefault(one, one), group.setdefault(other, other)
        group = {member: kept if its == gone else its for member, its in group.items()}
    return group

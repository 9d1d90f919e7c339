"""Along which columns the tables of a schema are joined: those that its foreign keys make equal."""

import functools
import itertools
from collections.abc import Iterable, Iterator

from t2sql.constraint.from_clause import MAX_FROM_ITEMS, MAX_MORE, Choices, Name, Pending

# Of the tables that a column may be of so many are tried; there may be dozens with a "name".
_MAX_WAYS = 4
# No search looks further: as many tables as may be added.
_MAX_BETWEEN = MAX_FROM_ITEMS + MAX_MORE
# Where a column may be of more tables than these, one of them is near.
_FEW = 3
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
        self._passable = functools.lru_cache(maxsize=256)(self._find_passable)
        self._distances = functools.lru_cache(maxsize=1_000)(self._find_distances)
        ends: dict[End, list[End]] = {}
        for end, group in self._group.items():
            ends.setdefault(group, []).append(end)
        self._near: dict[Name, frozenset[Name]] = dict.fromkeys(tables, frozenset())
        for linked in ends.values():
            for end in linked:
                self._near[end[0]] |= {other[0] for other in linked if other != end}

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

    def degree(self, table: Name) -> int:
        """How many tables a table is linked to."""
        return len(self._near[table])

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
        parts, distances = self._distances(present, barred)
        return distances.get(table) if self._part[table] in parts else 0

    def _find_distances(
        self, present: frozenset[Name], barred: frozenset[Name]
    ) -> tuple[frozenset[Name], dict[Name, int]]:
        """The connected parts of the tables in FROM, and `between` of the tables in these."""
        distances: dict[Name, int] = {}
        passable = self._passable(barred)
        frontier, passed = present, set(present)
        for count in range(_MAX_BETWEEN):
            near = frozenset().union(*(self._near[table] for table in frontier))
            for table in near:
                distances.setdefault(table, count)
            frontier = (near - passed) & passable
            passed |= near
            if not frontier:
                break
        return frozenset(self._part[table] for table in present), distances

    def _find_passable(self, barred: frozenset[Name]) -> frozenset[Name]:
        """The tables that have none of the columns."""
        return frozenset(t for t, columns in self._tables.items() if barred.isdisjoint(columns))

    def steps(
        self, present: frozenset[Name], table: Name, barred: frozenset[Name]
    ) -> Iterator[Name]:
        """The tables that may come first of those `between`."""
        count = self.between(present, table, barred)
        part = (each for each in present if self._part[each] == self._part[table])
        near = frozenset().union(*(self._near[each] for each in part)) - present
        for step in sorted(near):
            closer = self.between(present | {step}, table, barred) == count - 1
            if closer and barred.isdisjoint(self._tables[step]):
                yield step


class LinkedChoices(Choices):
    """Searches for the tables that references need, with those that link them to each other.

    What it finds can be written so: each table, in turn, is linked to one before it.
    """

    # A table that links two others has no place among what SELECT has numbered.
    _apart = True

    def __init__(self, tables: dict[Name, tuple[Name, ...]], links: Links):
        super().__init__(tables)
        self._links = links
        # Of tables that are as near, those with more keys come first, which lead further.
        by_degree = sorted(tables, key=lambda table: (-links.degree(table), table))
        self._rank = {table: place for place, table in enumerate(by_degree)}
        self._fits = functools.lru_cache(maxsize=20_000)(self._find)

    def _more(
        self,
        present: frozenset[Name | None],
        pending: tuple[Pending, ...],
        bare: frozenset[Name],
        found: frozenset[Name],
    ) -> int | None:
        for spare in range(MAX_MORE + 1):
            if self._fits(present, pending, bare, found, spare):
                return len(pending) + spare
        return None

    def _find(self, present, pending, bare, found, spare: int) -> bool:
        """Whether `spare` tables are enough besides those of the qualifiers."""
        if (
            present
            and None not in present
            and self._is_too_far(present, pending, bare, found, spare)
        ):
            return False
        if pending:
            tables, *rest = pending
        elif missing := bare - found:
            tables, rest = min((self.having[column] for column in missing), key=_by_size), ()
        else:
            return True
        left = spare if pending else spare - 1  # with the table itself in its place
        for between, table in self._nearest(present, tables, bare, found, left):
            shared = self.tables[table] & bare
            if not between:
                after = [(present | {table}, tuple(rest), bare, found | shared, left)]
            else:
                steps = self._links.steps(present, table, bare)
                after = [(present | {step}, pending, bare, found, spare - 1) for step in steps]
            if any(self._fits(*choice) for choice in after):
                return True
        return False

    def _is_too_far(self, present, pending, bare, found, spare: int) -> bool:
        """Whether a table that has to come is further than the tables that come before it lead."""
        before = len(pending) + spare - 1
        needed = [tables for tables in pending if len(tables) <= _FEW]
        needed += [self.having[c] for c in bare - found if len(self.having[c]) <= _FEW]
        nothing = frozenset()
        return any(
            all(
                (between := self._links.between(present, table, nothing)) is None
                or between > before
                for table in tables
            )
            for tables in needed
        )

    def _nearest(
        self, present, tables: Pending, bare: frozenset[Name], found: frozenset[Name], most: int
    ) -> list[tuple[int, Name]]:
        """The first of the tables that may come, each with how many have to stand before it.

        These are at `most` so many. Nearer ones first, then those with more of the columns.
        """
        ways = []
        for table in tables:
            between = 0 if None in present else self._links.between(present, table, bare)
            if between is not None and between <= most:
                shared = self.tables[table] & bare
                if not shared & found:
                    ways.append((between, -len(shared), self._rank[table], table))
        return [(between, table) for between, *_, table in sorted(ways)[:_MAX_WAYS]]


def _by_size(tables: tuple[Name, ...]) -> tuple:
    return len(tables), tables


def _groups(pairs: Iterable[tuple]) -> dict:
    """Which of the things that are paired belong together: each one's group, by one of them."""
    group: dict = {}
    for one, other in pairs:
        kept, gone = group.setdefault(one, one), group.setdefault(other, other)
        group = {each: kept if its == gone else its for each, its in group.items()}
    return group

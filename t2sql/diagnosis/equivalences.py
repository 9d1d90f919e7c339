"""Pairs of SELECTs that ask one question in two spellings, rewritten to one spelling.

Otherwise the comparison would only find how the two are written. Where the spellings do differ,
in ties or duplicates, a finding says so.
"""

import dataclasses
import itertools
from collections.abc import Iterator

from t2sql.data.schema import Schema
from t2sql.diagnosis import anti_joins, superlatives
from t2sql.diagnosis.comparisons import ordering
from t2sql.diagnosis.conditions import Atom
from t2sql.diagnosis.description import Core
from t2sql.diagnosis.findings import Finding
from t2sql.diagnosis.superlatives import Extreme
from t2sql.diagnosis.terms import ColumnTerm, aggregates_of

# Conditions tried as joins; each may have more below it.
_MAX_JOINS = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Equivalence:
    """A pair to compare instead of the two SELECTs as they are written.

    Attributes:
      gold: gold's SELECT.
      predicted: the predicted SELECT, spelled as gold.
      said: what the spelling changes.
      rows: a subquery of the prediction that is gone, and those that gold could have there.
    """

    gold: Core
    predicted: Core
    said: tuple[Finding, ...] = ()
    rows: tuple[Core, tuple[Core, ...]] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class EquivalenceFinder:
    """Finds the pairs in one spelling.

    Attributes:
      schema: the schema of both.
      rows_count: whether duplicates matter.
      strict: whether to tell apart what most often means the same.
    """

    schema: Schema
    rows_count: bool
    strict: bool

    def pairs(self, gold: Core, predicted: Core) -> Iterator[Equivalence]:
        """Yields the pairs to compare besides the SELECTs as they are written."""
        yield from self._extremes(gold, predicted)
        yield from self._joins(gold, predicted)
        yield from self._keys(gold, predicted)

    def _extremes(self, gold: Core, predicted: Core) -> Iterator[Equivalence]:
        """Where both take an extreme in two spellings: what is left of them."""
        extremes = superlatives.taken(gold), superlatives.taken(predicted)
        if None in extremes or superlatives.spelled_alike(*extremes):
            return
        meanings = [extreme.meaning(self.schema) for extreme in extremes]
        said: tuple[Finding, ...] = ()
        if meanings[0] != meanings[1]:
            said = (ordering.another_extreme(*extremes),)
        elif self.strict:
            said = tuple(ordering.compare_ties(*extremes))
        rows = _rows(*extremes) if meanings[0] == meanings[1] else None
        rest = _returning(predicted, extremes[1], extremes[0])
        gold_rest = _returning(gold, *extremes)
        for core in superlatives.with_conditions_of(gold_rest, extremes[0].inner):
            yield Equivalence(gold=core, predicted=rest, said=said, rows=rows)

    def _joins(self, gold: Core, predicted: Core) -> Iterator[Equivalence]:
        """Where one tests by IN what the other one joins: both as joins."""
        if len(gold.sources) < len(predicted.sources):
            nested, joined = gold, predicted
        elif len(predicted.sources) < len(gold.sources):
            nested, joined = predicted, gold
        else:
            return
        for core, atom in itertools.islice(anti_joins.as_joins(nested), _MAX_JOINS):
            said = self._repeated(nested, joined, atom, is_gold=nested is gold)
            core = self._grouped_alike(core, joined, atom)
            pair = (core, predicted) if nested is gold else (gold, core)
            yield Equivalence(gold=pair[0], predicted=pair[1], said=said)
        for core in itertools.islice(anti_joins.extreme_by_key(nested, joined), _MAX_JOINS):
            pair = (core, predicted) if nested is gold else (gold, core)
            yield Equivalence(gold=pair[0], predicted=pair[1])

    def _grouped_alike(self, core: Core, joined: Core, atom: Atom) -> Core:
        """The IN as a join, grouped as the other SELECT where that groups by the row tested."""
        of_row = [
            isinstance(key, ColumnTerm) and key.table_use == atom.left.table_use
            for key in joined.group
        ]
        if self.strict or not atom.right.query.group or not of_row or not all(of_row):
            return core
        return dataclasses.replace(core, group=joined.group)

    def _repeated(
        self, nested: Core, joined: Core, atom: Atom, *, is_gold: bool
    ) -> tuple[Finding, ...]:
        """A finding that rows come more or less often, where duplicates matter."""
        query = atom.right.query
        if self.strict and anti_joins.takes_first(atom):
            first = f"tests {atom} for the first row of the subquery alone, where gold joins all"
            if is_gold:
                first = f"joins all rows, where gold tests {atom} for the first one alone"
            return (Finding("wrong_nesting", first),)
        if query.group:
            if not any(map(aggregates_of, nested.items)):
                how = f"joins and groups where gold tests {atom}"
                if not is_gold:
                    how = f"tests {atom}, where gold joins and groups"
                return (Finding("wrong_nesting", how),) if self.strict else ()
            message = f"computes over all rows with {atom}, where gold computes for each group"
            if is_gold:
                message = f"computes for each group, where gold computes over all rows with {atom}"
            return (Finding("wrong_nesting", message),)
        is_unique = (nested.distinct and joined.distinct) or query.sorting.limit
        if not self.rows_count or ((is_unique or self._is_key(query)) and not self.strict):
            return ()
        message = f"tests {atom}, where gold joins: each row comes once"
        if is_gold:
            message = f"joins where gold tests {atom}: a row comes once for each match"
        return (Finding("wrong_nesting", message),)

    def _is_key(self, query: Core) -> bool:
        """Whether the subquery returns the primary key of the one table that it reads."""
        (column,) = query.items
        is_key = self.schema.is_primary_key(column.table, column.name)
        return is_key and len(query.sources) == 1

    def _keys(self, gold: Core, predicted: Core) -> Iterator[Equivalence]:
        """Where one reads a table in a subquery once more, to test another column than its key."""
        sides = [anti_joins.by_keys(core, self.schema) for core in (gold, predicted)]
        if (sides[0] == gold) != (sides[1] == predicted):
            message = "tests membership by another column than gold, where it may not be unique"
            said = (Finding("wrong_nesting", message),) if self.strict else ()
            yield Equivalence(gold=sides[0], predicted=sides[1], said=said)


def _returning(core: Core, extreme: Extreme, other: Extreme) -> Core:
    """The SELECT without its extreme; MAX(x) becomes the x that the other one returns."""
    if extreme.form != superlatives.AGGREGATE:
        return extreme.rest
    is_returned = superlatives.bare(extreme.term) in map(superlatives.bare, other.rest.items)
    return extreme.rest if is_returned else core


def _rows(gold: Extreme, predicted: Extreme) -> tuple[Core, tuple[Core, ...]] | None:
    """Among which rows a subquery of the prediction looks for the extreme, and gold may."""
    inner = predicted.inner
    if inner is None or not all(source.table for source in inner.sources):
        return None
    again = superlatives.taken(inner)
    while again and superlatives.is_of_one(again, predicted):
        # The extreme among the rows that have the extreme.
        inner = again.rest
        again = superlatives.taken(inner)
    rows = Core(sources=inner.sources, ties=inner.ties, where=inner.where)
    if gold.inner is not None:
        gold = dataclasses.replace(gold, rest=gold.inner)
    return rows, tuple(superlatives.rows_taken_from(gold))

"""Two SELECTs brought to one spelling, where they put the same question in two.

What a reviewer reads as the same has to be compared as the same, or all that is found is how the
two are written. What sets the spellings apart all the same is said beside.
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

# Conditions tried as joins; each may have more below it.
_MAX_JOINS = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Respelling:
    """A pair to compare in the place of another.

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
class Respeller:
    """Finds other spellings.

    Attributes:
      schema: the schema of both.
      rows_count: whether duplicates matter.
      strict: whether to tell apart what most often means the same.
    """

    schema: Schema
    rows_count: bool
    strict: bool

    def respelled(self, gold: Core, predicted: Core) -> Iterator[Respelling]:
        """Yields the pairs that are to be compared besides this one."""
        yield from self._extremes(gold, predicted)
        yield from self._joins(gold, predicted)
        yield from self._keys(gold, predicted)

    def _extremes(self, gold: Core, predicted: Core) -> Iterator[Respelling]:
        """Where both take an extreme in two spellings: what is left of them."""
        wanted, found = superlatives.taken(gold), superlatives.taken(predicted)
        if wanted is None or found is None or superlatives.spelled_alike(wanted, found):
            return
        said: tuple[Finding, ...] = ()
        if wanted.meaning(self.schema) != found.meaning(self.schema):
            said = (ordering.another_extreme(wanted, found),)
        elif self.strict:
            said = tuple(ordering.compare_ties(wanted, found))
        rest = _returning(predicted, found, wanted)
        for core in superlatives.with_conditions_of(_returning(gold, wanted, found), wanted.inner):
            yield Respelling(gold=core, predicted=rest, said=said, rows=_rows(wanted, found))

    def _joins(self, gold: Core, predicted: Core) -> Iterator[Respelling]:
        """Where one tests by IN what the other one joins: both as joins."""
        sides = len(gold.sources), len(predicted.sources)
        if sides[0] < sides[1]:
            for core, atom in itertools.islice(anti_joins.as_joins(gold), _MAX_JOINS):
                message = f"joins where gold tests {atom}: a row comes once for each match"
                said = self._repeated(message, atom, gold, predicted)
                yield Respelling(gold=core, predicted=predicted, said=said)
        elif sides[1] < sides[0]:
            for core, atom in itertools.islice(anti_joins.as_joins(predicted), _MAX_JOINS):
                message = f"tests {atom}, where gold joins: each row comes once"
                said = self._repeated(message, atom, gold, predicted)
                yield Respelling(gold=gold, predicted=core, said=said)

    def _repeated(
        self, message: str, atom: Atom, gold: Core, predicted: Core
    ) -> tuple[Finding, ...]:
        """That rows come more or less often, where it counts."""
        query = atom.right.query
        is_unique = (gold.distinct and predicted.distinct) or query.sorting.limit
        if not self.rows_count or ((is_unique or self._is_key(query)) and not self.strict):
            return ()
        return (Finding("wrong_nesting", message),)

    def _is_key(self, query: Core) -> bool:
        """Whether the subquery returns the primary key of the one table that it reads."""
        (column,) = query.items
        is_key = self.schema.is_primary_key(column.table, column.name)
        return is_key and len(query.sources) == 1

    def _keys(self, gold: Core, predicted: Core) -> Iterator[Respelling]:
        """Where one reads a table in a subquery once more, to test another column than its key."""
        sides = anti_joins.by_keys(gold), anti_joins.by_keys(predicted)
        if (sides[0] == gold) != (sides[1] == predicted):
            message = "tests membership by another column than gold, where it may not be unique"
            said = (Finding("wrong_nesting", message),) if self.strict else ()
            yield Respelling(gold=sides[0], predicted=sides[1], said=said)


def _returning(core: Core, extreme: Extreme, other: Extreme) -> Core:
    """The SELECT without its extreme; MAX(x) becomes the x that the other one returns."""
    if extreme.form != superlatives.AGGREGATE:
        return extreme.rest
    is_returned = superlatives.bare(extreme.term) in map(superlatives.bare, other.rest.items)
    return extreme.rest if is_returned else core


def _rows(wanted: Extreme, found: Extreme) -> tuple[Core, tuple[Core, ...]] | None:
    """Among which rows a subquery of the prediction looks for the extreme, and gold may."""
    inner = found.inner
    if inner is None or not all(source.table for source in inner.sources):
        return None
    rows = Core(sources=inner.sources, ties=inner.ties, where=inner.where)
    if wanted.inner is not None:
        wanted = dataclasses.replace(wanted, rest=wanted.inner)
    return rows, tuple(superlatives.rows_taken_from(wanted))

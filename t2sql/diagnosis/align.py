"""Two SELECTs aligned: uses of tables matched, columns that joins make equal made one."""

import collections
import dataclasses
import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

from t2sql.data.schema import Schema
from t2sql.diagnosis import terms
from t2sql.diagnosis.description import Core
from t2sql.diagnosis.terms import Call, ColumnTerm, Literal, Nested, Star, Term
from t2sql.sql.names import fold

# Ways to match the uses of tables that are read more than once; beyond, the first is taken.
_MAX_MATCHINGS = 24

_SUBQUERY = Nested(None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlignedPair:
    """Gold's SELECT and the predicted one that is compared with it.

    Attributes:
      gold: gold's SELECT.
      predicted: the predicted SELECT; its tables' instances are numbered as in gold.
      schema: the schema of both.
      rows_count: whether duplicates among the rows matter here.
      order_counts: whether the order of the rows matters here.
      strict: whether to tell apart what most often means the same.
    """

    gold: Core
    predicted: Core
    schema: Schema
    rows_count: bool = True
    order_counts: bool = True
    strict: bool = False

    def __post_init__(self):
        object.__setattr__(self, "_tied", _tied_columns(self))

    def key(self, term: Term) -> Term:
        """Equal for terms of gold and of the prediction that mean one value."""
        if isinstance(term, ColumnTerm):
            return self._tied.get(term, term)
        if isinstance(term, Nested):
            return _SUBQUERY
        if isinstance(term, Literal) and self.strict:
            return term.exact
        if isinstance(term, Call):
            args = tuple(map(self.key, term.args))
            if not self.strict and term.name == "COUNT" and not term.distinct:
                args = (Star(),)
            return terms.call(term.name, *args, distinct=term.distinct)
        return term


def _tied_columns(pair: AlignedPair) -> dict[ColumnTerm, ColumnTerm]:
    """Each column that joins make equal to others -> one representative of them.

    Gold's joins tie columns; so do the prediction's where a foreign key backs them or one side
    is of an invented table, and the foreign key between a table that only gold reads and one that
    only the prediction reads.
    """
    backed = (
        tie
        for tie in pair.predicted.ties
        if is_foreign_key(pair.schema, tie) or any(_is_invented(pair, column) for column in tie)
    )
    parent: dict[ColumnTerm, ColumnTerm] = {}

    def root(column: ColumnTerm) -> ColumnTerm:
        while parent.setdefault(column, column) != column:
            column = parent[column]
        return column

    for tie in itertools.chain(pair.gold.ties, backed, _mistaken_keys(pair)):
        first, last = sorted(
            map(root, tie), key=lambda c: (c.table_use[0], fold(c.name), c.instance)
        )
        parent[last] = first
    return {column: root(column) for column in parent}


def _is_invented(pair: AlignedPair, column: ColumnTerm) -> bool:
    return pair.schema.table(column.table) is None


def _mistaken_keys(pair: AlignedPair) -> Iterator[frozenset[ColumnTerm]]:
    gold, predicted = (
        {source.table for source in core.sources if source.table}
        for core in (pair.gold, pair.predicted)
    )
    ends = gold - predicted, predicted - gold
    if all(ends):
        for source, target in pair.schema.foreign_keys:
            tables = source.table, target.table
            if any(a in ends[0] and b in ends[1] for a, b in (tables, tables[::-1])):
                yield frozenset((ColumnTerm(*source), ColumnTerm(*target)))


def is_foreign_key(schema: Schema, tie: Iterable[ColumnTerm]) -> bool:
    """Whether a foreign key of the schema ties the two columns."""
    ends = {(fold(column.table), fold(column.name)) for column in tie}
    return any(
        {(fold(end.table), fold(end.column)) for end in key} == ends for key in schema.foreign_keys
    )


def leftovers(
    gold: Iterable, predicted: Iterable, key: Callable[[object], Hashable]
) -> tuple[list, list]:
    """The items of gold and of the prediction without an equal on the other side."""
    unmatched = collections.defaultdict(list)
    for item in gold:
        unmatched[key(item)].append(item)
    extra = []
    for item in predicted:
        equal_items = unmatched[key(item)]
        if equal_items:
            equal_items.pop()
        else:
            extra.append(item)
    return [item for left in unmatched.values() for item in left], extra


def renumberings(gold: Core, predicted: Core) -> Iterator[Core]:
    """Yields the predicted SELECT with every numbering of its uses of one table."""
    uses = {}
    for core in (gold, predicted):
        for table, count in collections.Counter(source.table for source in core.sources).items():
            uses[fold(table)] = max(uses.get(fold(table), 0), count)
    repeated = [table for table, count in uses.items() if table and count > 1]
    if not repeated:
        yield predicted
        return
    # `product` holds all of its inputs: without the inner bound, 12 uses would fill the memory.
    matchings = (
        itertools.islice(itertools.permutations(range(uses[table])), _MAX_MATCHINGS)
        for table in repeated
    )
    choices = itertools.product(*matchings)
    for choice in itertools.islice(choices, _MAX_MATCHINGS):
        yield _renumbered(predicted, dict(zip(repeated, choice, strict=True)))


def _renumbered(core: Core, numbers: dict[str, Sequence[int]]) -> Core:
    def change(column: ColumnTerm) -> ColumnTerm:
        given = numbers.get(fold(column.table))
        if given is None or not 0 <= column.instance < len(given):
            return column
        return ColumnTerm(column.table, column.name, given[column.instance])

    return core.with_columns(change)

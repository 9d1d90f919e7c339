"""Gold and prediction compared, SELECT by SELECT."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from t2sql.data.schema import Schema
from t2sql.diagnosis import as_one_select, flatten_subqueries
from t2sql.diagnosis.align import Pair, leftovers, renumberings
from t2sql.diagnosis.comparisons import ordering, selection, tables
from t2sql.diagnosis.comparisons.filters import compare_filters, compare_having
from t2sql.diagnosis.comparisons.grouping import compare_group
from t2sql.diagnosis.description import Core, Query, SetOperation, cores
from t2sql.diagnosis.equivalences import Respeller, Respelling
from t2sql.diagnosis.findings import Finding
from t2sql.diagnosis.terms import Nested, Term, nested_of

_COMPARISONS = (
    tables.compare_tables,
    tables.compare_joins,
    selection.compare_items,
    selection.compare_distinct,
    compare_group,
)


class _Place(NamedTuple):
    """Where a query stands, and what counts there.

    Attributes:
      prefix: what messages start with.
      rows_count: whether duplicates matter.
      order_counts: whether the order of rows matters.
    """

    prefix: str = ""
    rows_count: bool = True
    order_counts: bool = True

    def within(self, prefix: str, *, rows_count: bool, order_counts: bool = False) -> "_Place":
        """A place inside of this one."""
        return _Place(self.prefix + prefix, rows_count, order_counts)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparer:
    """Compares queries over one schema.

    Attributes:
      schema: the schema of both.
      strict: whether to tell apart what most often means the same.
    """

    schema: Schema
    strict: bool = False

    def compare(self, gold: Query, predicted: Query) -> list[Finding]:
        """All that differs between two whole queries."""
        findings = self._queries(gold, predicted, _Place())
        if not any(finding.error == "misread_superlative" for finding in findings):
            findings += ordering.compare_superlative(gold, predicted, self.schema)
        return _unique(findings)

    def _queries(self, gold: Query, predicted: Query, place: _Place) -> list[Finding]:
        if isinstance(gold, SetOperation) and isinstance(predicted, SetOperation):
            return self._set_operations(gold, predicted, place)
        if isinstance(gold, Core) and isinstance(predicted, Core):
            return self._closest_cores(gold, predicted, place)
        return self._one_combined(gold, predicted, place)

    def _closest_cores(self, gold: Core, predicted: Core, place: _Place) -> list[Finding]:
        respeller = Respeller(schema=self.schema, rows_count=place.rows_count, strict=self.strict)
        ways = [self._respelled(each, place) for each in respeller.respelled(gold, predicted)]
        ways += (self._cores(gold, each, place) for each in renumberings(gold, predicted))
        if (_only_source(gold) is None) != (_only_source(predicted) is None):
            ways.append(self._wrapped(gold, predicted, place))
            counted = (
                flatten_subqueries.counted(gold) or gold,
                flatten_subqueries.counted(predicted) or predicted,
            )
            if not self.strict and counted != (gold, predicted):
                ways.append(self._closest_cores(*counted, place))
        return _fewest(ways)

    def _respelled(self, pair: Respelling, place: _Place) -> list[Finding]:
        said = [_placed(finding, place) for finding in pair.said]
        if pair.rows is not None:
            within = place.within("in the subquery: ", rows_count=False)
            predicted, choices = pair.rows
            said += _fewest(self._queries(gold, predicted, within) for gold in choices)
        return said + self._closest_cores(pair.gold, pair.predicted, place)

    def _wrapped(self, gold: Query, predicted: Query, place: _Place) -> list[Finding]:
        """One puts a SELECT around a subquery: compares that with the other query."""
        inner = _only_source(predicted)
        if inner is not None:
            message = f"puts {predicted} around the query, which gold does not"
            inside = self._queries(gold, inner, place)
        else:
            message = f"does not put {gold} around the query"
            inside = self._queries(_only_source(gold), predicted, place)
        return [_placed(Finding("wrong_nesting", message), place), *inside]

    def _set_operations(
        self, gold: SetOperation, predicted: SetOperation, place: _Place
    ) -> list[Finding]:
        all_rows = "ALL" in gold.operator + predicted.operator
        before, after = (
            place.within(f"{side} {gold.operator}: ", rows_count=all_rows)
            for side in ("before", "after")
        )
        straight = [(gold.left, predicted.left, before), (gold.right, predicted.right, after)]
        crossed = [(gold.left, predicted.right, before), (gold.right, predicted.left, after)]
        ways = [[f for pair in way for f in self._queries(*pair)] for way in (straight, crossed)]
        pair = self._pair(cores(gold)[0], cores(predicted)[0], place)
        sorting = ordering.compare_sorting(pair, gold.sorting, predicted.sorting)
        findings = [_placed(finding, place) for finding in sorting]
        if gold.operator != predicted.operator:
            instead = f"combines by {predicted.operator}; gold combines by {gold.operator}"
            findings.append(_set_finding(place, instead))
        if gold.operator == "EXCEPT" and ways[0] and not ways[1]:
            return [*findings, _set_finding(place, "takes the sides of EXCEPT the other way round")]
        findings += ways[0] if gold.operator == "EXCEPT" else _fewest(ways)
        return findings or [_placed(each, place) for each in self._columns_paired(gold, predicted)]

    def _columns_paired(self, gold: SetOperation, predicted: SetOperation) -> Iterator[Finding]:
        """Whether the columns that stand at one place of both sides are gold's."""
        paired = [_paired_items(each) for each in (gold, predicted)]
        missing, extra = leftovers(*paired, frozenset)
        if missing and extra:
            wanted, found = (" with ".join(map(str, each[0])) for each in (missing, extra))
            message = f"puts {found} in one column; gold puts {wanted}"
            yield Finding("wrong_columns", message)

    def _one_combined(self, gold: Query, predicted: Query, place: _Place) -> list[Finding]:
        """One is a SELECT, the other combines several: compared with the most alike of them."""
        core = gold if isinstance(gold, Core) else predicted
        if _only_source(core) is not None:
            return self._wrapped(gold, predicted, place)
        if isinstance(gold, SetOperation):
            message = f"is one SELECT; gold combines two by {gold.operator}"
            sides = [(side, predicted) for side in (gold.left, gold.right)]
        else:
            message = f"combines two SELECTs by {predicted.operator}; gold is one"
            sides = [(gold, side) for side in (predicted.left, predicted.right)]
        combined = _set_finding(place, message)
        apart = [[combined, *self._queries(*side, place)] for side in sides]
        return _fewest([*apart, *self._as_one(gold, predicted, place, combined)])

    def _as_one(
        self, gold: Query, predicted: Query, place: _Place, combined: Finding
    ) -> Iterator[list[Finding]]:
        """Compares the SELECT with the ones that the combined SELECTs can be written as."""
        lenient = dataclasses.replace(self, strict=False)
        is_gold = isinstance(gold, SetOperation)
        for single in as_one_select.as_one(gold if is_gold else predicted):
            distinct = (predicted if is_gold else gold).distinct
            core = dataclasses.replace(single.core, distinct=distinct)
            sides = (core, predicted) if is_gold else (gold, core)
            # What two SELECTs combine is distinct anyway.
            found = lenient._queries(*sides, place._replace(rows_count=False))
            yield found if single.is_same and not self.strict else [combined, *found]

    def _cores(self, gold: Core, predicted: Core, place: _Place) -> list[Finding]:
        pair = self._pair(gold, predicted, place)
        found = [finding for compare in _COMPARISONS for finding in compare(pair)]
        values = functools.partial(self._values, place)
        found += compare_filters(pair, values)
        found += compare_having(pair, values)
        found += ordering.compare_sorting(pair, gold.sorting, predicted.sorting)
        found = [_placed(finding, place) for finding in found]
        return (
            found + self._sources(gold, predicted, place) + self._returned(gold, predicted, place)
        )

    def _pair(self, gold: Core, predicted: Core, place: _Place) -> Pair:
        return Pair(
            gold=gold,
            predicted=predicted,
            schema=self.schema,
            rows_count=place.rows_count,
            order_counts=place.order_counts,
            strict=self.strict,
        )

    def _values(self, place: _Place, gold: Nested, predicted: Nested) -> list[Finding]:
        """Compares subqueries in conditions, where duplicates and order do not matter."""
        inner = place.within("in the subquery: ", rows_count=False)
        return self._queries(gold.query, predicted.query, inner)

    def _sources(self, gold: Core, predicted: Core, place: _Place) -> list[Finding]:
        """Compares the subqueries of FROM."""
        wanted, found = (
            [source.query for source in core.sources if source.query] for core in (gold, predicted)
        )
        return self._nested(wanted, found, place, "FROM")

    def _returned(self, gold: Core, predicted: Core, place: _Place) -> list[Finding]:
        """Compares the subqueries among what is returned."""
        wanted, found = (
            [each.query for item in core.items for each in nested_of(item)]
            for core in (gold, predicted)
        )
        return self._nested(wanted, found, place, "SELECT")

    def _nested(
        self, gold: list[Query], predicted: list[Query], place: _Place, clause: str
    ) -> list[Finding]:
        inner = place.within("in the subquery: ", rows_count=True)
        findings = [
            finding
            for wanted, found in zip(gold, predicted, strict=False)
            for finding in self._queries(wanted, found, inner)
        ]
        lacking = [f"lacks the subquery ({query}) in {clause}" for query in gold[len(predicted) :]]
        excess = [
            f"has the subquery ({query}) in {clause}, where gold has none"
            for query in predicted[len(gold) :]
        ]
        nesting = [Finding("wrong_nesting", message) for message in lacking + excess]
        return findings + [_placed(finding, place) for finding in nesting]


def _paired_items(operation: SetOperation) -> list[tuple[Term, Term]]:
    sides = (cores(side)[0].items for side in (operation.left, operation.right))
    return list(zip(*sides, strict=False))


def _only_source(query: Query) -> Query | None:
    """The subquery that is all that a SELECT reads."""
    if isinstance(query, SetOperation) or len(query.sources) != 1:
        return None
    return query.sources[0].query


def _placed(finding: Finding, place: _Place) -> Finding:
    """The finding with its place in front, unless it comes from deeper and has it."""
    if finding.message.startswith(place.prefix):
        return finding
    return dataclasses.replace(finding, message=place.prefix + finding.message)


def _set_finding(place: _Place, message: str) -> Finding:
    return Finding("wrong_set_operation", place.prefix + message)


def _fewest(ways: Iterable[list[Finding]]) -> list[Finding]:
    """The reading that finds least: the most alike ways to match two queries."""
    best = None
    for findings in ways:
        if best is None or len(findings) < len(best):
            best = findings
        if not best:
            break
    return best or []


def _unique(findings: Iterable[Finding]) -> list[Finding]:
    return list(dict.fromkeys(findings))

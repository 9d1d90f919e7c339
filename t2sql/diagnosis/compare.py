"""Gold and prediction compared, SELECT by SELECT."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from t2sql.data.schema import Schema
from t2sql.diagnosis import conditions, flatten_subqueries
from t2sql.diagnosis.align import AlignedPair, leftovers, renumberings
from t2sql.diagnosis.as_one_select import as_one_select, with_conditions_of_both
from t2sql.diagnosis.comparisons import filters, grouping, ordering, selection, tables
from t2sql.diagnosis.description import Core, Query, SetOperation, Sorting, cores, listed
from t2sql.diagnosis.equivalences import Equivalence, EquivalenceFinder
from t2sql.diagnosis.findings import Finding
from t2sql.diagnosis.lookup_joins import without_lookups
from t2sql.diagnosis.terms import Nested, aggregates_of, nested_of


class _Context(NamedTuple):
    """Where in the query a comparison stands, and what counts there.

    Attributes:
      prefix: what messages start with.
      rows_count: whether duplicates matter.
      order_counts: whether the order of rows matters.
    """

    prefix: str = ""
    rows_count: bool = True
    order_counts: bool = True

    def within(self, prefix: str, *, rows_count: bool) -> "_Context":
        """The context of a part of the query, where the order of rows never matters."""
        return _Context(self.prefix + prefix, rows_count, order_counts=False)

    def put(self, finding: Finding) -> Finding:
        """The finding with the prefix in front, unless it comes from deeper and has it."""
        if finding.message.startswith(self.prefix):
            return finding
        return dataclasses.replace(finding, message=self.prefix + finding.message)


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
        findings = self._queries(gold, predicted, _Context())
        if not any(finding.error == "misread_superlative" for finding in findings):
            findings += ordering.compare_superlative(gold, predicted, self.schema)
        return list(dict.fromkeys(findings))

    def _queries(self, gold: Query, predicted: Query, context: _Context) -> list[Finding]:
        if isinstance(gold, SetOperation) and isinstance(predicted, SetOperation):
            return self._set_operations(gold, predicted, context)
        if isinstance(gold, Core) and isinstance(predicted, Core):
            return self._closest_cores(gold, predicted, context)
        return self._one_combined(gold, predicted, context)

    def _closest_cores(self, gold: Core, predicted: Core, context: _Context) -> list[Finding]:
        finder = EquivalenceFinder(
            schema=self.schema, rows_count=context.rows_count, strict=self.strict
        )
        ways = [self._equivalence(pair, context) for pair in finder.pairs(gold, predicted)]
        if (_only_source(gold) is None) == (_only_source(predicted) is None):
            ways += (self._cores(gold, core, context) for core in renumberings(gold, predicted))
        else:
            counts = [flatten_subqueries.as_count_distinct(core) for core in (gold, predicted)]
            both_compute = all(any(map(aggregates_of, core.items)) for core in (gold, predicted))
            if not self.strict and both_compute and any(counts):
                ways.append(self._closest_cores(counts[0] or gold, counts[1] or predicted, context))
            ways.append(self._wrapped(gold, predicted, context))
        return _fewest([*ways, *self._without_lookups(gold, predicted, context)])

    def _without_lookups(
        self, gold: Core, predicted: Core, context: _Context
    ) -> Iterator[list[Finding]]:
        """Compares the SELECTs without joins that most often change nothing."""
        cores = [without_lookups(core, self.schema) for core in (gold, predicted)]
        if not self.strict and (cores[0] is not gold or cores[1] is not predicted):
            yield self._closest_cores(*cores, context)

    def _equivalence(self, pair: Equivalence, context: _Context) -> list[Finding]:
        findings = list(map(context.put, pair.said))
        if pair.rows is not None:
            inner = context.within("in the subquery: ", rows_count=False)
            predicted, choices = pair.rows
            findings += _fewest(self._queries(gold, predicted, inner) for gold in choices)
        return findings + self._closest_cores(pair.gold, pair.predicted, context)

    def _wrapped(self, gold: Query, predicted: Query, context: _Context) -> list[Finding]:
        """One puts a SELECT around a subquery: compares that with the other query."""
        outer = predicted if _only_source(predicted) is not None else gold
        inner = _only_source(outer)
        computed = listed(filter(aggregates_of, outer.items))
        other = gold if outer is predicted else predicted
        within = context._replace(rows_count=context.rows_count and not computed)
        pairs = [(other, query, context) for query in _without_outer(outer, inner)]
        if isinstance(other, Core) and (rows := _rows_computed_over(other, outer, inner)):
            pairs = [(rows, inner, within)]
        if outer is predicted:
            message = f"puts {predicted} around the query, which gold does not"
            if computed:
                message = f"computes {computed} over the subquery ({inner}), which gold does not"
            ways = [self._queries(rows, query, context) for rows, query, context in pairs]
        else:
            message = f"does not put {gold} around the query"
            if computed:
                message = f"does not compute {computed} over the subquery ({inner}), as gold does"
            ways = [self._queries(query, rows, context) for rows, query, context in pairs]
        return [context.put(Finding("wrong_nesting", message)), *_fewest(ways)]

    def _set_operations(
        self, gold: SetOperation, predicted: SetOperation, context: _Context
    ) -> list[Finding]:
        all_rows = "ALL" in gold.operator + predicted.operator
        before, after = (
            context.within(f"{side} {gold.operator}: ", rows_count=all_rows)
            for side in ("before", "after")
        )
        straight = [(gold.left, predicted.left, before), (gold.right, predicted.right, after)]
        crossed = [(gold.left, predicted.right, before), (gold.right, predicted.left, after)]
        ways = [[f for sides in way for f in self._queries(*sides)] for way in (straight, crossed)]
        pair = self._pair(cores(gold)[0], cores(predicted)[0], context)
        sorting = ordering.compare_sorting(pair, gold.sorting, predicted.sorting)
        findings = list(map(context.put, sorting))
        if gold.operator != predicted.operator:
            instead = f"combines by {predicted.operator}; gold combines by {gold.operator}"
            findings.append(_set_finding(context, instead))
        if gold.operator == "EXCEPT" and ways[0] and not ways[1]:
            swapped = "takes the sides of EXCEPT the other way round"
            return [*findings, _set_finding(context, swapped)]
        findings += ways[0] if gold.operator == "EXCEPT" else _fewest(ways)
        return findings or list(map(context.put, _compare_columns_of_sides(gold, predicted)))

    def _one_combined(self, gold: Query, predicted: Query, context: _Context) -> list[Finding]:
        """One is a SELECT, the other combines several: compared with the most alike of them."""
        core = gold if isinstance(gold, Core) else predicted
        if _only_source(core) is not None:
            return self._wrapped(gold, predicted, context)
        if isinstance(gold, SetOperation):
            message = f"is one SELECT; gold combines two by {gold.operator}"
            sides = [(side, predicted) for side in (gold.left, gold.right)]
        else:
            message = f"combines two SELECTs by {predicted.operator}; gold is one"
            sides = [(gold, side) for side in (predicted.left, predicted.right)]
        if isinstance(gold, SetOperation) and not self.strict:
            sides = [*((mixed, predicted) for mixed in with_conditions_of_both(gold)), *sides]
        combined = _set_finding(context, message)
        apart = [[combined, *self._queries(*side, context)] for side in sides]
        return _fewest([*apart, *self._as_one(gold, predicted, context, combined)])

    def _as_one(
        self, gold: Query, predicted: Query, context: _Context, combined: Finding
    ) -> Iterator[list[Finding]]:
        """Compares the SELECT with the ones that the combined SELECTs can be written as."""
        lenient = dataclasses.replace(self, strict=False)
        is_gold = isinstance(gold, SetOperation)
        operation, other = (gold, predicted) if is_gold else (predicted, gold)
        for single in as_one_select(operation, other):
            core = dataclasses.replace(single.core, distinct=other.distinct)
            sides = (core, predicted) if is_gold else (gold, core)
            # What two SELECTs combine is distinct anyway.
            within = context._replace(rows_count=False)
            findings = lenient._queries(*sides, within)
            if not single.is_same:
                yield [combined, *findings]
            elif findings or not self.strict:
                yield findings
            else:
                yield self._only_combined(operation, other, combined, self._queries(*sides, within))

    def _only_combined(
        self,
        operation: SetOperation,
        other: Core,
        combined: Finding,
        strictly: list[Finding],
    ) -> list[Finding]:
        """What is left to say where one SELECT asks what two combined ones ask."""
        if strictly and (other.distinct or operation.operator == "EXCEPT"):
            return strictly
        by = f"by {operation.operator}"
        effect = "keeps a row of both twice" if by == "by UNION ALL" else "drops duplicates"
        message = combined.message.replace(by, f"{by}, which {effect}")
        return [Finding(combined.error, message)]

    def _cores(self, gold: Core, predicted: Core, context: _Context) -> list[Finding]:
        pair = self._pair(gold, predicted, context)
        values = functools.partial(self._values, context)
        findings = [
            *tables.compare_tables(pair),
            *tables.compare_joins(pair),
            *selection.compare_items(pair),
            *selection.compare_distinct(pair),
            *grouping.compare_group(pair),
            *filters.compare_filters(pair, values),
            *filters.compare_having(pair, values),
            *ordering.compare_sorting(pair, gold.sorting, predicted.sorting),
        ]
        in_from = (
            [source.query for source in core.sources if source.query] for core in (gold, predicted)
        )
        returned = (
            [nested.query for item in core.items for nested in nested_of(item)]
            for core in (gold, predicted)
        )
        return [
            *map(context.put, findings),
            *self._subqueries(*_returning_alike(*in_from), context, "FROM"),
            *self._subqueries(*returned, context, "SELECT"),
        ]

    def _pair(self, gold: Core, predicted: Core, context: _Context) -> AlignedPair:
        return AlignedPair(
            gold=gold,
            predicted=predicted,
            schema=self.schema,
            rows_count=context.rows_count,
            order_counts=context.order_counts,
            strict=self.strict,
        )

    def _values(self, context: _Context, gold: Nested, predicted: Nested) -> list[Finding]:
        """Compares subqueries in conditions, where duplicates and order do not matter."""
        inner = context.within("in the subquery: ", rows_count=False)
        return self._queries(gold.query, predicted.query, inner)

    def _subqueries(
        self, gold: list[Query], predicted: list[Query], context: _Context, clause: str
    ) -> list[Finding]:
        inner = context.within("in the subquery: ", rows_count=True)
        findings = [
            finding
            for queries in zip(gold, predicted, strict=False)
            for finding in self._queries(*queries, inner)
        ]
        messages = [f"lacks the subquery ({query}) in {clause}" for query in gold[len(predicted) :]]
        messages += [
            f"has the subquery ({query}) in {clause}, where gold has none"
            for query in predicted[len(gold) :]
        ]
        nesting = (Finding("wrong_nesting", message) for message in messages)
        return findings + list(map(context.put, nesting))


def _compare_columns_of_sides(gold: SetOperation, predicted: SetOperation) -> Iterator[Finding]:
    """Whether the columns that stand at one position in both sides are gold's."""
    paired = (
        list(zip(cores(query.left)[0].items, cores(query.right)[0].items, strict=False))
        for query in (gold, predicted)
    )
    missing, extra = leftovers(*paired, frozenset)
    if missing and extra:
        shown = [" with ".join(map(str, columns[0])) for columns in (missing, extra)]
        message = f"puts {shown[1]} in one column; gold puts {shown[0]}"
        yield Finding("wrong_columns", message)


def _only_source(query: Query) -> Query | None:
    """The subquery that is all that a SELECT reads."""
    if isinstance(query, SetOperation) or len(query.sources) != 1:
        return None
    return query.sources[0].query


def _without_outer(outer: Core, inner: Query) -> Iterator[Query]:
    """Yields the inner query, with what the SELECT around it returns and asks in its own place."""
    if isinstance(inner, SetOperation):
        yield inner
        return
    on_groups, on_rows = conditions.split(outer.where, conditions.has_aggregate)
    computes = any(map(aggregates_of, outer.items)) and not outer.group
    core = dataclasses.replace(
        inner,
        items=outer.items,
        names=outer.names,
        starred=outer.starred,
        distinct=outer.distinct or (inner.distinct and not computes),
        where=conditions.junction("AND", (inner.where, on_rows)),
        group=outer.group or inner.group,
        having=conditions.junction("AND", (inner.having, outer.having, *on_groups)),
        sorting=inner.sorting if outer.sorting == Sorting() else outer.sorting,
    )
    yield core
    if computes and inner.group:
        yield dataclasses.replace(core, group=())


def _rows_computed_over(other: Core, outer: Core, inner: Query) -> Core | None:
    """The rows that `other` computes an aggregate of, where `outer` computes the same of `inner`.

    For a combination of SELECTs alone: one SELECT can be put in the place of the one around it.
    """
    is_one = len(other.items) == len(outer.items) == 1 and not (other.group or outer.group)
    aggregates = [aggregates_of(core.items[0]) for core in (other, outer)] if is_one else [[]]
    if not isinstance(inner, SetOperation) or not all(aggregates):
        return None
    if aggregates[0][0].name != aggregates[1][0].name:
        return None
    first = cores(inner)[0]
    return dataclasses.replace(other, items=first.items, names=first.names, distinct=True)


def _returning_alike(gold: list[Query], predicted: list[Query]) -> tuple[list[Query], list[Query]]:
    """The subqueries of FROM, made to return what gold's do: only what is used of them counts."""
    pairs = zip(gold, predicted, strict=False)
    alike = [
        dataclasses.replace(query, items=gold_query.items, starred=gold_query.starred)
        if isinstance(query, Core)
        and isinstance(gold_query, Core)
        and not (query.distinct or gold_query.distinct)
        else query
        for gold_query, query in pairs
    ]
    return gold, alike + predicted[len(alike) :]


def _set_finding(context: _Context, message: str) -> Finding:
    return Finding("wrong_set_operation", context.prefix + message)


def _fewest(ways: Iterable[list[Finding]]) -> list[Finding]:
    """The shortest list of findings: that of the most alike way to match two queries."""
    best = None
    for findings in ways:
        if best is None or len(findings) < len(best):
            best = findings
        if not best:
            break
    return best or []

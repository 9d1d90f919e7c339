"""In which order rows come, how many are kept, and whether an extreme is taken at all."""

from collections.abc import Iterator, Sequence

from t2sql.data.schema import Schema
from t2sql.diagnosis import conditions, superlatives
from t2sql.diagnosis.align import AlignedPair, leftovers
from t2sql.diagnosis.description import OrderKey, Query, Sorting, all_cores, cores
from t2sql.diagnosis.findings import Finding
from t2sql.diagnosis.superlatives import Extreme
from t2sql.diagnosis.terms import Call, Literal, Term, columns_of


def compare_sorting(pair: AlignedPair, gold: Sorting, predicted: Sorting) -> Iterator[Finding]:
    """The classes of ORDER BY and of LIMIT."""
    if pair.order_counts or gold.limit or predicted.limit:
        yield from _compare_order(pair, gold.order, predicted.order)
    yield from _compare_limit(gold, predicted)


def _compare_order(
    pair: AlignedPair, gold: Sequence[OrderKey], predicted: Sequence[OrderKey]
) -> Iterator[Finding]:
    """missing_order_by, extra_order_by, wrong_order."""
    keys = [[key._replace(term=pair.key(key.term)) for key in keys] for keys in (gold, predicted)]
    shown = [", ".join(map(str, keys)) for keys in (gold, predicted)]
    # Further keys only order what gold leaves open.
    agree = keys[0] == (keys[1] if pair.strict else keys[1][: len(keys[0])])
    if gold and not predicted:
        yield Finding("missing_order_by", f"does not order by {shown[0]}")
    elif predicted and not gold:
        yield Finding("extra_order_by", f"orders by {shown[1]}, which gold does not")
    elif not agree:
        yield Finding("wrong_order", f"orders by {shown[1]}; gold orders by {shown[0]}")


def _compare_limit(gold: Sorting, predicted: Sorting) -> Iterator[Finding]:
    """missing_limit, extra_limit, wrong_limit."""
    if gold.limit and not predicted.limit:
        yield Finding("missing_limit", f"keeps all rows; gold keeps the first {_shown(gold)}")
    elif predicted.limit and not gold.limit:
        yield Finding("extra_limit", f"keeps the first {_shown(predicted)}; gold keeps all rows")
    elif gold.limit != predicted.limit or _offset(gold) != _offset(predicted):
        predicted_rows, gold_rows = _shown(predicted), _shown(gold)
        yield Finding(
            "wrong_limit", f"keeps the first {predicted_rows}; gold keeps the first {gold_rows}"
        )


def _offset(sorting: Sorting) -> Term:
    return sorting.offset or Literal("0")


def _shown(sorting: Sorting) -> str:
    rows = "row" if sorting.limit == Literal("1") else f"{sorting.limit} rows"
    return rows if _offset(sorting) == Literal("0") else f"{rows} after {sorting.offset}"


def compare_superlative(gold: Query, predicted: Query, schema: Schema) -> Iterator[Finding]:
    """misread_superlative; looked for in the whole query, wherever the extreme is taken."""
    gold_extremes, predicted_extremes = (
        superlatives.everywhere(gold),
        superlatives.everywhere(predicted),
    )
    missing, extra = leftovers(
        gold_extremes, predicted_extremes, lambda extreme: extreme.meaning(schema)
    )
    if missing and extra:
        yield another_extreme(missing[0], extra[0])
    elif (
        missing
        and not predicted_extremes
        and not (
            superlatives.order_is_shared(gold, predicted) or _aggregates_instead(gold, predicted)
        )
    ):
        yield _no_extreme(missing[0], predicted)


def another_extreme(gold: Extreme, predicted: Extreme) -> Finding:
    """The query takes an extreme, but not the one that gold takes."""
    message = f"takes the extreme by {predicted.shown}; gold takes it by {gold.shown}"
    return Finding("misread_superlative", message)


def _no_extreme(extreme: Extreme, predicted: Query) -> Finding:
    tested = [
        atom
        for core in cores(predicted)
        for clause in (core.where, core.having)
        for atom in conditions.atoms(clause)
        if isinstance(atom.right, Literal) and _is_on(atom.left, extreme.term)
    ]
    how = f"takes {tested[0]} for it" if tested else "ignores it"
    message = f"gold takes the extreme by {extreme.shown}; the query {how}"
    return Finding("misread_superlative", message)


def _is_on(tested: Term, extreme_term: Term) -> bool:
    """Whether a condition tests what the extreme is of: its column, or the same count."""
    shared = set(columns_of(tested)) & set(columns_of(extreme_term))
    return bool(shared) or superlatives.bare(tested) == superlatives.bare(extreme_term)


def compare_ties(gold: Extreme, predicted: Extreme) -> Iterator[Finding]:
    """What sets two spellings of one extreme apart: rows that tie, and NULL."""
    keeps_ties = gold.form == superlatives.VALUE, predicted.form == superlatives.VALUE
    if keeps_ties == (False, True):
        message = f"keeps all rows that tie by {predicted.shown}; gold keeps the first row"
        yield Finding("missing_limit", f"{message} by {gold.shown}")
    elif keeps_ties == (True, False):
        message = f"keeps the first row by {predicted.shown}; gold keeps all rows that tie"
        yield Finding("extra_limit", f"{message} by {gold.shown}")
    elif keeps_ties == (False, False):
        message = f"takes the extreme by {predicted.shown}; gold by {gold.shown}"
        yield Finding("wrong_aggregate", f"{message}, which treats NULL and ties in another way")


def _aggregates_instead(gold: Query, predicted: Query) -> bool:
    """Whether some SELECT of gold returns MIN or MAX and one predicted another aggregate."""
    gold_items, predicted_items = (
        [item for core in all_cores(query) for item in core.items] for query in (gold, predicted)
    )
    return any(map(superlatives.is_min_or_max, gold_items)) and any(
        isinstance(item, Call) and item.is_aggregate for item in predicted_items
    )

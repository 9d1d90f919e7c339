"""In which order rows come, how many are kept, and whether an extreme is taken at all."""

from collections.abc import Iterator, Sequence

from t2sql.data.schema import Schema
from t2sql.diagnosis import conditions, superlatives
from t2sql.diagnosis.align import Pair, leftovers
from t2sql.diagnosis.description import OrderKey, Query, Sorting, all_cores, cores
from t2sql.diagnosis.findings import Finding
from t2sql.diagnosis.superlatives import Extreme
from t2sql.diagnosis.terms import Call, Literal, Term, columns_of


def compare_sorting(pair: Pair, gold: Sorting, predicted: Sorting) -> Iterator[Finding]:
    """The classes of ORDER BY and of LIMIT."""
    if pair.order_counts or gold.limit or predicted.limit:
        yield from _compare_order(pair, gold.order, predicted.order)
    yield from _compare_limit(gold, predicted)


def _compare_order(
    pair: Pair, gold: Sequence[OrderKey], predicted: Sequence[OrderKey]
) -> Iterator[Finding]:
    """missing_order_by, extra_order_by, wrong_order."""
    keys = [[(pair.key(key.term), key.descending) for key in keys] for keys in (gold, predicted)]
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
        found, wanted = _shown(predicted), _shown(gold)
        yield Finding("wrong_limit", f"keeps the first {found}; gold keeps the first {wanted}")


def _offset(sorting: Sorting) -> Term:
    return sorting.offset or Literal("0")


def _shown(sorting: Sorting) -> str:
    rows = "row" if sorting.limit == Literal("1") else f"{sorting.limit} rows"
    return rows if _offset(sorting) == Literal("0") else f"{rows} after {sorting.offset}"


def compare_superlative(gold: Query, predicted: Query, schema: Schema) -> Iterator[Finding]:
    """misread_superlative; looked for in the whole query, wherever the extreme is taken."""
    wanted, found = superlatives.everywhere(gold), superlatives.everywhere(predicted)
    missing, extra = leftovers(wanted, found, lambda each: each.meaning(schema))
    if missing and extra:
        yield another_extreme(missing[0], extra[0])
    elif missing and not found and not _asks_alike(gold, predicted):
        yield _no_extreme(missing[0], predicted)


def another_extreme(wanted: Extreme, found: Extreme) -> Finding:
    """The query takes an extreme, but not the one that gold takes."""
    message = f"takes the extreme by {found.shown}; gold takes it by {wanted.shown}"
    return Finding("misread_superlative", message)


def _no_extreme(wanted: Extreme, predicted: Query) -> Finding:
    tested = [
        atom
        for core in cores(predicted)
        for clause in (core.where, core.having)
        for atom in conditions.atoms(clause)
        if isinstance(atom.right, Literal) and _is_on(atom.left, wanted.term)
    ]
    how = f"takes {tested[0]} for it" if tested else "ignores it"
    message = f"gold takes the extreme by {wanted.shown}; the query {how}"
    return Finding("misread_superlative", message)


def _is_on(tested: Term, wanted: Term) -> bool:
    """Whether a condition tests what the extreme is of: its column, or the same count."""
    shared = set(columns_of(tested)) & set(columns_of(wanted))
    return bool(shared) or superlatives.bare(tested) == superlatives.bare(wanted)


def compare_ties(wanted: Extreme, found: Extreme) -> Iterator[Finding]:
    """What sets two spellings of one extreme apart: rows that tie, and NULL."""
    keeps_ties = wanted.form == superlatives.VALUE, found.form == superlatives.VALUE
    if keeps_ties == (False, True):
        message = f"keeps all rows that tie by {found.shown}; gold keeps the first row"
        yield Finding("missing_limit", f"{message} by {wanted.shown}")
    elif keeps_ties == (True, False):
        message = f"keeps the first row by {found.shown}; gold keeps all rows that tie"
        yield Finding("extra_limit", f"{message} by {wanted.shown}")
    elif keeps_ties == (False, False):
        message = f"takes the extreme by {found.shown}; gold by {wanted.shown}"
        yield Finding("wrong_aggregate", f"{message}, which treats NULL and ties in another way")


def _asks_alike(gold: Query, predicted: Query) -> bool:
    """Whether it sorts as gold does and keeps all rows, or computes something else instead."""
    return superlatives.order_is_shared(gold, predicted) or _aggregates_instead(gold, predicted)


def _aggregates_instead(gold: Query, predicted: Query) -> bool:
    """Whether some SELECT of gold returns MIN or MAX and one predicted another aggregate."""
    wanted, found = (
        [item for core in all_cores(query) for item in core.items] for query in (gold, predicted)
    )
    return any(map(superlatives.is_min_or_max, wanted)) and any(
        isinstance(item, Call) and item.is_aggregate for item in found
    )

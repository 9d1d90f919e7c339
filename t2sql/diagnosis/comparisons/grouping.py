"""How rows are grouped."""

from collections.abc import Iterator

from t2sql.diagnosis.align import Pair
from t2sql.diagnosis.comparisons.selection import groups_only
from t2sql.diagnosis.description import Core
from t2sql.diagnosis.findings import Finding
from t2sql.diagnosis.terms import Column, Term
from t2sql.sql.names import fold


def compare_group(pair: Pair) -> Iterator[Finding]:
    """missing_group_by, extra_group_by, wrong_group_by."""
    gold, predicted = _group(pair, pair.gold), _group(pair, pair.predicted)
    if gold == predicted or _is_distinct(pair, pair.gold, pair.predicted):
        return
    shown = [", ".join(map(str, core.group)) for core in (pair.gold, pair.predicted)]
    if not predicted:
        yield Finding("missing_group_by", f"does not group by {shown[0]}")
    elif not gold:
        yield Finding("extra_group_by", f"groups by {shown[1]}, which gold does not")
    else:
        yield Finding("wrong_group_by", f"groups by {shown[1]}; gold groups by {shown[0]}")


def _group(pair: Pair, core: Core) -> frozenset[Term]:
    """What it groups by, less the columns that the table's key in it decides."""
    keys = frozenset(map(pair.key, core.group))
    if pair.strict:
        return keys
    names = {(_place(term), fold(term.name)) for term in core.group if isinstance(term, Column)}
    decided = {
        place
        for place, _ in names
        if (primary := _primary_key(pair, place[0]))
        and all((place, key) in names for key in primary)
    }
    return keys - {
        pair.key(term)
        for term in core.group
        if isinstance(term, Column)
        and _place(term) in decided
        and fold(term.name) not in _primary_key(pair, term.table)
    }


def _place(column: Column) -> tuple[str, int]:
    return fold(column.table), column.instance


def _primary_key(pair: Pair, table: str) -> set[str]:
    keys = pair.schema.primary_keys
    return {fold(key.column) for key in keys if fold(key.table) == fold(table)}


def _is_distinct(pair: Pair, gold: Core, predicted: Core) -> bool:
    """Whether one says DISTINCT and the other groups by all that it returns."""
    return any(
        one.distinct and not one.group and other.group and groups_only(pair, other)
        for one, other in ((gold, predicted), (predicted, gold))
    )

"""How rows are grouped."""

from collections.abc import Iterator

from t2sql.diagnosis.align import AlignedPair
from t2sql.diagnosis.comparisons.selection import groups_only
from t2sql.diagnosis.description import Core
from t2sql.diagnosis.findings import Finding
from t2sql.diagnosis.terms import ColumnTerm, Term
from t2sql.sql.names import fold


def compare_group(pair: AlignedPair) -> Iterator[Finding]:
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


def _group(pair: AlignedPair, core: Core) -> frozenset[Term]:
    """What it groups by, less the columns that depend on a primary key among them."""
    keys = frozenset(map(pair.key, core.group))
    if pair.strict:
        return keys
    columns = [term for term in core.group if isinstance(term, ColumnTerm)]
    names = {(column.table_use, fold(column.name)) for column in columns}

    def depends(column: ColumnTerm) -> bool:
        primary = _primary_key(pair, column.table)
        has_key = primary and all((column.table_use, key) in names for key in primary)
        return has_key and fold(column.name) not in primary

    return keys - set(map(pair.key, filter(depends, columns)))


def _primary_key(pair: AlignedPair, table: str) -> set[str]:
    keys = pair.schema.primary_keys
    return {fold(key.column) for key in keys if fold(key.table) == fold(table)}


def _is_distinct(pair: AlignedPair, gold: Core, predicted: Core) -> bool:
    """Whether one says DISTINCT and the other groups by all that it returns."""
    return any(
        one.distinct and not one.group and other.group and groups_only(pair, other)
        for one, other in ((gold, predicted), (predicted, gold))
    )

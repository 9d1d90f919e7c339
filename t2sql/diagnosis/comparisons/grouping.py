"""How rows are grouped."""

import itertools
from collections.abc import Iterator

from t2sql.diagnosis.align import AlignedPair
from t2sql.diagnosis.comparisons.selection import groups_only
from t2sql.diagnosis.description import Core
from t2sql.diagnosis.findings import Finding
from t2sql.diagnosis.terms import ColumnTerm, Term, columns_of
from t2sql.sql.names import fold


def compare_group(pair: AlignedPair) -> Iterator[Finding]:
    """missing_group_by, extra_group_by, wrong_group_by."""
    gold, predicted = (set(map(pair.key, core.group)) for core in (pair.gold, pair.predicted))
    if gold == predicted or _is_distinct(pair, pair.gold, pair.predicted):
        return
    # A key and columns that depend on it group as the key does.
    depends = gold <= determined(pair, pair.predicted) and predicted <= determined(pair, pair.gold)
    if gold and predicted and depends:
        return
    shown = [", ".join(map(str, core.group)) for core in (pair.gold, pair.predicted)]
    if not predicted:
        yield Finding("missing_group_by", f"does not group by {shown[0]}")
    elif not gold:
        yield Finding("extra_group_by", f"groups by {shown[1]}, which gold does not")
    else:
        yield Finding("wrong_group_by", f"groups by {shown[1]}; gold groups by {shown[0]}")


def determined(pair: AlignedPair, core: Core) -> set[Term]:
    """What its groups share a value of: their keys, and the columns that depend on these."""
    known = set(map(pair.key, core.group))
    columns = [
        *(term for key in core.group for term in columns_of(key)),
        *itertools.chain(*core.ties),
    ]
    uses = {(column.table, column.instance) for column in columns if column.table}
    while True:
        dependent = {
            pair.key(ColumnTerm(table, column.name, instance))
            for table, instance in uses
            if _has_key(pair, table, instance, known)
            for column in pair.schema.table(table).columns
        }
        if dependent <= known:
            return known
        known |= dependent


def _has_key(pair: AlignedPair, table: str, instance: int, known: set[Term]) -> bool:
    keys = [key.column for key in pair.schema.primary_keys if fold(key.table) == fold(table)]
    is_known = pair.schema.table(table) is not None
    return (
        is_known
        and bool(keys)
        and all(pair.key(ColumnTerm(table, key, instance)) in known for key in keys)
    )


def _is_distinct(pair: AlignedPair, gold: Core, predicted: Core) -> bool:
    """Whether one says DISTINCT and the other groups by all that it returns."""
    return any(
        one.distinct and not one.group and other.group and groups_only(pair, other)
        for one, other in ((gold, predicted), (predicted, gold))
    )

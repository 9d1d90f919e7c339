"""Joins that look a row up and do nothing with it.

    SELECT friend.student_id FROM friend JOIN student ON friend.student_id = student.id

Each friend has one student: where the foreign key holds, the rows are those of friend alone.
"""

import dataclasses

from t2sql.data.schema import Schema
from t2sql.diagnosis.description import Core, Query, TableSource, all_cores
from t2sql.diagnosis.terms import ColumnTerm, nested_of
from t2sql.sql.names import fold


def without_lookups(core: Core, schema: Schema) -> Core:
    """The SELECT without the tables that it joins by their key and asks nothing else of."""
    for number, source in enumerate(core.sources):
        same = [other for other in core.sources[:number] if fold(other.table) == fold(source.table)]
        shorter = _without(core, source, len(same), schema)
        if shorter is not None:
            return without_lookups(shorter, schema)
    return core


def _without(core: Core, source: TableSource, instance: int, schema: Schema) -> Core | None:
    """The SELECT without one of its tables; None where that may change its rows."""
    use = fold(source.table), instance
    ties = [tie for tie in core.ties if any(column.table_use == use for column in tie)]
    if not source.table or source.outer or len(core.sources) == 1 or len(ties) != 1:
        return None
    (key, other) = sorted(ties[0], key=lambda column: column.table_use != use)
    is_used = any(column.table_use == use and column != key for column in core.columns())
    if is_used or not _is_lookup(key, other, schema) or _seen_within(core, source.table):
        return None

    def change(column: ColumnTerm) -> ColumnTerm:
        if column == key:
            return change(other)
        is_later = column.table_use[0] == use[0] and column.instance > instance
        return dataclasses.replace(column, instance=column.instance - is_later)

    kept = dataclasses.replace(
        core,
        sources=tuple(kept for kept in core.sources if kept is not source),
        ties=core.ties - set(ties),
    )
    return kept.with_columns(change)


def _is_lookup(key: ColumnTerm, other: ColumnTerm, schema: Schema) -> bool:
    """Whether a foreign key leads from `other` to `key`, which alone is its table's key."""
    keys = [ref for ref in schema.primary_keys if fold(ref.table) == fold(key.table)]
    leads = any(
        (fold(source.table), fold(source.column)) == (fold(other.table), fold(other.name))
        and (fold(target.table), fold(target.column)) == (fold(key.table), fold(key.name))
        for source, target in schema.foreign_keys
    )
    return leads and len(keys) == 1 and schema.is_primary_key(key.table, key.name)


def _seen_within(core: Core, table: str) -> bool:
    """Whether a subquery looks at the table from within."""
    nested: list[Query] = [part.query for term in core.terms() for part in nested_of(term)]
    return any(
        column.instance < 0 and fold(column.table) == fold(table)
        for query in filter(None, nested)
        for inner in all_cores(query)
        for column in inner.columns()
    )

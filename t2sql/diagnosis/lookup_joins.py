"""Joins that only look a row up, or look it up once more.

    SELECT friend.student_id FROM friend JOIN student ON friend.student_id = student.id

Each friend has one student: where the foreign key holds, the rows are those of friend alone.

    SELECT b.name FROM student AS a JOIN friend ON ... JOIN student AS b ON ...

Where both uses of student are joined by their key to one column, they are one row.
"""

import collections
import dataclasses
import itertools

from t2sql.data.schema import Schema
from t2sql.diagnosis import conditions
from t2sql.diagnosis.description import Core, Query, TableSource, all_cores
from t2sql.diagnosis.terms import ColumnTerm, Nested, nested_of
from t2sql.sql.names import fold


def without_lookups(core: Core, schema: Schema) -> Core:
    """The SELECT without the tables that it joins by their key and asks nothing else of."""
    core = _with_rows_once(core, schema)
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
    if not source.table or len(core.sources) == 1 or len(ties) != 1:
        return None
    if any(other.outer for other in core.sources):
        return None  # It may be this table whose rows are all kept.
    (key, other) = sorted(ties[0], key=lambda column: column.table_use != use)
    is_used = any(column.table_use == use and column != key for column in core.columns())
    # Extremes are compared by the key.
    is_used |= any(
        atom.left == key and isinstance(atom.right, Nested) for atom in conditions.atoms(core.where)
    )
    if is_used or not _is_lookup(key, other, schema) or _seen_within(core, source.table):
        return None

    kept = dataclasses.replace(
        core,
        sources=tuple(kept for kept in core.sources if kept is not source),
        ties=core.ties - set(ties),
    )
    return kept.with_columns(lambda column: _closed_up(other if column == key else column, use))


def _closed_up(column: ColumnTerm, gone: tuple[str, int]) -> ColumnTerm:
    """The column where one use of a table is gone, and later ones move up."""
    is_later = column.table_use[0] == gone[0] and column.instance > gone[1]
    return ColumnTerm(column.table, column.name, column.instance - is_later)


def _with_rows_once(core: Core, schema: Schema) -> Core:
    """The SELECT with one use of a table where two are joined by their key to one column."""
    keys = [
        (column, other)
        for tie in core.ties
        for column, other in itertools.permutations(tie)
        if schema.is_primary_key(column.table, column.name)
        and sum(fold(ref.table) == fold(column.table) for ref in schema.primary_keys) == 1
    ]
    by_target = collections.defaultdict(set)
    for key, other in keys:
        by_target[fold(key.table), fold(key.name), other].add(key.instance)
    for (table, _, _), instances in by_target.items():
        first, *later = sorted(instances)
        uses = [source for source in core.sources if fold(source.table) == table]
        is_plain = not any(source.outer for source in uses) and len(uses) > max(instances)
        if later and is_plain and not _seen_within(core, table):
            shorter = _with_one_use(core, uses[later[0]], (table, first), (table, later[0]))
            return _with_rows_once(shorter, schema)
    return core


def _with_one_use(
    core: Core, source: TableSource, kept: tuple[str, int], gone: tuple[str, int]
) -> Core:
    def change(column: ColumnTerm) -> ColumnTerm:
        if column.table_use == gone:
            return ColumnTerm(column.table, column.name, kept[1])
        return _closed_up(column, gone)

    sources = tuple(other for other in core.sources if other is not source)
    return dataclasses.replace(core, sources=sources).with_columns(change)


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

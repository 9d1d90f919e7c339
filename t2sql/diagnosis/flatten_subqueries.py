"""A SELECT over subqueries, rewritten as one SELECT.

Models like `WITH x AS (...) SELECT ... FROM x`. Where the outer SELECT only filters, orders or
picks what the inner one returns, the two are compared with gold as one query; so is a joined
subquery that only filters its tables. The outer terms are already in terms of the
inner SELECT's tables, so little is left to do.
"""

import collections
import dataclasses

from sqlglot import exp

from t2sql.diagnosis import conditions, terms
from t2sql.diagnosis.conditions import ALWAYS, has_aggregate, split
from t2sql.diagnosis.description import Core, Query, SetOperation, Sorting, TableSource, tables_of
from t2sql.diagnosis.terms import ColumnTerm, Nested, Star, aggregates_of
from t2sql.sql.names import fold


def flatten(core: Core, node: exp.Expression) -> Query:
    """The query without its outer SELECT, or `core` as it is where that has a purpose.

    Args:
      core: the description of the SELECT.
      node: its syntax tree: a COUNT in a term may be the inner SELECT's.
    """
    if not core.sources:
        return _lone_value(core) or core
    order = node.args.get("order")
    own_clauses = [*node.expressions, *([order] if order else [])]
    computes = any(clause.find(exp.AggFunc, exp.Window) for clause in own_clauses)
    if len(core.sources) > 1:
        return _unfolded(core, may_group=not (computes or core.group))
    inner = core.sources[0].query
    if inner is None:
        return core
    if _is_bare(core) and _same_items(core, inner):
        if core.sorting == Sorting():
            return inner
        return core if inner.sorting.limit else dataclasses.replace(inner, sorting=core.sorting)
    if isinstance(inner, SetOperation) or inner.distinct or inner.sorting.limit:
        return core
    if (core.group or computes) and (inner.group or any(map(aggregates_of, inner.items))):
        return core
    on_groups, on_rows = split(core.where, has_aggregate)
    # SQLite keeps the inner order, with the outer limit.
    inner_order = dataclasses.replace(core.sorting, order=inner.sorting.order)
    return dataclasses.replace(
        core,
        sources=inner.sources,
        ties=inner.ties | core.ties,
        where=conditions.junction("AND", (inner.where, on_rows)),
        group=core.group or inner.group,
        having=conditions.junction("AND", (inner.having, core.having, *on_groups)),
        sorting=core.sorting if core.sorting.order else inner_order,
    )


def _lone_value(core: Core) -> Core | None:
    """What `SELECT (SELECT MAX(x) FROM a)` computes; None where it is not that alone."""
    item = core.items[0] if len(core.items) == 1 else None
    inner = item.query if isinstance(item, Nested) else None
    if not isinstance(inner, Core) or inner.group or not all(map(aggregates_of, inner.items)):
        return None
    is_plain = _is_bare(core) and core.sorting == inner.sorting == Sorting()
    return inner if is_plain and inner.having == ALWAYS else None


def _unfolded(core: Core, *, may_group: bool) -> Core:
    """The SELECT with joined subqueries that only filter in the place of their tables.

    `FROM a JOIN (SELECT id FROM b WHERE x) ON ...` is `FROM a JOIN b ON ... WHERE x`. A subquery
    that reads a table which is read elsewhere too stays: the two uses could not be told apart.
    One that groups by the column that it is joined by groups the whole, where nothing else does.
    """
    if any(source.outer in ("RIGHT", "FULL") for source in core.sources):
        return core
    sources, ties, where, group, having = [], core.ties, [core.where], (), []
    for source in core.sources:
        others = [other for other in core.sources if other is not source]
        is_apart = not _read(source) & set().union(*map(_read, others))
        groups = may_group and not group and _groups_by_key(source, core)
        if is_apart and (groups or _only_filters(source)):
            sources += source.query.sources
            ties |= source.query.ties
            where.append(source.query.where)
            group += source.query.group
            having.append(source.query.having)
        else:
            sources.append(source)
    on_groups, on_rows = split(conditions.junction("AND", where), has_aggregate)
    return dataclasses.replace(
        core,
        sources=tuple(sources),
        ties=ties,
        where=on_rows if group else conditions.junction("AND", where),
        group=core.group or group,
        having=conditions.junction("AND", (core.having, *having, *(on_groups if group else ()))),
    )


def _only_filters(source: TableSource) -> bool:
    inner = source.query
    return (
        _reads_tables(source)
        and not (inner.distinct or inner.group or inner.having != ALWAYS)
        and all(isinstance(item, ColumnTerm) for item in inner.items)
    )


def _groups_by_key(source: TableSource, core: Core) -> bool:
    """Whether a joined subquery groups by the one column that it is joined by, and counts so."""
    if not _reads_tables(source) or source.query.distinct or len(source.query.group) != 1:
        return False
    (key,) = source.query.group
    terms_outside = (*core.items, *(key.term for key in core.sorting.order))
    counts = source.query.having != ALWAYS or any(map(aggregates_of, terms_outside))
    return (counts or has_aggregate(core.where)) and any(key in tie for tie in core.ties)


def _reads_tables(source: TableSource) -> bool:
    inner = source.query
    return (
        not source.outer
        and isinstance(inner, Core)
        and not inner.sorting.limit
        and all(table.table and not table.outer for table in inner.sources)
    )


def _read(source: TableSource) -> set[str]:
    """The tables that it reads, folded."""
    return set(map(fold, tables_of(source.query) if source.query else (source.table,)))


def as_count_distinct(core: Core) -> Core | None:
    """`SELECT COUNT(*) FROM (SELECT DISTINCT x ...)` as a COUNT(DISTINCT x); None for others."""
    inner = core.sources[0].query if len(core.sources) == 1 else None
    counts_all = core.items == (terms.call("COUNT", Star()),)
    if not (counts_all and _is_bare(core) and _is_unique(inner)):
        return None
    item = terms.call("COUNT", *inner.items, distinct=True)
    return dataclasses.replace(inner, items=(item,), distinct=False, group=())


def _is_unique(core: Query | None) -> bool:
    """Whether it is a SELECT that returns each value of its one item once."""
    if not isinstance(core, Core) or len(core.items) != 1 or core.sorting.limit:
        return False
    if aggregates_of(core.items[0]) or core.having != ALWAYS:
        return False
    return core.group == core.items if core.group else core.distinct


def _is_bare(core: Core) -> bool:
    """Whether it neither filters, groups nor drops anything itself."""
    return core.where == core.having == ALWAYS and not core.group and not core.distinct


def _same_items(core: Core, inner: Query) -> bool:
    first = inner
    while isinstance(first, SetOperation):
        first = first.left
    return collections.Counter(core.items) == collections.Counter(first.items)

"""A SELECT over one subquery, written as the one SELECT that does the same.

Models like `WITH x AS (...) SELECT ... FROM x`. Where the outer SELECT only filters, orders or
picks what the inner one returns, the two are one query, and are compared with gold as such. The
outer terms are already in terms of the inner SELECT's tables, so little is left to do.
"""

import collections
import dataclasses

from sqlglot import exp

from t2sql.scoring.diagnosis import conditions, terms
from t2sql.scoring.diagnosis.conditions import ALWAYS, has_aggregate, split
from t2sql.scoring.diagnosis.description import Core, Query, SetOperation, Sorting
from t2sql.scoring.diagnosis.terms import Star, aggregates_of


def merged(core: Core, node: exp.Expression) -> Query:
    """The query without its outer SELECT, or `core` as it is where that has a purpose.

    Args:
      core: the description of the SELECT.
      node: its syntax tree: a COUNT in a term may be the inner SELECT's.
    """
    inner = core.sources[0].query if len(core.sources) == 1 else None
    if inner is None:
        return core
    if _is_bare(core) and _same_items(core, inner):
        return _with_sorting(inner, core)
    if isinstance(inner, SetOperation) or inner.distinct or inner.sorting.limit:
        return core
    aggregates = bool(core.group) or any(map(_computes, _own_clauses(node)))
    if aggregates and (inner.group or any(map(aggregates_of, inner.items))):
        return core
    on_groups, on_rows = split(core.where, has_aggregate)
    return dataclasses.replace(
        core,
        sources=inner.sources,
        ties=inner.ties | core.ties,
        where=conditions.junction("AND", (inner.where, on_rows)),
        group=core.group or inner.group,
        having=conditions.junction("AND", (inner.having, core.having, *on_groups)),
        sorting=core.sorting if core.sorting.order else _kept_order(inner, core),
    )


def counted(core: Core) -> Core | None:
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


def _with_sorting(inner: Query, core: Core) -> Query:
    if core.sorting == Sorting():
        return inner
    return core if inner.sorting.limit else dataclasses.replace(inner, sorting=core.sorting)


def _kept_order(inner: Core, core: Core) -> Sorting:
    """The inner order, which SQLite keeps, with the outer limit."""
    return dataclasses.replace(core.sorting, order=inner.sorting.order)


def _own_clauses(node: exp.Expression) -> list[exp.Expression]:
    order = node.args.get("order")
    return [*node.expressions, *([order] if order else [])]


def _computes(node: exp.Expression) -> bool:
    return node.find(exp.AggFunc, exp.Window) is not None

"""Hardness: how much SQL a gold query needs, by Spider's count of its parts.

The rules are those of https://github.com/taoyds/spider/tree/master/evaluation_examples.
"""

from t2sql.evaluation.spider_dialect.query import SpiderQuery

HARDNESS = ("easy", "medium", "hard", "extra")


def hardness(query: SpiderQuery) -> str:
    """One of `HARDNESS`."""
    parts, nested, others = _parts(query), sum(1 for _ in query.nested()), _others(query)
    if nested == 0:
        if parts <= 1 and others == 0:
            return "easy"
        if (parts <= 1 and others <= 2) or (parts <= 2 and others <= 1):
            return "medium"
        # Two parts with two others are in neither of Spider's rules for hard, so they are extra.
        if (parts <= 2 and others > 2) or (parts == 3 and others <= 2):
            return "hard"
    elif nested == 1 and parts <= 1 and others == 0:
        return "hard"
    return "extra"


def _parts(query: SpiderQuery) -> int:
    """WHERE, GROUP BY, ORDER BY, LIMIT, and each join, OR and LIKE."""
    clauses = (query.where, query.group_by, query.order_by, query.limited)
    return (
        sum(map(bool, clauses))
        + max(0, len(query.tables) - 1)
        + query.connectors().count("or")
        + sum(condition.operator == "like" for condition in query.conditions())
    )


def _others(query: SpiderQuery) -> int:
    """More than one each of: aggregates, selected values, conditions in WHERE, grouped columns.

    Conditions count as more than one as soon as something connects them.
    """
    return (
        (_aggregates(query) > 1)
        + (len(query.select) > 1)
        + (len(query.where.units) + len(query.where.connectors) > 1)
        + (len(query.group_by) > 1)
    )


def _aggregates(query: SpiderQuery) -> int:
    """Aggregates as the official evaluator counts them.

    It takes a NOT in a condition, and each AND and OR of HAVING, for one, and does not see the
    aggregates in HAVING itself.
    """
    ordered = [column for term in query.order_by.terms for column in term.columns]
    return (
        sum(bool(item.aggregate) for item in query.select)
        + sum(condition.negated for condition in query.where.units)
        + sum(bool(column.aggregate) for column in (*query.group_by, *ordered))
        + sum(condition.negated for condition in query.having.units)
        + len(query.having.connectors)
    )

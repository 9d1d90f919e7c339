"""Which parts of SQL a gold query needs, to break the measures down by."""

import itertools
from collections.abc import Sequence

from t2sql.sql.tokens import tokenize

_AGGREGATES = frozenset(("COUNT", "SUM", "AVG", "MIN", "MAX", "TOTAL", "GROUP_CONCAT"))
_SET_OPERATIONS = ("UNION", "INTERSECT", "EXCEPT")
_BEFORE_OPERANDS = frozenset(("", "ALL", *_SET_OPERATIONS))
_MANY_JOINS = 3
_MANY_LEVELS = 2


def features(sql: str) -> dict[str, str]:
    """Dimension -> group of a query; any SQL has one group in each dimension.

    joins: `0`, `1`, `2` or `3+`, in nested queries too; a comma between tables counts as a
      join.
    nesting: how deep queries stand within queries: `0`, `1` or `2+`; the operands of a set
      operation do not count.
    set operation: `none`, `union`, `intersect`, `except`, or several joined by ` and `.
    aggregation: `none`, `aggregate` (over all rows), `group by` or `having`.
    ordering: `none`, `order by`, `limit` (without order) or `order by limit`.
    """
    words = [token.upper for token in tokenize(sql) if token.kind not in ("space", "comment")]
    return {
        "joins": _at_most(_joins(words), _MANY_JOINS),
        "nesting": _at_most(_levels(words), _MANY_LEVELS),
        "set operation": " and ".join(name.lower() for name in _SET_OPERATIONS if name in words)
        or "none",
        "aggregation": _aggregation(words),
        "ordering": _ordering(words),
    }


def _at_most(count: int, most: int) -> str:
    return f"{most}+" if count >= most else str(count)


def _joins(words: Sequence[str]) -> int:
    return words.count("JOIN") + _commas_in_from(words)


def _commas_in_from(words: Sequence[str]) -> int:
    """Commas right within a FROM, not in brackets of their own."""
    ends = {"WHERE", "GROUP", "ORDER", "LIMIT", "HAVING", "SELECT", *_SET_OPERATIONS}
    in_from, commas = [False], 0
    for word in words:
        if word == "(":
            in_from.append(False)
        elif word == ")" and len(in_from) > 1:
            in_from.pop()
        elif word == "FROM":
            in_from[-1] = True
        elif word in ends:
            in_from[-1] = False
        elif word == ",":
            commas += in_from[-1]
    return commas


def _levels(words: Sequence[str]) -> int:
    """How many queries stand around the deepest one; operands of set operations do not count."""
    brackets: list[bool] = []
    depth = deepest = 0
    for before, word, following in zip(["", *words], words, [*words[1:], ""], strict=False):
        if word == "(":
            brackets.append(following == "SELECT" and before not in _BEFORE_OPERANDS)
            depth += brackets[-1]
            deepest = max(deepest, depth)
        elif word == ")" and brackets:
            depth -= brackets.pop()
    return deepest


def _aggregation(words: Sequence[str]) -> str:
    if "HAVING" in words:
        return "having"
    if ("GROUP", "BY") in itertools.pairwise(words):
        return "group by"
    calls = (word for word, following in itertools.pairwise(words) if following == "(")
    return "aggregate" if any(word in _AGGREGATES for word in calls) else "none"


def _ordering(words: Sequence[str]) -> str:
    parts = []
    if ("ORDER", "BY") in itertools.pairwise(words):
        parts.append("order by")
    if "LIMIT" in words:
        parts.append("limit")
    return " ".join(parts) or "none"

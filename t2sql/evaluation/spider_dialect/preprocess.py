"""What the official evaluator does to a query's text before it looks at it.

It is said to take predictions as they stand, but changes them in these ways first
(https://github.com/taoyds/test-suite-sql-eval with its defaults; inferred from its verdicts).
"""

import re
from collections.abc import Iterator

_SPLIT_OPERATOR = re.compile(r"([<>!]) =")
_CURRENT_YEAR = re.compile(r"year\s*\(\s*curdate\s*\(\s*\)\s*\)\s*", re.IGNORECASE)
# sqlparse's rules for literals, names in quotes and comments, within which nothing is a word or
# ends a statement. A backslash escapes a quotation mark, unless the literal would have no end then.
_PIECE = re.compile(
    r"""
    '(?:''|\\'|[^'])*+' | '.*'(?=[^']*\Z)
  | "(?:""|\\"|[^"])*+" | ".*"(?=[^"]*\Z)
  | `[^`]*(?:`|\Z) | (?<![\w\])])\[[^][]+\]
  | --[^\r\n]* | \#\ [^\r\n]* | /\*.*?(?:\*/|\Z)
  | [@:$]?[\w$#]+ | \s+ | .
    """,
    re.VERBOSE | re.DOTALL,
)
_REST_OF_LINE = re.compile(r"(?:[^\S\r\n]|--[^\r\n]*|# [^\r\n]*)*+")


def fill_values(predicted: str) -> str:
    """The prediction as both measures see it: the letters `value`, a placeholder, become 1."""
    return predicted.replace("value", "1")


def runnable(sql: str) -> str:
    """The statement that runs: the first one, operators joined, MySQL's current year 2020."""
    return _CURRENT_YEAR.sub("2020", "".join(_first_statement(_joined(sql))))


def comparable(sql: str) -> str:
    """The statement whose result is compared: `runnable` without its DISTINCTs.

    Results are compared as bags; dropping DISTINCT on both sides asks whether the rows behind
    them agree.
    """
    pieces = _first_statement(_joined(sql))
    kept = (piece for piece in pieces if piece.lower() != "distinct")
    return _CURRENT_YEAR.sub("2020", "".join(kept))


def is_ordered(gold: str) -> bool:
    """Whether the order of the rows counts: the gold query says `order by` anywhere."""
    return "order by" in comparable(gold).lower()


def _joined(sql: str) -> str:
    return _SPLIT_OPERATOR.sub(r"\1=", sql)


def _first_statement(sql: str) -> Iterator[str]:
    for piece in _PIECE.finditer(sql):
        yield piece.group()
        if piece.group() == ";":
            # A comment behind it is part of the statement, and SQLite refuses those with #.
            yield _REST_OF_LINE.match(sql, piece.end()).group().rstrip()
            return

"""Gold SQL in one spelling, so that a small model need not learn several.

Spider's annotators write `count(*)  >=  2`, `COUNT (*)>=2`, `"France"` and `'France'`.
Here keywords and functions are upper case, names are spelt as in the schema, text stands in
single quotes (SQLite takes an invented name in double quotes for text), and spaces stand only
where they have to. The query's meaning stays: a test runs both.
"""

import re
from collections.abc import Sequence

from t2sql.data.schema import Schema
from t2sql.sql.names import fold, quote_name, quoted_text
from t2sql.sql.tokens import Token, first_statement, tokenize

_KEYWORD_LIST = """
ALL AND AS ASC BETWEEN BY CASE CAST CROSS DESC DISTINCT ELSE END EXCEPT EXISTS FROM GROUP
HAVING IN INNER INTERSECT IS JOIN LEFT LIKE LIMIT NATURAL NOT NULL OFFSET ON OR ORDER OUTER
SELECT THEN UNION USING WHEN WHERE WITH
"""
_KEYWORDS = frozenset(_KEYWORD_LIST.split())
_FUNCTION_LIST = """
ABS AVG COALESCE COUNT DATE IFNULL LENGTH LOWER MAX MIN ROUND STRFTIME SUBSTR SUM TOTAL UPPER
"""
_FUNCTIONS = frozenset(_FUNCTION_LIST.split())
_OPERATORS = ("!=", "<>", ">=", "<=", "==", "||")
_ALIAS = re.compile(r"[tT]\d+")


def normal_sql(query: str, schema: Schema) -> str:
    """The first statement of a query over the schema, in one spelling, without a semicolon."""
    tokens = [
        token
        for token in tokenize(first_statement(query))
        if token.kind not in ("space", "comment")
    ]
    spellings = _spellings(tokens, schema)
    words: list[str] = []
    for index, token in enumerate(tokens):
        before = words[-1] if words else ""
        after = tokens[index + 1].text if index + 1 < len(tokens) else ""
        words.append(_word(token, before, after, spellings))
    return _join(words, tokens)


def _spellings(tokens: Sequence[Token], schema: Schema) -> dict[str, str]:
    """How the schema writes names, by their folded form; names of the query's tables win."""
    used = {fold(token.text.strip('"`')) for token in tokens}
    tables = sorted(schema.tables, key=lambda table: fold(table.name) not in used)
    spellings: dict[str, str] = {}
    for table in tables:
        for column in table.columns:
            spellings.setdefault(fold(column.name), column.name)
    for table in tables:
        spellings.setdefault(fold(table.name), table.name)
    # After FROM and JOIN, and before a dot, a name is a table's.
    return spellings | {f"table {fold(table.name)}": table.name for table in tables}


def _word(token: Token, before: str, after: str, spellings: dict[str, str]) -> str:
    if token.kind == "name":
        name = token.text[1:-1].replace(token.text[0] * 2, token.text[0])
        spelt = spellings.get(fold(name))
        if spelt is None and token.text[0] == '"':
            return quoted_text(name)
        return quote_name(spelt or name)
    if token.kind != "word":
        return token.text
    if before != "." and token.upper in _KEYWORDS:
        return token.upper
    if after == "(" and token.upper in _FUNCTIONS:
        return token.upper
    if _ALIAS.fullmatch(token.text):
        return token.upper
    key = fold(token.text)
    if before in ("FROM", "JOIN") or after == ".":
        return spellings.get(f"table {key}", token.text)
    return spellings.get(key, token.text)


def _join(words: Sequence[str], tokens: Sequence[Token]) -> str:
    parts: list[str] = []
    for index, word in enumerate(words):
        if parts and not _tight(words, tokens, index):
            parts.append(" ")
        parts.append(word)
    return "".join(parts)


def _tight(words: Sequence[str], tokens: Sequence[Token], index: int) -> bool:
    """Whether no space goes before a word."""
    left, right = words[index - 1], words[index]
    touching = tokens[index - 1].end == tokens[index].start
    if left in ("(", ".") or right in (")", ",", "."):
        return True
    if right == "(":
        return tokens[index - 1].kind == "word" and left not in _KEYWORDS
    if left == "-" and touching and index >= 2:
        return not (words[index - 2][-1:].isalnum() or words[index - 2] == ")")
    return touching and left + right in _OPERATORS

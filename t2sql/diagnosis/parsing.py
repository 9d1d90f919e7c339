"""From text to sqlglot's syntax tree, within bounds that hostile text cannot pass."""

import logging

import sqlglot
from sqlglot import exp

from t2sql.sql.tokens import tokenize

# Spider's longest query has under 200 tokens and 3 levels.
MAX_CHARACTERS = 20_000
MAX_TOKENS = 2_000
MAX_DEPTH = 25
# For each one sqlglot reads all that follows twice, in search of a condition that stands later.
MAX_BARE_JOINS = 8

# sqlglot warns about what it cannot translate; nothing is translated here.
logging.getLogger("sqlglot").setLevel(logging.ERROR)


class TooComplexError(Exception):
    """The query is beyond the bounds within which queries are compared."""


def parse(sql: str) -> exp.Query | None:
    """Parses the first statement of `sql`; None where sqlglot finds no query in it.

    Raises:
      TooComplexError: the text is too long or too deeply nested to compare.
    """
    _check_size(sql)
    if "\0" in sql:  # No SQLite reads what holds one; sqlglot takes it for a letter.
        return None
    try:
        statements = sqlglot.parse(sql, dialect="sqlite")
    except (sqlglot.errors.SqlglotError, ValueError, TypeError, AttributeError, KeyError):
        # Text that is no SQL has made sqlglot fail in ways of its own.
        return None
    except RecursionError:
        raise TooComplexError("it is nested too deeply") from None
    statement = next((tree for tree in statements if tree is not None), None)
    return _unwrapped(statement)


def _unwrapped(statement: exp.Expression | None) -> exp.Query | None:
    while isinstance(statement, exp.Subquery) and not statement.args.get("alias"):
        statement = statement.this
    is_query = isinstance(statement, exp.Select | exp.SetOperation)
    # sqlglot reads the `{name}` of an unfilled template, and `<= ALL (...)`, as no SQLite does.
    return statement if is_query and not statement.find(exp.Struct, exp.All, exp.Any) else None


def _check_size(sql: str) -> None:
    if len(sql) > MAX_CHARACTERS:
        raise TooComplexError(f"it has {len(sql):,} characters")
    depth, tokens, bare_joins = 0, 0, 0
    for token in tokenize(sql):
        tokens += token.kind != "space"
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        bare_joins = max(bare_joins + {"JOIN": 1, "ON": -1, "USING": -1}.get(token.upper, 0), 0)
        if depth > MAX_DEPTH:
            raise TooComplexError(f"it is nested more than {MAX_DEPTH} levels deep")
        if tokens > MAX_TOKENS:
            raise TooComplexError(f"it has more than {MAX_TOKENS:,} words")
        if bare_joins > MAX_BARE_JOINS:
            raise TooComplexError(f"it has more than {MAX_BARE_JOINS} joins without a condition")

"""What the page shows of one example beyond its row: queries laid out, first result rows."""

import math
from typing import Any

from t2sql.diagnosis import parsing
from t2sql.evaluation.sandbox.sqlite_sandbox import ExecutionResult
from t2sql.sql import tokens

SHOWN_ROWS = 10
_CELL_CHARS = 200
_TEXT_CHARS = 20_000


_CLAUSES = {"SELECT", "FROM", "JOIN", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT"}
_CLAUSES |= {"UNION", "INTERSECT", "EXCEPT"}


def laid_out(sql: str) -> str:
    """A query that runs, over several lines; unchanged where it is no single statement."""
    try:
        query = parsing.parse(sql) if ";" not in sql.rstrip("; \n") else None
    except parsing.TooComplexError:
        query = None
    return broken_up(sql) if query is None else query.sql(dialect="sqlite", pretty=True)


def broken_up(sql: str) -> str:
    """Any text, with line breaks before clauses; nothing but white space ever changes."""
    text = shortened(sql)
    if "\n" in text.strip():
        return text
    parts = []
    for token in tokens.tokenize(text):
        parts.append("\n" if parts and token.upper in _CLAUSES else "")
        parts.append(text[token.start : token.end])
    return "".join(parts)


def shortened(text: str) -> str:
    """The text, or its start and how much was left out."""
    if len(text) <= _TEXT_CHARS:
        return text
    return f"{text[:_TEXT_CHARS]}\n… {len(text) - _TEXT_CHARS:,} more characters"


def shown_result(result: ExecutionResult | None) -> dict[str, Any] | None:
    """A result as the page shows it: its first rows, with cells that JSON can hold."""
    if result is None:
        return None
    return {
        "status": result.status,
        "message": shortened(result.message),
        "columns": [_cell(name) for name in result.columns],
        "rows": [[_cell(value) for value in row] for row in result.rows[:SHOWN_ROWS]],
        "total": result.row_count,
    }


def _cell(value: Any) -> str | int | float | None:
    """A SQLite value that JSON and JavaScript hold without loss, or as text."""
    if isinstance(value, bytes):
        value = f"x'{value[:_CELL_CHARS].hex()}'"
    elif isinstance(value, int | float) and not _fits_a_double(value):
        value = str(value)
    if isinstance(value, str) and len(value) > _CELL_CHARS:
        return f"{value[:_CELL_CHARS]}…"
    return value


def _fits_a_double(value: float) -> bool:
    return math.isfinite(value) and (isinstance(value, float) or abs(value) <= 2**53)

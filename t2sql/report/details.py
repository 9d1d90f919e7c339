"""What the page shows of one example beyond its row: queries laid out, first result rows."""

import math
from typing import Any

from t2sql.scoring.diagnosis import parsing
from t2sql.scoring.sandbox import ExecutionResult

SHOWN_ROWS = 10
_CELL_CHARS = 200
_TEXT_CHARS = 20_000
_EXACT_IN_A_DOUBLE = 2**53


def laid_out(sql: str) -> str:
    """The query over several lines; as it stands where it cannot be parsed as one statement."""
    try:
        query = parsing.parse(sql) if ";" not in sql.rstrip("; \n") else None
    except parsing.TooComplexError:
        query = None
    return shortened(sql) if query is None else query.sql(dialect="sqlite", pretty=True)


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
    elif isinstance(value, float) and not math.isfinite(value):
        value = str(value)
    elif isinstance(value, int) and abs(value) > _EXACT_IN_A_DOUBLE:
        value = str(value)
    if isinstance(value, str) and len(value) > _CELL_CHARS:
        return f"{value[:_CELL_CHARS]}…"
    return value

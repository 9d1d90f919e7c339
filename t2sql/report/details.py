"""What the page shows of one example beyond its row: queries laid out, first result rows."""

import math
from typing import Any

import sqlglot
from sqlglot import errors as sqlglot_errors

SHOWN_ROWS = 10
_CELL_CHARS = 200
_TEXT_CHARS = 20_000
# Longer SQL is shown as it is: laying it out could take as long as it likes.
_LAYOUT_CHARS = 5_000
_EXACT_IN_A_DOUBLE = 2**53


def laid_out(sql: str) -> str:
    """The query over several lines; as it stands where it cannot be parsed."""
    if len(sql) > _LAYOUT_CHARS:
        return shortened(sql)
    try:
        statements = sqlglot.parse(sql, read="sqlite")
        return ";\n".join(
            statement.sql(dialect="sqlite", pretty=True) for statement in statements if statement
        )
    except (sqlglot_errors.SqlglotError, RecursionError):
        return sql


def shortened(text: str) -> str:
    """The text, or its start and how much was left out."""
    if len(text) <= _TEXT_CHARS:
        return text
    return f"{text[:_TEXT_CHARS]}\n… {len(text) - _TEXT_CHARS:,} more characters"


def shown_result(result: Any) -> dict[str, Any] | None:
    """An `ExecutionResult` as the page shows it: its first rows, cells as JSON values."""
    if result is None:
        return None
    rows = result.rows or []
    return {
        "status": result.status,
        "message": shortened(result.message or ""),
        "columns": [_cell(name) for name in result.columns or []],
        "rows": [[_cell(value) for value in row] for row in rows[:SHOWN_ROWS]],
        "total": len(rows),
    }


def _cell(value: Any) -> Any:
    """A SQLite value that JSON and JavaScript hold without loss, or as text."""
    if value is None:
        return None
    if isinstance(value, bytes):
        value = f"x'{value[:_CELL_CHARS].hex()}'"
    elif isinstance(value, float) and not math.isfinite(value):
        value = str(value)
    elif isinstance(value, int) and abs(value) > _EXACT_IN_A_DOUBLE:
        value = str(value)
    if isinstance(value, str) and len(value) > _CELL_CHARS:
        return f"{value[:_CELL_CHARS]}…"
    return value

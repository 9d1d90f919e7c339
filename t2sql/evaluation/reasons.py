"""Why two results do not agree: the rule of the comparison that decided, in a sentence.

The rules are those of `execution_accuracy`; docs/metrics.md lists them by name. They matter most
where a result looks like gold's and is not: the text '3' is not the number 3, and a row that
comes twice is not one that comes once.
"""

import collections
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from t2sql.evaluation.execution_accuracy import results_match, sorted_row
from t2sql.evaluation.sandbox.results import ExecutionResult, Row
from t2sql.evaluation.ties import Ties
from t2sql.evaluation.verdict import Reason

_SHOWN_CHARACTERS = 60
_BLANK = (None, 0, "", "NULL", "null", "None")


def explain_difference(
    gold: ExecutionResult, predicted: ExecutionResult, *, ordered: bool, ties: Ties | None
) -> Reason:
    """Says which rule tells two results apart that do not agree.

    Args:
      gold: the gold query's result, all rows of it.
      predicted: the prediction's result.
      ordered: whether the order of the rows counts.
      ties: what gold's own order and LIMIT leave open, where known.
    """
    rows, others = gold.rows, predicted.rows
    if not predicted.columns:
        return Reason("no_table", "the prediction returns no table")
    if rows and others and len(rows[0]) != len(others[0]):
        counts = f"{len(rows[0]):,} in gold, {len(others[0]):,} in the prediction"
        return Reason("column_count", f"another number of columns: {counts}")
    if ordered and results_match(rows, others, ordered=False):
        return _explain_order(rows, others, ties)
    if results_match(tuple(dict.fromkeys(rows)), tuple(dict.fromkeys(others)), ordered=False):
        return _explain_repetition(rows, others)
    if len(rows) != len(others):
        counts = f"{len(rows):,} in gold, {len(others):,} in the prediction"
        return Reason("row_count", f"another number of rows: {counts}")
    if ties is not None and ties.allow_rows(others):
        message = "the prediction returns other rows that tie where gold's LIMIT cuts"
        return Reason("tie_at_limit", message)
    return _explain_look_alikes(rows, others, ordered) or _explain_values(rows, others)


def _explain_order(rows: Sequence[Row], others: Sequence[Row], ties: Ties | None) -> Reason:
    if ties is not None and ties.allow_order(others):
        message = "the rows are gold's, in another order where gold's ORDER BY leaves it open"
        return Reason("tie_in_order", message)
    at = next((i for i, pair in enumerate(zip(rows, others, strict=True)) if pair[0] != pair[1]), 0)
    where = f"row {at + 1:,} is {_shown(rows[at])} in gold, {_shown(others[at])} in the prediction"
    without_null = [[row for row in side if None not in row] for side in (rows, others)]
    if len(without_null[0]) < len(rows) and results_match(*without_null, ordered=True):
        message = f"the order is gold's but for NULL (NULLS FIRST or LAST): {where}"
        return Reason("null_order", message)
    return Reason("row_order", f"gold says ORDER BY, so the order of rows counts: {where}")


def _explain_repetition(rows: Sequence[Row], others: Sequence[Row]) -> Reason:
    bag, other_bag = collections.Counter(rows), collections.Counter(others)
    repeated = next((row for row in bag if bag[row] != other_bag[row]), None)
    if repeated in other_bag:
        counts = f"{_shown(repeated)} {bag[repeated]:,} times in gold, {other_bag[repeated]:,} in"
    else:  # The columns stand in another order.
        counts = f"{len(rows):,} rows in gold, {len(others):,} in"
    message = f"the rows are gold's, but not as often: {counts} the prediction"
    return Reason("repeated_rows", message)


def _explain_look_alikes(
    rows: Sequence[Row], others: Sequence[Row], ordered: bool
) -> Reason | None:
    """The first difference between values that, once ignored, makes the results agree."""
    for rule, words, alike in _LOOK_ALIKES:
        changed = [[tuple(map(alike, row)) for row in side] for side in (rows, others)]
        if results_match(*changed, ordered=ordered):
            return Reason(rule, words + _example(rows, others, alike))
    if collections.Counter(map(sorted_row, rows)) == collections.Counter(map(sorted_row, others)):
        message = "each row has gold's values, but no one order of the columns suits all rows"
        return Reason("column_order", message)
    return None


def _example(rows: Iterable[Row], others: Iterable[Row], alike: Callable[[Any], Any]) -> str:
    """Two values, of gold and of the prediction, that are alike and not equal."""
    values, other_values = ({value for row in side for value in row} for side in (rows, others))
    alikes = {alike(value): value for value in other_values - values}
    for value in values - other_values:
        if alike(value) in alikes:
            other = alikes[alike(value)]
            return f": {_shown((value,))} in gold, {_shown((other,))} in the prediction"
    return ""


def _explain_values(rows: Sequence[Row], others: Sequence[Row]) -> Reason:
    bag, other_bag = (collections.Counter(map(sorted_row, side)) for side in (rows, others))
    missing = next((row for row in rows if sorted_row(row) not in other_bag), None)
    if missing is None:
        return Reason("values", "the rows hold other values")
    shared = (bag & other_bag).total()
    message = f"gold returns {_shown(missing)}, the prediction does not"
    if shared:
        message += f"; {shared:,} of {len(rows):,} rows agree"
    return Reason("values", message)


def _as_number(value: Any) -> Any:
    text = value.decode(errors="ignore") if isinstance(value, bytes) else value
    try:
        return float(text) if isinstance(text, str) else text
    except ValueError:
        return text


def _plain_text(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return " ".join(unicodedata.normalize("NFKC", value).casefold().split())


def _rounded(value: Any) -> Any:
    return float(f"{value:.9g}") if isinstance(value, float) else value


def _to_cents(value: Any) -> Any:
    return round(value, 2) if isinstance(value, float) else value


def _without_blanks(value: Any) -> Any:
    return None if value in _BLANK else value


def _plainest(value: Any) -> Any:
    return _without_blanks(_to_cents(_as_number(_plain_text(value))))


# (rule, what differs, what makes values equal that differ in this alone)
_LOOK_ALIKES: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    (
        "integer_or_real",
        "the values are equal, but 1 and 1.0 sort in another way among the values of a row, which "
        "the comparison sorts as text",
        lambda value: float(value) if isinstance(value, int) and float(value) == value else value,
    ),
    ("value_types", "values look equal and are of other types", _as_number),
    ("text_form", "texts differ in case, white space or Unicode form alone", _plain_text),
    ("rounding", "numbers differ after the ninth digit alone", _rounded),
    ("rounding", "numbers are equal when rounded to two decimals", _to_cents),
    ("blank_values", "NULL, an empty text and 0 are different values", _without_blanks),
    ("look_alike", "values look alike and differ in type, spelling or rounding", _plainest),
)


def _shown(row: Row) -> str:
    values = ", ".join(_shown_value(value) for value in row)
    text = values if len(row) == 1 else f"({values})"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _shown_value(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"x'{value[:_SHOWN_CHARACTERS].hex()}'"
    return f"'{value[:_SHOWN_CHARACTERS]}'" if isinstance(value, str) else str(value)

"""Execution accuracy: whether two results agree, as the official evaluator sees it.

Results are bags of rows, or lists where the gold query orders; the columns may stand in any
order, the same for all rows. Values are equal as in Python, so 1 equals 1.0.
"""

import collections
from collections.abc import Iterator, Sequence
from typing import Any

from t2sql.evaluation.sandbox.results import Row


def results_match(
    gold_rows: Sequence[Row], predicted_rows: Sequence[Row], *, ordered: bool
) -> bool:
    """Whether some order of the predicted columns makes the two results equal.

    Args:
      gold_rows: the rows of the gold query.
      predicted_rows: the rows of the prediction.
      ordered: whether the order of the rows counts.
    """
    if not gold_rows and not predicted_rows:
        return True
    if len(gold_rows) != len(predicted_rows) or len(gold_rows[0]) != len(predicted_rows[0]):
        return False
    if not _same_values_by_row(gold_rows, predicted_rows, ordered):
        return False
    gold, predicted = _columns(gold_rows), _columns(predicted_rows)
    if ordered:
        return collections.Counter(gold) == collections.Counter(predicted)
    return _Pairing(gold, predicted).exists()


def _same_values_by_row(left: Sequence[Row], right: Sequence[Row], ordered: bool) -> bool:
    """Whether the rows agree when each is sorted: a quick no, and more than that.

    The official evaluator sorts a row by the text of its values and their types. (1, 10) and
    (1.0, 10) sort differently, so they do not agree although 1 equals 1.0; nor do they here.
    """
    left_rows, right_rows = map(sorted_row, left), map(sorted_row, right)
    if ordered:
        return all(one == other for one, other in zip(left_rows, right_rows, strict=True))
    return set(left_rows) == set(right_rows)


def sorted_row(row: Row) -> Row:
    """The row's values in an order of their own, whichever column they stand in."""
    return tuple(sorted(row, key=_sort_key)) if len(row) > 1 else row


def _sort_key(value: Any) -> str:
    return f"{value}{type(value)}"


def _columns(rows: Sequence[Row]) -> list[Row]:
    return list(zip(*rows, strict=True))


class _Pairing:
    """The search for an order of columns that makes two bags of rows equal.

    Columns are paired one after the other; after each, the rows cut to the columns paired so
    far must be equal as bags. Each such cut is a partition of the rows into classes of equal
    ones, refined column by column, so a step is linear in the rows.
    """

    def __init__(self, gold: Sequence[Row], predicted: Sequence[Row]):
        self._gold = gold
        self._predicted = predicted
        self._candidates = self._by_content()

    def exists(self) -> bool:
        """Whether there is one."""
        if not all(self._candidates):
            return False
        rows = len(self._gold[0])
        return self._extend(0, [0] * rows, [0] * rows, frozenset())

    def _by_content(self) -> list[list[int]]:
        """For each gold column, the predicted columns that hold its bag of values."""
        bags = [collections.Counter(column) for column in self._predicted]
        return [
            [index for index, bag in enumerate(bags) if bag == collections.Counter(column)]
            for column in self._gold
        ]

    def _extend(
        self, depth: int, gold_classes: list[int], predicted_classes: list[int], used: frozenset
    ) -> bool:
        """Whether the columns from `depth` on can be paired, given the rows' classes so far."""
        if depth == len(self._gold):
            return True
        numbers: dict[tuple[int, Any], int] = {}
        refined = _refine(gold_classes, self._gold[depth], numbers)
        expected = collections.Counter(refined)
        for index in self._untried(depth, used):
            other = _refine(predicted_classes, self._predicted[index], numbers)
            if collections.Counter(other) == expected and self._extend(
                depth + 1, refined, other, used | {index}
            ):
                return True
        return False

    def _untried(self, depth: int, used: frozenset) -> Iterator[int]:
        """Candidates not yet used; of equal columns only one, for they are interchangeable."""
        seen = set()
        for index in self._candidates[depth]:
            if index not in used and self._predicted[index] not in seen:
                seen.add(self._predicted[index])
                yield index


def _refine(classes: list[int], column: Row, numbers: dict[tuple[int, Any], int]) -> list[int]:
    """The classes of rows that are equal so far and in this column too.

    `numbers` gives each class its number on both sides.
    """
    return [numbers.setdefault(key, len(numbers)) for key in zip(classes, column, strict=True)]

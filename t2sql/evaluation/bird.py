"""BIRD's measures, as its own scripts compute them (https://github.com/bird-bench/mini_dev).

Queries run as they are written. EX compares sets of rows: their order and repetition do not
count, the order of columns does. Soft-F1 pairs the different rows by their position and counts
the cells that two rows share. R-VES rewards a right answer by how long it takes beside gold.
"""

import math
from collections.abc import Callable, Sequence

from t2sql.evaluation.sandbox.results import ExecutionResult, Row
from t2sql.evaluation.verdict import Reason

# The levels of its questions, as its scripts list them.
DIFFICULTIES = ("simple", "moderate", "challenging")
# Seconds that gold and prediction may take together.
SECONDS = 30.0
# How often both are timed for R-VES.
TIMINGS = 100
# The reward of a right answer whose gold takes so many times its own time, or more.
_REWARDS = ((2.0, 1.25), (1.0, 1.0), (0.5, 0.75), (0.25, 0.5))
_LEAST_REWARD = 0.25


def results_agree(gold: ExecutionResult, predicted: ExecutionResult, seconds: float) -> bool:
    """EX: whether both run within `seconds` together and give the same set of rows."""
    if not (gold.ok and predicted.ok) or gold.seconds + predicted.seconds > seconds:
        return False
    return set(gold.rows) == set(predicted.rows)


def explain(gold: ExecutionResult, predicted: ExecutionResult, seconds: float) -> Reason:
    """Why two results do not agree."""
    if not predicted.ok:
        return Reason("prediction_fails", f"the prediction does not run: {predicted.message}")
    if gold.seconds + predicted.seconds > seconds:
        return Reason("both_too_slow", f"gold and prediction take more than {seconds:g} s together")
    missing = len(set(gold.rows) - set(predicted.rows))
    extra = len(set(predicted.rows) - set(gold.rows))
    return Reason(
        "row_sets",
        f"the sets of rows differ: {missing:,} of gold's are missing, {extra:,} are not gold's",
    )


def soft_f1(gold: Sequence[Row], predicted: Sequence[Row]) -> float:
    """Soft-F1 of two results, 0 to 1; 1 where both are empty."""
    if not gold and not predicted:
        return 1.0
    gold, predicted = list(dict.fromkeys(gold)), list(dict.fromkeys(predicted))
    shared = wrong = missing = 0.0
    for gold_row, row in zip(gold, predicted, strict=False):
        columns = len(gold_row)
        shared += sum(value in gold_row for value in row) / columns
        wrong += sum(value not in gold_row for value in row) / columns
        missing += sum(value not in row for value in gold_row) / columns
    missing += max(0, len(gold) - len(predicted))
    wrong += max(0, len(predicted) - len(gold))
    precision = shared / (shared + wrong) if shared + wrong else 0.0
    recall = shared / (shared + missing) if shared + missing else 0.0
    both = precision + recall
    return 2 * precision * recall / both if both else 0.0


def reward(time_ratios: Sequence[float]) -> float:
    """R-VES of one right answer, from gold's time over the answer's, timed again and again.

    Ratios of three standard deviations from their mean or more are left out.
    """
    mean = sum(time_ratios) / len(time_ratios)
    spread = 3 * math.sqrt(sum((ratio - mean) ** 2 for ratio in time_ratios) / len(time_ratios))
    kept = [ratio for ratio in time_ratios if mean - spread < ratio < mean + spread]
    # Where all are equal the script keeps none, and fails; here all are kept.
    ratio = sum(kept) / len(kept) if kept else mean
    level = next((value for least, value in _REWARDS if ratio >= least), _LEAST_REWARD)
    return math.sqrt(level)


def timed_ratios(
    run_gold: Callable[[], ExecutionResult], run_predicted: Callable[[], ExecutionResult]
) -> list[float]:
    """Gold's time over the prediction's, `TIMINGS` times."""
    ratios = []
    for _ in range(TIMINGS):
        predicted = run_predicted().seconds
        ratios.append(run_gold().seconds / max(predicted, 1e-9))
    return ratios

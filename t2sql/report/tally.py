"""Counts over cases, one at a time: memory grows with groups, not with cases."""

import collections
import dataclasses
from typing import Any

from t2sql.evaluation.bird import DIFFICULTIES
from t2sql.evaluation.hardness import HARDNESS
from t2sql.evaluation.verdict import Verdict
from t2sql.report.case import Answer, Case
from t2sql.report.statistics import Share, mcnemar

# BIRD's measures that are no share of the examples but a mean over them, 0 to 1.
_MEANS = ("soft_f1", "ves")


@dataclasses.dataclass
class Scores:
    """The measures over one group of examples; `with_rows`: on databases that hold rows."""

    examples: int = 0
    evaluated: int = 0
    with_rows: int = 0
    execution: int = 0
    execution_with_rows: int = 0
    exact_match: int = 0
    valid: int = 0
    soft_f1: list[float] = dataclasses.field(default_factory=list)
    ves: list[float] = dataclasses.field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        """Counts one verdict."""
        self.examples += 1
        self.evaluated += verdict.execution is not None
        self.execution += verdict.execution is True
        if not verdict.db_empty:
            self.with_rows += verdict.execution is not None
            self.execution_with_rows += verdict.execution is True
        self.exact_match += verdict.exact_match is True
        self.valid += verdict.valid
        for name in _MEANS:
            if (value := getattr(verdict, name)) is not None:
                getattr(self, name).append(value)

    def to_json(self) -> dict[str, Any]:
        """Counts, shares and intervals; examples without gold are in `valid` only."""
        return {
            "examples": self.examples,
            "execution": Share(self.execution, self.evaluated).to_json(),
            "execution_with_rows": Share(self.execution_with_rows, self.with_rows).to_json(),
            "exact_match": Share(self.exact_match, self.evaluated).to_json(),
            "valid": Share(self.valid, self.examples).to_json(),
        } | {name: sum(values) / len(values) for name in _MEANS if (values := getattr(self, name))}


class Tally:
    """All counts of one system."""

    def __init__(self) -> None:
        self.all = Scores()
        self.with_rows = Scores()
        self.hardness: dict[str, Scores] = collections.defaultdict(Scores)
        self.database: dict[str, Scores] = collections.defaultdict(Scores)
        self.feature: dict[tuple[str, str], Scores] = collections.defaultdict(Scores)
        self.errors: collections.Counter[str] = collections.Counter()
        self.statuses: collections.Counter[str] = collections.Counter()
        self.diagnosed = 0
        self._empty: set[str] = set()

    def add(self, case: Case, answer: Answer) -> None:
        """Counts one of the case's answers."""
        db_id, verdict = case.example.db_id, answer.verdict
        groups = [self.all, self.database[db_id]]
        if verdict.db_empty:
            self._empty.add(db_id)
        else:
            groups.append(self.with_rows)
        if verdict.hardness is not None:
            groups.append(self.hardness[verdict.hardness])
        groups += [self.feature[feature] for feature in case.features.items()]
        for scores in groups:
            scores.add(verdict)
        self.statuses[answer.status] += 1
        self.errors.update(answer.errors)
        self.diagnosed += answer.is_diagnosed

    def accuracy(self) -> dict[str, Any]:
        """`accuracy` of `report.json`."""
        return {"all": self.all.to_json(), "with_rows": self.with_rows.to_json()}

    def by(self) -> dict[str, Any]:
        """`by` of `report.json`: the same measures for each group."""
        features: dict[str, dict[str, Any]] = {}
        for dimension, group in sorted(self.feature, key=_in_order):
            scores = self.feature[dimension, group].to_json()
            features.setdefault(dimension, {})[group] = scores
        return {
            "hardness": {
                name: self.hardness[name].to_json() for name in HARDNESS if name in self.hardness
            },
            "database": {
                name: {**scores.to_json(), "empty": name in self._empty}
                for name, scores in sorted(self.database.items())
            },
            "feature": features,
        }

    def error_shares(self) -> dict[str, Any]:
        """`errors` of `report.json`: most frequent first, of the diagnosed examples."""
        ordered = sorted(self.errors.items(), key=lambda item: (-item[1], item[0]))
        return {error: Share(count, self.diagnosed).to_json() for error, count in ordered}


class Changes:
    """What changed from the baseline to the predictions, case by case."""

    def __init__(self) -> None:
        self._execution = {"all": collections.Counter(), "with_rows": collections.Counter()}
        self._exact: collections.Counter[tuple[bool, bool]] = collections.Counter()
        self._hardness: dict[str, collections.Counter] = collections.defaultdict(
            collections.Counter
        )
        self._errors: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
        self._changed: dict[str, list[str]] = {"better": [], "worse": []}

    def add(self, case: Case) -> None:
        """Counts one case that has a baseline; one without gold changes nothing."""
        before, now = case.baseline.verdict, case.answer.verdict
        if now.execution is None:
            return
        pair = (before.execution, now.execution)
        self._execution["all"][pair] += 1
        if not now.db_empty:
            self._execution["with_rows"][pair] += 1
        self._exact[before.exact_match, now.exact_match] += 1
        self._hardness[now.hardness][pair] += 1
        errors_before, errors_now = case.baseline.errors, case.answer.errors
        for error in {*errors_before, *errors_now}:
            self._errors[error][error in errors_before, error in errors_now] += 1
        if case.change:
            self._changed[case.change].append(case.example.example_id)

    def to_json(self) -> dict[str, Any]:
        """The part of `baseline` in `report.json` that compares."""
        errors = {error: _error_change(pairs) for error, pairs in self._errors.items()}
        return {
            "execution": _contingency(self._execution["all"]),
            "with_rows": _contingency(self._execution["with_rows"]),
            "exact_match": _contingency(self._exact),
            "hardness": {
                name: _contingency(self._hardness[name])
                for name in HARDNESS
                if name in self._hardness
            },
            "errors": dict(sorted(errors.items(), key=_most_improved_first)),
            **self._changed,
        }


def _most_improved_first(item: tuple[str, dict[str, Any]]) -> tuple[int, str]:
    error, change = item
    return change["now"] - change["baseline"], error


def _in_order(item: tuple[str, str]) -> tuple[str, bool, int, str]:
    """None first; the levels of BIRD from simple to challenging, after those of other sets."""
    dimension, group = item
    is_level = dimension == "difficulty" and group in DIFFICULTIES
    return dimension, group != "none", DIFFICULTIES.index(group) if is_level else -1, group


def _contingency(pairs: collections.Counter) -> dict[str, Any]:
    """The 2 x 2 table of (right before, right now) with McNemar's exact test."""
    better, worse = pairs[False, True], pairs[True, False]
    total = sum(pairs.values())
    return {
        "both_right": pairs[True, True],
        "better": better,
        "worse": worse,
        "both_wrong": pairs[False, False],
        "points": 100 * (better - worse) / total if total else 0.0,
        "p_value": mcnemar(better, worse),
    }


def _error_change(pairs: collections.Counter) -> dict[str, Any]:
    gone, new, kept = pairs[True, False], pairs[False, True], pairs[True, True]
    return {
        "baseline": gone + kept,
        "now": new + kept,
        "gone": gone,
        "new": new,
        "p_value": mcnemar(new, gone),
    }

"""`report.json`: every number of the report, once; all other outputs are made from it.

docs/report.md describes each field.
"""

import collections
import datetime
import platform
import sqlite3
from typing import Any

import sqlglot

import t2sql
from t2sql.report import predictions as predictions_lib
from t2sql.report import provenance, tally
from t2sql.report.judged import Judged
from t2sql.report.questions import Questions

FORMAT_VERSION = 1


class Summary:
    """Counts judged examples as they come and says what they amount to."""

    def __init__(self, compared: bool):
        """`compared`: whether there is a baseline."""
        self._now = tally.Tally()
        self._before = tally.Tally() if compared else None
        self._comparison = tally.Comparison() if compared else None
        self._empty: collections.Counter[str] = collections.Counter()
        self._gold_failures: list[dict[str, str]] = []
        self._unjudged = 0

    def add(self, example: Judged) -> None:
        """Counts one example."""
        self._now.add(example, example.verdict, example.status)
        if self._before is not None:
            self._before.add(example, example.baseline, example.baseline_status)
            self._comparison.add(example)
        if example.empty_database:
            self._empty[example.db_id] += 1
        if example.gold_error is not None:
            failure = {"example_id": example.example_id, "message": example.gold_error}
            self._gold_failures.append(failure)
        self._unjudged += example.verdict.execution is None

    def to_json(
        self,
        questions: Questions,
        predictions: predictions_lib.Predictions,
        baseline: predictions_lib.Predictions | None,
        *,
        command: str,
        several_files: dict[str, int],
        page_examples: int,
    ) -> dict[str, Any]:
        """The whole of `report.json`."""
        return {
            "format_version": FORMAT_VERSION,
            "created": _now(),
            "command": command,
            "versions": _versions(),
            "system": _system(predictions, self._now),
            "data": {
                "path": str(questions.root),
                "split": questions.split,
                "gold": str(questions.gold.path) if questions.gold is not None else None,
                "examples": len(questions),
                "databases": len(questions.db_ids),
                "empty_databases": dict(sorted(self._empty.items())),
                "several_files": several_files,
                "unjudged": self._unjudged,
                "gold_failures": self._gold_failures,
            },
            "accuracy": self._now.accuracy(),
            "by": self._now.by(),
            "diagnosed": self._now.diagnosed,
            "errors": self._now.error_shares(),
            "baseline": self._baseline(baseline) if baseline else None,
            "page": {"examples": page_examples},
        }

    def _baseline(self, baseline: predictions_lib.Predictions) -> dict[str, Any]:
        return {
            "system": _system(baseline, self._before),
            "accuracy": self._before.accuracy(),
            "by": self._before.by(),
            **self._comparison.to_json(),
        }


def _system(predictions: predictions_lib.Predictions, counts: tally.Tally) -> dict[str, Any]:
    return {
        "name": provenance.name(predictions.source, predictions.manifest),
        "kind": "file" if predictions.manifest is None else "run",
        "source": predictions.source,
        "cleaned": predictions.cleaned,
        "complete": not predictions.problems,
        "problems": [
            {"kind": problem.kind, "message": problem.message, "names": list(problem.names)}
            for problem in predictions.problems
        ],
        "notes": list(predictions.notes),
        "statuses": dict(sorted(counts.statuses.items())),
        "provenance": provenance.of_run(predictions.manifest),
    }


def _versions() -> dict[str, str]:
    return {
        "t2sql": t2sql.__version__,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "sqlglot": sqlglot.__version__,
    }


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")

"""`report.json`: every number of the report, once; all other outputs are made from it.

docs/report.md describes each field.
"""

import collections
import datetime
import platform
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import sqlglot

import t2sql
from t2sql.report import tally
from t2sql.report.case import Case
from t2sql.report.predictions import Predictions
from t2sql.report.questions import Questions

FORMAT_VERSION = 1


class Summary:
    """Counts cases as they come and says what they amount to."""

    def __init__(self, compared: bool):
        """`compared`: whether there is a baseline."""
        self._now = tally.Tally()
        self._before = tally.Tally() if compared else None
        self._changes = tally.Changes() if compared else None
        self._empty: collections.Counter[str] = collections.Counter()
        self._gold_failures: list[dict[str, str]] = []
        self._gold_counts: dict[str, collections.Counter] = collections.defaultdict(
            collections.Counter
        )
        self._unjudged = 0

    def add(self, case: Case) -> None:
        """Counts one case."""
        example, verdict = case.example, case.answer.verdict
        self._now.add(case, case.answer)
        if self._before is not None:
            self._before.add(case, case.baseline)
            self._changes.add(case)
        if verdict.db_empty:
            self._empty[example.db_id] += 1
        if example.query is not None:
            counts = self._gold_counts[example.db_id]
            counts["queries"] += 1
            counts["files"] = verdict.database_count
            failed = len(verdict.gold_failed_on)
            counts["failed_files"] = max(counts["failed_files"], failed)
            counts["failed"] += failed > 0 and 2 * failed >= verdict.database_count
        if case.gold_error is not None:
            failure = {"example_id": example.example_id, "message": case.gold_error}
            self._gold_failures.append(failure)
        self._unjudged += verdict.execution is None

    def to_json(
        self,
        questions: Questions,
        systems: Sequence[Predictions],
        *,
        command: str,
        notices: Sequence[str] = (),
        several_files: dict[str, int],
        page_examples: int,
    ) -> dict[str, Any]:
        """The whole of `report.json`.

        Args:
          questions: what was asked.
          systems: the predictions, and the baseline if there is one.
          command: the command line.
          notices: what was left out of the data, a sentence each.
          several_files: the number of SQLite files by db_id, where there is more than one.
          page_examples: how many examples the page holds.
        """
        predictions, *baseline = systems
        return {
            "format_version": FORMAT_VERSION,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "command": command,
            "versions": {
                "t2sql": t2sql.__version__,
                "python": platform.python_version(),
                "sqlite": sqlite3.sqlite_version,
                "sqlglot": sqlglot.__version__,
            },
            "system": _system(predictions, self._now),
            "data": {
                "path": str(questions.root),
                "split": questions.split,
                "gold": str(questions.gold.path) if questions.gold is not None else None,
                "examples": len(questions),
                "databases": len(questions.db_ids),
                "empty_databases": dict(sorted(self._empty.items())),
                "several_files": several_files,
                "notices": list(notices),
                "unusable_gold": self._unusable_gold(),
                "unjudged": self._unjudged,
                "gold_failures": self._gold_failures,
            },
            "accuracy": self._now.accuracy(),
            "by": self._now.by(),
            "diagnosed": self._now.diagnosed,
            "errors": self._now.error_shares(),
            "baseline": self._baseline(*baseline) if baseline else None,
            "page": {"examples": page_examples},
        }

    def _unusable_gold(self) -> dict[str, dict[str, int]]:
        """Databases that do not fit their gold queries, and what fails there.

        Where a database has several files, one query that fails on half of them tells; where it
        has one, most of its queries have to fail: a single one may be wrong itself.
        """
        return {
            db_id: dict(counts)
            for db_id, counts in sorted(self._gold_counts.items())
            if counts["failed"] > (0 if counts["files"] > 1 else counts["queries"] / 2)
        }

    def _baseline(self, baseline: Predictions) -> dict[str, Any]:
        return {
            "system": _system(baseline, self._before),
            "data": {
                "path": str(baseline.questions.root),
                "split": baseline.questions.split,
            },
            "accuracy": self._before.accuracy(),
            "by": self._before.by(),
            **self._changes.to_json(),
        }


def _system(predictions: Predictions, counts: tally.Tally) -> dict[str, Any]:
    return {
        "name": _name(predictions.source, predictions.manifest),
        "kind": "file" if predictions.manifest is None else "run",
        "source": predictions.source,
        "cleaned": predictions.cleaned,
        "complete": not predictions.problems,
        "problems": [
            {
                "kind": problem.kind,
                "message": ", ".join(filter(None, (problem.message, problem.handled))),
                "names": list(problem.names),
            }
            for problem in predictions.problems
        ],
        "notes": list(predictions.notes),
        "statuses": dict(sorted(counts.statuses.items())),
        "provenance": _provenance(predictions.manifest),
    }


def _provenance(manifest: Mapping[str, Any] | None) -> dict[str, Any]:
    """`system.provenance` of `report.json`: what made the predictions; {} for a file."""
    if manifest is None:
        return {}
    fingerprint, recorded = manifest["fingerprint"], manifest.get("recorded", {})
    model = fingerprint.get("model")
    model = model if isinstance(model, Mapping) else {}
    return {
        "model": model.get("name"),
        "weights_sha256": model.get("weights_sha256"),
        "adapter": _bare_name(fingerprint.get("adapter")),
        "adapter_source": recorded.get("model_adapter") or None,
        "prompt": _bare_name(fingerprint.get("prompt")),
        "sampling": fingerprint.get("sampling"),
        "dtype": fingerprint.get("dtype"),
        "prompt_buckets": fingerprint.get("prompt_buckets"),
        "data": fingerprint.get("data"),
        "command": recorded.get("command"),
        "commit": recorded.get("commit"),
        "hosts": recorded.get("hosts"),
        "versions": recorded.get("versions"),
        "created": recorded.get("created"),
    }


def _name(source: str, manifest: Mapping[str, Any] | None) -> str:
    """What to call a system: its model (and adapter), or its file."""
    last = PurePosixPath(source.rstrip("/")).name or source
    if manifest is None:
        return last
    provenance = _provenance(manifest)
    model = str(provenance["model"] or last)
    return f"{model} + adapter" if provenance["adapter"] else model


def _bare_name(value: Any) -> Any:
    """The name out of a name and its hash."""
    return value.get("name", value) if isinstance(value, Mapping) else value

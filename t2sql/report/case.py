"""One question with its answers: what flows from the evaluator to the page."""

import dataclasses
from typing import Any

from t2sql.data.examples import Example
from t2sql.diagnosis.findings import Finding
from t2sql.evaluation.spider_dialect import preprocess
from t2sql.evaluation.verdict import Verdict
from t2sql.runs.predictions import Candidate

# The status of an answer that a run does not hold; the others are in `t2sql.runs.predictions`.
MISSING = "missing"
_STATUS_NOTES = {
    MISSING: "the run holds no answer to this question; it counts as wrong",
    "max_tokens": "the answer was cut at the token limit",
    "prompt_too_long": (
        "the prompt was longer than the run allows (--config.prompt_buckets), so there is no answer"
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What a system said to one question, and what is wrong with it.

    Attributes:
      sql: the SQL to evaluate; empty where there is none.
      text: what the model wrote, where it differs from `sql`; else None.
      status: a status of `t2sql.runs.predictions`, or `MISSING`.
      verdict: what the evaluator says of it; None before it was asked.
      findings: what is wrong with it; filled where `is_diagnosed`.
      candidates: what the run had to choose from, each with its likelihood; empty where it kept
        none.
    """

    sql: str
    text: str | None = None
    status: str = "ok"
    verdict: Verdict | None = None
    findings: tuple[Finding, ...] = ()
    candidates: tuple[Candidate, ...] = ()

    @property
    def is_diagnosed(self) -> bool:
        """Wrong by execution, or on an empty database, where execution says little, inexact."""
        verdict = self.verdict
        return verdict.execution is False or (verdict.db_empty and verdict.exact_match is False)

    @property
    def errors(self) -> tuple[str, ...]:
        """The classes of the findings, each once, in their order."""
        return tuple(dict.fromkeys(finding.error for finding in self.findings))

    @property
    def notes(self) -> tuple[str, ...]:
        """What explains the verdict besides the findings."""
        notes, reason = list(self.verdict.notes), self.verdict.reason
        if self.status in _STATUS_NOTES:
            notes.append(_STATUS_NOTES[self.status])
        filled = reason is not None and preprocess.fill_values(self.sql) != self.sql
        if filled and reason.rule != "placeholder":
            notes.append("evaluated with `value` read as 1, as the official evaluator does")
        return tuple(notes)

    def to_json(self) -> dict[str, Any]:
        """What a row of `verdicts.jsonl` holds of it."""
        return {
            "execution": self.verdict.execution,
            "exact_match": self.verdict.exact_match,
            "valid": self.verdict.valid,
            "reason": self.verdict.reason and dataclasses.asdict(self.verdict.reason),
            "errors": list(self.errors),
            **{
                name: value
                for name in ("soft_f1", "ves")
                if (value := getattr(self.verdict, name)) is not None
            },
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One question with its evaluated answers.

    Attributes:
      position: its index among the questions.
      example: the question, with its gold query if it has one.
      answer: the answer of the system that the report is about.
      baseline: the baseline's answer; None without a baseline.
      twin: the question that the baseline answers, where it is another form of this one.
      features: what the gold query needs: dimension -> group, such as joins -> "2".
      details: what the page shows of it, as JSON values; None where it is not shown.
    """

    position: int
    example: Example
    answer: Answer
    baseline: Answer | None = None
    twin: Example | None = None
    features: dict[str, str] = dataclasses.field(default_factory=dict)
    details: dict[str, Any] | None = None

    @property
    def gold_error(self) -> str | None:
        """Why the gold query does not run; None where it does, or where there is none."""
        result = self.answer.verdict.gold_result
        return None if result is None or result.ok else f"{result.status}: {result.message}"

    @property
    def change(self) -> str | None:
        """`better` or `worse` than the baseline by execution; None where neither."""
        now = self.answer.verdict.execution
        if self.baseline is None or now == self.baseline.verdict.execution:
            return None
        return "better" if now else "worse"

    def to_json(self) -> dict[str, Any]:
        """The row of `verdicts.jsonl`."""
        verdict = self.answer.verdict
        row = {
            "example_id": self.example.example_id,
            "db_id": self.example.db_id,
            "hardness": verdict.hardness,
            **self.answer.to_json(),
            "status": self.answer.status,
            "empty_database": verdict.db_empty,
            "gold_error": self.gold_error,
            "notes": list(self.answer.notes),
        }
        if self.baseline is not None:
            row["baseline"] = {**self.baseline.to_json(), "status": self.baseline.status}
            if self.twin is not None:
                row["baseline"]["question"] = self.twin.question
        return row

"""One question with the verdict on each answer to it: what flows from the judge to the page."""

import dataclasses
from typing import Any

HARDNESS = ("easy", "medium", "hard", "extra")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgement:
    """The verdict on one answer.

    Attributes:
      execution: whether its result is the gold query's; None without a gold query.
      exact_match: whether it is the gold query, clause by clause; None without one.
      valid: whether SQLite runs it.
      findings: (error class, explanation) pairs; filled where the answer is wrong.
    """

    execution: bool | None
    exact_match: bool | None
    valid: bool
    findings: tuple[tuple[str, str], ...] = ()

    @property
    def errors(self) -> tuple[str, ...]:
        """The classes of the findings, each once, in their order."""
        return tuple(dict.fromkeys(error for error, _ in self.findings))

    def to_json(self) -> dict[str, Any]:
        """The verdict as a row of `verdicts.jsonl` holds it."""
        return {
            "execution": self.execution,
            "exact_match": self.exact_match,
            "valid": self.valid,
            "errors": list(self.errors),
            "findings": [{"error": error, "message": text} for error, text in self.findings],
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """One question, judged.

    Attributes:
      position: its place among the questions.
      example_id: such as `dev/0007`.
      db_id: its database.
      question: in natural language; empty for a gold file.
      gold: the gold SQL; None where there is none.
      hardness: one of `HARDNESS`; None without a gold query.
      features: what the gold query needs: dimension -> group, such as joins -> "2".
      empty_database: whether the database holds no rows.
      gold_error: why the gold query does not run; None where it does.
      notes: what else the judge has to say of it.
      sql: the SQL that was judged.
      status: how the answer came about (see `gather.Answer`).
      verdict: the verdict on the answer.
      baseline: the verdict on the baseline's answer; None without a baseline.
      baseline_status: the status of the baseline's answer, likewise.
      details: what the page shows of it, as JSON values; None where it is not shown.
    """

    position: int
    example_id: str
    db_id: str
    question: str
    gold: str | None
    hardness: str | None
    features: dict[str, str]
    empty_database: bool
    gold_error: str | None
    notes: tuple[str, ...] = ()
    sql: str
    status: str
    verdict: Judgement
    baseline: Judgement | None = None
    baseline_status: str | None = None
    details: dict[str, Any] | None = None

    @property
    def change(self) -> str | None:
        """`better` or `worse` than the baseline by execution; None where neither."""
        if self.baseline is None or self.baseline.execution == self.verdict.execution:
            return None
        return "better" if self.verdict.execution else "worse"

    @property
    def diagnosed(self) -> bool:
        """Whether the answer counts among those whose errors are named."""
        return is_diagnosed(self.verdict, self.empty_database)

    def to_json(self) -> dict[str, Any]:
        """The row of `verdicts.jsonl`."""
        row = {
            "example_id": self.example_id,
            "db_id": self.db_id,
            "hardness": self.hardness,
            **self.verdict.to_json(),
            "status": self.status,
            "empty_database": self.empty_database,
            "gold_error": self.gold_error,
            "notes": list(self.notes),
        }
        if self.baseline is not None:
            row["baseline"] = {**self.baseline.to_json(), "status": self.baseline_status}
        return row


def is_diagnosed(verdict: Judgement, empty_database: bool) -> bool:
    """Wrong by execution, or on an empty database, where execution says little, inexact."""
    return verdict.execution is False or (empty_database and verdict.exact_match is False)

"""From verdicts to what is said of an example; runs in worker processes, sqlglot is slow."""

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any

from t2sql.data.examples import Example
from t2sql.data.schema import Schema
from t2sql.diagnosis.diagnose import diagnose
from t2sql.evaluation.features import features
from t2sql.evaluation.spider_dialect import preprocess
from t2sql.evaluation.verdict import Verdict
from t2sql.report import bounds, details, predictions
from t2sql.report.judged import Judged, Judgement, is_diagnosed
from t2sql.report.predictions import Answer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A question with its answers, judged but not yet described.

    Attributes:
      position: its place among the questions.
      example: the question, with its gold query.
      answers: the answer, then the baseline's if there is one.
      verdicts: what the judge says of each answer.
      shown: whether the page shows it in any case.
    """

    position: int
    example: Example
    answers: tuple[Answer, ...]
    verdicts: tuple[Verdict, ...]
    shown: bool


def describe(case: Case, schemas: Mapping[str, Schema]) -> Judged:
    """Diagnoses the answers that are wrong and lays out what the page shows."""
    example, verdict = case.example, case.verdicts[0]
    schema = schemas[example.db_id]
    judgements = [
        _judgement(example, answer, verdict, schema)
        for answer, verdict in zip(case.answers, case.verdicts, strict=True)
    ]
    found = Judged(
        position=case.position,
        example_id=example.example_id,
        db_id=example.db_id,
        question=example.question,
        gold=example.query,
        hardness=verdict.hardness,
        features=features(example.query) if example.query is not None else {},
        empty_database=verdict.db_empty,
        gold_error=_failure(verdict.gold_result),
        notes=_notes(case.answers[0], verdict),
        sql=case.answers[0].sql,
        status=case.answers[0].status,
        verdict=judgements[0],
        baseline=judgements[1] if len(judgements) > 1 else None,
        baseline_status=case.answers[1].status if len(judgements) > 1 else None,
    )
    if not (case.shown or found.change):
        return found
    return dataclasses.replace(found, details=_details(case, judgements, schema))


def _judgement(example: Example, answer: Answer, verdict: Verdict, schema: Schema) -> Judgement:
    judgement = Judgement(
        execution=verdict.execution, exact_match=verdict.exact_match, valid=verdict.valid
    )
    if not is_diagnosed(judgement, verdict.db_empty):
        return judgement
    return dataclasses.replace(judgement, findings=_findings(example, answer, verdict, schema))


def _findings(
    example: Example, answer: Answer, verdict: Verdict, schema: Schema
) -> tuple[tuple[str, str], ...]:
    if answer.status == predictions.MISSING:
        return (("empty", "the run holds no answer to this question"),)
    try:
        with bounds.bounded():
            found = diagnose(
                example.query,
                answer.sql,
                schema,
                execution=verdict.predicted_result,
                status=answer.status,
            )
    except bounds.ExceededError as error:
        return (("wrong_nesting", f"cannot be compared with gold: {error}"),)
    return tuple((finding.error, finding.message) for finding in found)


def _failure(result: Any) -> str | None:
    return None if result is None or result.ok else f"{result.status}: {result.message}"


def _details(case: Case, judgements: list[Judgement], schema: Schema) -> dict[str, Any]:
    gold, answer, verdict = case.example.query, case.answers[0], case.verdicts[0]
    findings = judgements[0].findings
    if gold is None:
        # Not counted as errors, but worth telling: names that do not exist, SQLite's message.
        findings = _findings(case.example, answer, verdict, schema)
    shown = {
        "gold": None if gold is None else details.laid_out(gold),
        "predicted": _laid_out(answer, verdict),
        "text": None if answer.text is None else details.shortened(answer.text),
        "note": "; ".join(_notes(answer, verdict)),
        "findings": findings,
        "goldResult": details.shown_result(verdict.gold_result),
        "predictedResult": details.shown_result(verdict.predicted_result),
    }
    if len(judgements) > 1:
        shown["baseline"] = {
            "predicted": _laid_out(case.answers[1], case.verdicts[1]),
            "findings": judgements[1].findings,
            "result": details.shown_result(case.verdicts[1].predicted_result),
        }
    return shown


def _laid_out(answer: Answer, verdict: Verdict) -> str:
    """The SQL over several lines; sqlglot would repair what SQLite refuses."""
    if verdict.valid:
        with contextlib.suppress(bounds.ExceededError), bounds.bounded():
            return details.laid_out(answer.sql)
    return details.broken_up(answer.sql)


def _notes(answer: Answer, verdict: Verdict) -> tuple[str, ...]:
    """What explains the verdict besides the findings."""
    notes = list(verdict.notes)
    if answer.status in _STATUS_NOTES:
        notes.append(_STATUS_NOTES[answer.status])
    if verdict.execution is False and preprocess.fill_values(answer.sql) != answer.sql:
        notes.append("judged with `value` read as 1, as the official evaluator does")
    return tuple(notes)


_STATUS_NOTES = {
    predictions.MISSING: "the run holds no answer to this question; it counts as wrong",
    "max_tokens": "the answer was cut at the token limit",
    "prompt_too_long": "the prompt was too long for the model, so there is no answer",
}

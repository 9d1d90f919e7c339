"""From verdicts to findings and what the page shows; in worker processes, for sqlglot is slow."""

import contextlib
import dataclasses
import math
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from t2sql.data.examples import Example
from t2sql.data.schema import Schema
from t2sql.diagnosis import parsing
from t2sql.diagnosis.diagnose import diagnose
from t2sql.diagnosis.findings import Finding
from t2sql.evaluation.features import features
from t2sql.evaluation.sandbox.results import ExecutionResult
from t2sql.report.case import MISSING, Answer, Case
from t2sql.runs.predictions import Candidate
from t2sql.sql import tokens

# What the text of one query, which may be hostile, may cost.
SECONDS = 10.0
_MEMORY = 2 << 30

_SHOWN_ROWS = 10
_CELL_CHARS = 200
_TEXT_CHARS = 20_000
_CLAUSES = {"SELECT", "FROM", "JOIN", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT"}
_CLAUSES |= {"UNION", "INTERSECT", "EXCEPT"}

_schemas: Mapping[str, Schema] = {}
_shown: Container[int] = ()


def start_worker(schemas: Mapping[str, Schema], shown: Container[int]) -> None:
    """Prepares a worker process.

    Args:
      schemas: of every database, by db_id.
      shown: positions of the cases that the page shows in any case.
    """
    global _schemas, _shown
    _schemas, _shown = schemas, shown
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent tells its pool nothing: without this, workers would wait for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def describe_all(cases: Sequence[Case]) -> list[Case]:
    """`describe` for each case, in a process that `start_worker` prepared."""
    return [
        describe(
            case,
            _schemas[case.example.db_id],
            shown=case.position in _shown,
            twin_schema=_schemas[case.twin.db_id] if case.twin else None,
        )
        for case in cases
    ]


def describe(case: Case, schema: Schema, *, shown: bool, twin_schema: Schema | None = None) -> Case:
    """Adds the findings of wrong answers and, if it is shown or has changed, the details."""
    example = case.example
    described = dataclasses.replace(
        case,
        answer=_diagnosed(example, case.answer, schema),
        baseline=case.baseline
        and _diagnosed(case.twin or example, case.baseline, twin_schema or schema),
        features=_features(example),
    )
    if not (shown or described.change):
        return described
    return dataclasses.replace(described, details=_details(described, schema))


def _features(example: Example) -> dict[str, str]:
    """What the report groups by: the level of the data set, and what the gold query needs."""
    level = {"difficulty": example.difficulty} if example.difficulty else {}
    return level | (features(example.query) if example.query is not None else {})


def _diagnosed(example: Example, answer: Answer, schema: Schema) -> Answer:
    if not answer.is_diagnosed:
        return answer
    return dataclasses.replace(answer, findings=_findings(example, answer, schema))


def _findings(example: Example, answer: Answer, schema: Schema) -> tuple[Finding, ...]:
    if answer.status == MISSING:
        return (Finding("empty", "the run holds no answer to this question"),)
    execution = answer.verdict.predicted_result
    if answer.verdict.valid and not execution.ok:
        execution = None  # Gold fails on this file too, and the prediction runs where gold does.
    try:
        with bounded(SECONDS):
            findings = diagnose(
                example.query,
                answer.sql,
                schema,
                execution=execution,
                status=answer.status,
            )
    except ExceededError as error:
        return (Finding("wrong_nesting", f"cannot be compared with gold: {error}"),)
    return tuple(findings)


class ExceededError(Exception):
    """The work took more time or memory than it may."""


@contextlib.contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Ends the work within it after `seconds`; main thread only, Python code only.

    Raises:
      ExceededError: the time is over, or the process ran out of memory.
    """

    def stop(*_: object) -> None:
        raise ExceededError(f"it takes more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except MemoryError as error:
        raise ExceededError("it needs too much memory") from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _details(case: Case, schema: Schema) -> dict[str, Any]:
    """What the page shows of a case beyond its row, as JSON values."""
    gold, answer, verdict = case.example.query, case.answer, case.answer.verdict
    findings = answer.findings
    if gold is None:
        # Not counted as errors, but worth telling: names that do not exist, SQLite's message.
        findings = _findings(case.example, answer, schema)
    details = {
        "gold": None if gold is None else laid_out(gold),
        "predicted": _query(answer),
        "text": None if answer.text is None else shortened(answer.text),
        "note": "; ".join(answer.notes),
        "reason": verdict.reason.message if verdict.reason else "",
        "findings": [dataclasses.astuple(finding) for finding in findings],
        "goldResult": shown_result(verdict.gold_result),
        "predictedResult": shown_result(verdict.predicted_result),
    }
    if answer.candidates:
        details["candidates"] = _candidates(answer)
    if case.baseline is not None:
        details["baseline"] = {
            "predicted": _query(case.baseline),
            "findings": [dataclasses.astuple(finding) for finding in case.baseline.findings],
            "result": shown_result(case.baseline.verdict.predicted_result),
        }
        if case.twin is not None:
            details["baseline"]["question"] = case.twin.question
    return details


def _candidates(answer: Answer) -> list[dict[str, Any]]:
    """The different queries among the candidates, in the order they came, each with its likelihood.

    Answers of other tokens may be one query; then the most likely one of them counts.
    """
    by_sql: dict[str, list[Candidate]] = {}
    for candidate in answer.candidates:
        by_sql.setdefault(candidate.sql, []).append(candidate)
    shown = []
    for sql, alike in by_sql.items():
        best = max(alike, key=lambda candidate: candidate.logprob)
        shown.append(
            {
                "sql": shortened(sql),
                "count": len(alike),
                "chosen": sql == answer.sql,
                "logprob": best.logprob,
                "mean": round(best.mean_logprob, 4),
                "masked": best.masked_logprob,
            }
        )
    return shown


def _query(answer: Answer) -> str:
    """The SQL over several lines; sqlglot would repair what SQLite refuses."""
    if answer.verdict.valid:
        with contextlib.suppress(ExceededError), bounded(SECONDS):
            return laid_out(answer.sql)
    return broken_up(answer.sql)


def laid_out(sql: str) -> str:
    """A query that runs, over several lines; unchanged where it is no single statement."""
    try:
        query = parsing.parse(sql) if ";" not in sql.rstrip("; \n") else None
    except parsing.TooComplexError:
        query = None
    return broken_up(sql) if query is None else query.sql(dialect="sqlite", pretty=True)


def broken_up(sql: str) -> str:
    """Any text, with line breaks before clauses; nothing but white space ever changes."""
    text = shortened(sql)
    if "\n" in text.strip():
        return text
    parts = []
    for token in tokens.tokenize(text):
        parts.append("\n" if parts and token.upper in _CLAUSES else "")
        parts.append(text[token.start : token.end])
    return "".join(parts)


def shortened(text: str) -> str:
    """The text, or its start and how much was left out."""
    if len(text) <= _TEXT_CHARS:
        return text
    return f"{text[:_TEXT_CHARS]}\n… {len(text) - _TEXT_CHARS:,} more characters"


def shown_result(result: ExecutionResult | None) -> dict[str, Any] | None:
    """A result as the page shows it: its first rows, with cells that JSON can hold."""
    if result is None:
        return None
    return {
        "status": result.status,
        "message": shortened(result.message),
        "columns": [_cell(name) for name in result.columns],
        "rows": [[_cell(value) for value in row] for row in result.rows[:_SHOWN_ROWS]],
        "total": result.row_count,
    }


def _cell(value: Any) -> str | int | float | None:
    """A SQLite value that JSON and JavaScript hold without loss, or as text."""
    if isinstance(value, bytes):
        value = f"x'{value[:_CELL_CHARS].hex()}'"
    elif isinstance(value, int | float) and not _fits_a_double(value):
        value = str(value)
    if isinstance(value, str) and len(value) > _CELL_CHARS:
        return f"{value[:_CELL_CHARS]}…"
    return value


def _fits_a_double(value: float) -> bool:
    return math.isfinite(value) and (isinstance(value, float) or abs(value) <= 2**53)

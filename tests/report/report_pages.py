"""Cases and reports made up for the tests of counting and showing."""

import dataclasses
from pathlib import Path

from t2sql.data import dataset
from t2sql.data.examples import Example
from t2sql.diagnosis.findings import Finding
from t2sql.evaluation.hardness import HARDNESS
from t2sql.evaluation.sandbox.results import ExecutionResult
from t2sql.evaluation.verdict import Verdict
from t2sql.report import page, report_json, spider_files
from t2sql.report.case import Answer, Case
from t2sql.report.predictions import Predictions
from t2sql.report.questions import Questions

SCHEMA = "CREATE TABLE student (id INTEGER PRIMARY KEY, name TEXT);"


def answer(execution=True, *errors, exact_match=None, valid=True, status="ok") -> Answer:
    """An evaluated answer; `case` completes it."""
    result = ExecutionResult(status="ok", columns=("name",), rows=(("Ada",),), row_count=1)
    verdict = Verdict(
        hardness=None,
        execution=execution,
        exact_match=execution if exact_match is None else exact_match,
        valid=valid,
        db_empty=False,
        gold_result=None if execution is None else result,
        predicted_result=result,
        database=Path("school.sqlite"),
        database_count=1,
    )
    findings = tuple(Finding(error, f"about {error}") for error in errors)
    return Answer(sql="SELECT 1", status=status, verdict=verdict, findings=findings)


def case(
    position: int,
    *,
    now: Answer | None = None,
    baseline: Answer | None = None,
    db_id: str = "school",
    question: str | None = None,
    gold: str | None = "SELECT name FROM student",
    empty_database: bool = False,
    gold_error: str | None = None,
    sql: str = "SELECT name FROM student",
    status: str = "ok",
    **changes,
) -> Case:
    """A case: by default gold's hardness goes round, and the answer is right."""

    def completed(given: Answer) -> Answer:
        verdict = dataclasses.replace(
            given.verdict,
            hardness=HARDNESS[position % 4] if gold is not None else None,
            db_empty=empty_database,
        )
        if gold_error is not None:
            failed = ExecutionResult(status="error", message=gold_error)
            verdict = dataclasses.replace(verdict, gold_result=failed)
        return dataclasses.replace(given, verdict=verdict)

    return Case(
        position=position,
        example=Example(
            example_id=f"dev/{position:04d}",
            db_id=db_id,
            question=f"Question {position}?" if question is None else question,
            query=gold,
            db_definitions="",
        ),
        answer=dataclasses.replace(completed(now or answer()), sql=sql, status=status),
        baseline=completed(baseline) if baseline is not None else None,
        **({"features": {"joins": str(position % 3)}} | changes),
    )


def details(gold="SELECT\n  name\nFROM student", predicted="SELECT\n  id\nFROM student", **changes):
    result = {"status": "ok", "message": "", "columns": ["name"], "rows": [["Ada"]], "total": 1}
    values = {
        "gold": gold,
        "predicted": predicted,
        "text": None,
        "note": "",
        "reason": "",
        "findings": [["wrong_columns", "about wrong_columns"]],
        "goldResult": result,
        "predictedResult": result | {"rows": [[1], [None]], "columns": ["id"], "total": 12},
    }
    return values | changes


def report(cases: list[Case], tmp_path: Path, source: str = "predict.txt") -> dict:
    """`report.json` over the cases."""
    path = tmp_path / "lines.txt"
    path.write_text("SELECT 1\tschool\n" * len(cases))
    file = spider_files.LineFile(path)
    compared = cases[0].baseline is not None
    counts = report_json.Summary(compared=compared)
    for one in cases:
        counts.add(one)
    questions = Questions(
        folder=dataset.as_folder(tmp_path),
        split=None,
        gold=file,
        examples=(),
        db_ids=tuple(sorted({one.example.db_id for one in cases})),
    )
    system = Predictions(
        source=source, questions=questions, manifest=None, cleaned=False, _answers=file
    )
    return counts.to_json(
        questions,
        [system, system] if compared else [system],
        command="python -m t2sql.report",
        several_files={},
        page_examples=sum(one.details is not None for one in cases),
    )


def html(cases: list[Case], tmp_path: Path, schema: str = SCHEMA, **options) -> str:
    """The page over the cases."""
    shown = page.Page()
    for one in cases:
        if one.details is not None:
            shown.add(one)
    schemas = {one.example.db_id: schema for one in cases}
    return shown.render(report(cases, tmp_path, **options), schemas, {})

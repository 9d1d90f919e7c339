"""Judged examples and reports made up for the tests of counting and showing."""

from pathlib import Path

from t2sql.report import page, report_json, spider_files
from t2sql.report import predictions as predictions_lib
from t2sql.report.judged import HARDNESS, Judged, Judgement
from t2sql.report.questions import Questions

SCHEMA = "CREATE TABLE student (id INTEGER PRIMARY KEY, name TEXT);"


def verdict(execution=True, *errors, exact_match=None, valid=True) -> Judgement:
    return Judgement(
        execution=execution,
        exact_match=execution if exact_match is None else exact_match,
        valid=valid,
        findings=tuple((error, f"about {error}") for error in errors),
    )


def judged(position: int, *, now=None, baseline=None, details=None, **changes) -> Judged:
    values = {
        "position": position,
        "example_id": f"dev/{position:04d}",
        "db_id": "school",
        "question": f"Question {position}?",
        "gold": "SELECT name FROM student",
        "hardness": HARDNESS[position % 4],
        "features": {"joins": str(position % 3)},
        "empty_database": False,
        "gold_error": None,
        "sql": "SELECT name FROM student",
        "status": "ok",
    }
    return Judged(
        **(values | changes),
        verdict=now or verdict(),
        baseline=baseline,
        baseline_status="ok" if baseline else None,
        details=details,
    )


def details(gold="SELECT\n  name\nFROM student", predicted="SELECT\n  id\nFROM student", **changes):
    result = {"status": "ok", "message": "", "columns": ["name"], "rows": [["Ada"]], "total": 1}
    values = {
        "gold": gold,
        "predicted": predicted,
        "text": None,
        "note": "",
        "findings": [["wrong_columns", "about wrong_columns"]],
        "goldResult": result,
        "predictedResult": result | {"rows": [[1], [None]], "columns": ["id"], "total": 12},
    }
    return values | changes


def report(examples: list[Judged], tmp_path: Path, source: str = "predict.txt") -> dict:
    """`report.json` over the examples."""
    path = tmp_path / "lines.txt"
    path.write_text("SELECT 1\tschool\n" * len(examples))
    file = spider_files.LineFile(path)
    counts = report_json.Summary(compared=examples[0].baseline is not None)
    for example in examples:
        counts.add(example)
    predictions = predictions_lib.Predictions(
        source=source, manifest=None, cleaned=False, _answers=file
    )
    asked = Questions(
        root=tmp_path,
        split=None,
        gold=file,
        examples=(),
        db_ids=tuple(sorted({example.db_id for example in examples})),
    )
    return counts.to_json(
        asked,
        predictions,
        predictions if examples[0].baseline else None,
        command="python -m t2sql.report",
        several_files={},
        page_examples=sum(example.details is not None for example in examples),
    )


def html(examples: list[Judged], tmp_path: Path, schema: str = SCHEMA, **options) -> str:
    """The page over the examples."""
    shown = page.Page()
    for example in examples:
        if example.details is not None:
            shown.add(example)
    schemas = {example.db_id: schema for example in examples}
    return shown.render(report(examples, tmp_path, **options), schemas, {})

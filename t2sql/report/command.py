"""The report from end to end: gather, judge, count, write."""

import contextlib
import dataclasses
import json
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from rich import progress
from rich.console import Console

from t2sql import errors
from t2sql.data import database, read_schema, sources
from t2sql.diagnosis import diagnose
from t2sql.report import evaluate, markdown, outputs, page, report_json, terminal
from t2sql.report import predictions as predictions_lib
from t2sql.report import questions as questions_lib
from t2sql.report.judged import Judged
from t2sql.report.questions import Questions
from t2sql.runs import reader
from t2sql.storage import local_cache

DEFAULT_SPLIT = "dev"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of the command; `python -m t2sql.report --help` describes them."""

    predictions: str
    data: str
    output: str
    gold: str | None = None
    split: str | None = None
    baseline: str | None = None
    clean: bool = False
    allow_incomplete: bool = False
    workers: int | None = None
    timeout: float = 10.0


def report(options: Options) -> int:
    """Writes the report and prints its summary.

    Returns:
      0, or 3 where the predictions or the baseline are incomplete and that is not allowed.

    Raises:
      InputError: a flag or a file is wrong; nothing is written then.
    """
    _refuse_useless_clean(options)
    with outputs.open_outputs(options.output) as files:
        runs = _open_runs(options)
        _refuse_partial_baseline(options, runs)
        questions = _read_questions(options, runs)
        predictions = _gather(options, options.predictions, runs, questions)
        baseline = None
        if options.baseline:
            baseline = _gather(options, options.baseline, runs, questions, partial=True)
        found = _write(options, files, questions, predictions, baseline)
    terminal.show(found)
    print(f"report: {Path(options.output) / 'report.html'}")
    return _exit_code(options, predictions, baseline)


def _refuse_useless_clean(options: Options) -> None:
    sources_given = [source for source in (options.predictions, options.baseline) if source]
    if options.clean and all(map(predictions_lib.is_run, sources_given)):
        raise errors.InputError(
            "--clean: there is no predictions file to clean; a run is judged by its field 'sql', "
            "which is clean already"
        )


def _refuse_partial_baseline(options: Options, runs: dict[str, reader.RunContents]) -> None:
    def only(source: str | None) -> set[str] | None:
        data = runs[source].manifest["fingerprint"]["data"] if source in runs else {}
        return set(data["only"]) if "only" in data else None

    asked, answered = only(options.predictions), only(options.baseline)
    if answered is not None and (asked is None or not asked <= answered):
        raise errors.InputError(
            f"--baseline={options.baseline} answers {len(answered)} examples of the split only "
            "(config.data.only), and the predictions others too: they cannot be compared"
        )


def _open_runs(options: Options) -> dict[str, reader.RunContents]:
    given = [source for source in (options.predictions, options.baseline) if source]
    return {
        source: predictions_lib.open_run(source)
        for source in given
        if predictions_lib.is_run(source)
    }


def _read_questions(options: Options, runs: dict[str, reader.RunContents]) -> Questions:
    run = runs.get(options.predictions) or runs.get(options.baseline or "")
    data = run.manifest["fingerprint"]["data"] if run else {}
    if options.split and data and options.split != data["split"]:
        raise errors.InputError(
            f"--split={options.split}, but {run.storage.url} is a run over the split "
            f"{data['split']!r}"
        )
    limited = options.predictions in runs
    return questions_lib.read_questions(
        sources.resolve_data(options.data, cache_dir=local_cache.default_dir()),
        split=options.split or data.get("split") or DEFAULT_SPLIT,
        limit=data.get("limit") if limited else None,
        only=data.get("only") if limited else None,
        gold=Path(options.gold).expanduser() if options.gold else None,
        required=bool(runs),
    )


def _gather(
    options: Options,
    source: str,
    runs: dict[str, reader.RunContents],
    questions: Questions,
    *,
    partial: bool = False,
) -> predictions_lib.Predictions:
    if source in runs:
        return predictions_lib.gather_run(source, runs[source], questions, partial=partial)
    return predictions_lib.gather_file(source, questions, cleaned=options.clean)


def _write(
    options: Options,
    files: outputs.Outputs,
    questions: Questions,
    predictions: predictions_lib.Predictions,
    baseline: predictions_lib.Predictions | None,
) -> dict:
    counts = report_json.Summary(compared=baseline is not None)
    shown = page.Page()
    judge = evaluate.Judge(questions, workers=options.workers, timeout=options.timeout)
    wanted = page.sample(len(questions))
    with contextlib.closing(judge.judge(predictions, baseline, shown=wanted)) as examples:
        for example in _with_progress(examples, len(questions)):
            counts.add(example)
            files.add(example)
            if example.details is not None:
                shown.add(example)
    found = counts.to_json(
        questions,
        predictions,
        baseline,
        command=shlex.join(["python", "-m", "t2sql.report", *sys.argv[1:]]),
        several_files=judge.several_files,
        page_examples=shown.examples,
    )
    files.write("report.json", json.dumps(found, indent=1, ensure_ascii=True) + "\n")
    files.write("report.md", markdown.render(found))
    files.write("report.html", shown.render(found, _schemas(questions), diagnose.ERROR_CLASSES))
    files.publish()
    return found


def _with_progress(examples: Iterable[Judged], total: int) -> Iterable[Judged]:
    """Shows a bar on a terminal."""
    console = Console(stderr=True)
    return progress.track(
        examples,
        "judging",
        total=total,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _schemas(questions: Questions) -> dict[str, str]:
    return {
        db_id: read_schema.read_db_definitions(database.database_path(questions.root, db_id))
        for db_id in questions.db_ids
    }


def _exit_code(
    options: Options,
    predictions: predictions_lib.Predictions,
    baseline: predictions_lib.Predictions | None,
) -> int:
    """Says every problem in full on stderr."""
    incomplete = [source for source in (predictions, baseline) if source and source.problems]
    for source in incomplete:
        for problem in source.problems:
            print(f"incomplete: {source.source}: {problem}", file=sys.stderr)
    if not incomplete or options.allow_incomplete:
        return 0
    print(
        "error: the report above counts what is missing as wrong; finish the run, or give "
        "--allow_incomplete to accept it",
        file=sys.stderr,
    )
    return errors.RefusedError.exit_code

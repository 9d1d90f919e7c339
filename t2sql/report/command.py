"""The report from end to end: read, evaluate, diagnose, count, write."""

import contextlib
import dataclasses
import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from rich import progress
from rich.console import Console

from t2sql import errors
from t2sql.data import notices, read_schema
from t2sql.diagnosis.findings import ERROR_CLASSES
from t2sql.evaluation import bird
from t2sql.report import (
    bird_files,
    cases,
    markdown,
    page,
    report_json,
    spider_files,
    terminal,
    wording,
)
from t2sql.report import predictions as predictions_lib
from t2sql.report.case import Case
from t2sql.report.predictions import Predictions
from t2sql.report.questions import DataSource, Questions, read_questions, read_twin
from t2sql.runs import reader
from t2sql.storage import output_files

DEFAULT_SPLIT = "dev"
# That a query may run, by the metric of the data set.
_SECONDS = {"spider": 10.0, "bird": bird.SECONDS}


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
    timeout: float | None = None
    ves: bool = False
    baseline_data: str = ""
    format: str = ""
    fields: Mapping[str, str] = dataclasses.field(default_factory=dict)
    databases: str = ""

    @property
    def data_source(self) -> DataSource:
        """The data to read the questions from."""
        return DataSource(
            path=self.data, format=self.format, fields=self.fields, databases=self.databases
        )

    @property
    def systems(self) -> list[str]:
        """The runs and files to evaluate: the predictions, then the baseline if there is one."""
        return [source for source in (self.predictions, self.baseline) if source]


def report(options: Options) -> int:
    """Writes the report and prints its summary.

    Returns:
      0, or 3 where the predictions or the baseline are incomplete, or a database does not fit
      its gold queries, and that is not allowed.

    Raises:
      InputError: a flag or a file is wrong; nothing is written then.
    """
    notices.forget()
    with output_files.open_output_files(options.output) as files:
        runs = {
            source: predictions_lib.open_run(source)
            for source in options.systems
            if predictions_lib.is_run(source)
        }
        _check(options, runs)
        questions = _read_questions(options, runs)
        _check_metric(options, questions)
        asked = [questions, _read_twin(options, runs, questions)]
        systems = [
            predictions_lib.gather_run(source, runs[source], asked[index], partial=index > 0)
            if source in runs
            else predictions_lib.gather_file(source, asked[index], cleaned=options.clean)
            for index, source in enumerate(options.systems)
        ]
        summary = _write(options, files, questions, systems)
    terminal.show(summary)
    if failures := summary["data"]["gold_failures"]:
        print(_gold_failure(failures, questions), file=sys.stderr)
    print(f"report: {Path(options.output) / 'report.html'}")
    return _exit_code(options, systems, summary)


def _check(options: Options, runs: Mapping[str, reader.RunContents]) -> None:
    """Refuses flags that do not go together."""
    if options.ves and options.workers != 1:
        raise errors.InputError(
            "--ves times each query 100 times: give --workers=1, on a quiet machine"
        )
    if options.clean and all(source in runs for source in options.systems):
        raise errors.InputError(
            "--clean: there is no predictions file to clean; a run is evaluated by its field "
            "'sql', which is clean already"
        )
    asked, answered = (
        runs[source].manifest["fingerprint"]["data"].get("only") if source in runs else None
        for source in (options.predictions, options.baseline)
    )
    for flag, source, ids in (
        ("--predictions", options.predictions, asked),
        ("--baseline", options.baseline, answered),
    ):
        if ids == []:
            raise errors.InputError(
                f"{flag}={source}: the run answers no question, as its config.data.only listed none"
            )
    if answered is not None and (asked is None or not set(asked) <= set(answered)):
        raise errors.InputError(
            f"--baseline={options.baseline} answers {len(set(answered))} examples of the split "
            "only (config.data.only), and the predictions others too: they cannot be compared"
        )


def _read_questions(options: Options, runs: Mapping[str, reader.RunContents]) -> Questions:
    run = runs.get(options.predictions) or runs.get(options.baseline or "")
    data = run.manifest["fingerprint"]["data"] if run else {}
    if options.split and data and options.split != data["split"]:
        raise errors.InputError(
            f"--split={options.split}, but {run.storage.url} is a run over the split "
            f"{data['split']!r}"
        )
    limited = options.predictions in runs
    return read_questions(
        options.data_source.open(run.manifest.get("recorded", {}) if run else {}),
        split=options.split or data.get("split") or DEFAULT_SPLIT,
        limit=data.get("limit") if limited else None,
        only=data.get("only") if limited else None,
        gold=Path(options.gold).expanduser() if options.gold else None,
        required=bool(runs),
    )


def _read_twin(
    options: Options, runs: Mapping[str, reader.RunContents], questions: Questions
) -> Questions:
    """What the baseline answers: the questions, or those of `--baseline_data`."""
    if not options.baseline_data:
        return questions
    if not options.baseline or options.gold:
        raise errors.InputError(
            "--baseline_data says what --baseline answers: give both, and no --gold"
        )
    manifest = runs[options.baseline].manifest if options.baseline in runs else {}
    folder = DataSource(path=options.baseline_data).open(manifest.get("recorded", {}))
    split = manifest["fingerprint"]["data"]["split"] if manifest else questions.split
    return read_twin(folder, split, questions)


def _check_metric(options: Options, questions: Questions) -> None:
    """Refuses R-VES of a data set that is not judged by BIRD's rules."""
    if options.ves and questions.folder.dataset.metric != "bird":
        raise errors.InputError(
            f"--ves is BIRD's measure, and {questions.described} is judged as "
            f"{questions.folder.dataset.title}; give --format=bird"
        )


def _write(
    options: Options,
    files: output_files.OutputFiles,
    questions: Questions,
    systems: list[Predictions],
) -> dict:
    """Streams all cases into the files, and returns what `report.json` holds."""
    databases = questions.databases
    evaluated = cases.evaluate(
        systems,
        shown=page.sample(len(questions)),
        workers=options.workers,
        timeout=options.timeout or _SECONDS[questions.folder.dataset.metric],
        timed=options.ves,
    )
    is_bird = questions.folder.dataset.metric == "bird"
    counts = report_json.Summary(compared=len(systems) > 1)
    shown = page.Page()
    console = Console(stderr=True)
    with contextlib.closing(evaluated):
        for case in progress.track(
            evaluated,
            "evaluating",
            total=len(questions),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ):
            counts.add(case)
            write_case(files, case)
            if is_bird:
                answer = bird_files.line(case.position, case.answer.sql, case.example.db_id)
                files.write("predict.json", ("" if case.position else "{\n") + answer)
            if case.details is not None:
                shown.add(case)
    if is_bird:
        files.write("predict.json", "\n}\n")
    definitions = {
        db_id: read_schema.read_db_definitions(canonical)
        for db_id, (canonical, *_) in databases.items()
    }
    summary = counts.to_json(
        questions,
        systems,
        command=shlex.join(["python", "-m", "t2sql.report", *sys.argv[1:]]),
        notices=notices.told(),
        several_files={db_id: len(paths) for db_id, paths in databases.items() if len(paths) > 1},
        page_examples=shown.examples,
    )
    files.write("report.json", json.dumps(summary, indent=1, ensure_ascii=True) + "\n")
    files.write("report.md", markdown.render(summary))
    files.write("report.html", shown.render(summary, definitions, ERROR_CLASSES))
    files.publish()
    return summary


def write_case(files: output_files.OutputFiles, case: Case) -> None:
    """Writes the case's verdict, and its lines in the official format if it has gold."""
    files.write("verdicts.jsonl", json.dumps(case.to_json(), ensure_ascii=True) + "\n")
    gold, db_id = case.example.query, case.example.db_id
    if gold is not None:
        files.write("predict.txt", spider_files.query_line(case.answer.sql) + "\n")
        files.write("gold.txt", f"{spider_files.query_line(gold)}\t{db_id}\n")


def _gold_failure(failures: list[dict[str, str]], questions: Questions) -> str:
    """The first gold query that does not run, by file, record and field."""
    first, more = failures[0], len(failures) - 1
    file, number = questions.described, first["example_id"].rpartition("/")[2]
    if questions.gold is None:
        files = questions.folder.split_files(questions.split)
        file = str(files[0]) if len(files) == 1 else file
    field = "its SQL" if questions.gold else f"field {questions.folder.dataset.fields.query!r}"
    others = f"; {more:,} more fail" if more else ""
    return (
        f"note: {file}: record {int(number)}: {field} does not run on its database: "
        f"{first['message']}{others} (gold_failures in report.json)"
    )


def _exit_code(options: Options, systems: list[Predictions], summary: dict) -> int:
    """Says every problem in full on stderr."""
    for system in systems:
        for problem in system.problems:
            print(f"incomplete: {system.source}: {problem}", file=sys.stderr)
    incomplete = any(system.problems for system in systems)
    unusable = summary["data"]["unusable_gold"]
    if options.allow_incomplete or not (incomplete or unusable):
        return 0
    if incomplete:
        of_runs = any(system.problems and system.manifest is not None for system in systems)
        how = (
            "The same command of t2sql.main again computes it, with --config.redo=True where the "
            "run was done"
            if of_runs
            else "Give a file that answers all questions"
        )
        print(
            f"error: the report above counts what is missing or broken as wrong. {how}; or give "
            "--allow_incomplete to accept it",
            file=sys.stderr,
        )
    if unusable:
        print(
            f"error: gold queries do not run on the databases of {wording.some(list(unusable))}, "
            "so every answer counts as wrong there; give the databases that belong to the gold "
            "queries, or --allow_incomplete to accept it",
            file=sys.stderr,
        )
    return errors.RefusedError.exit_code

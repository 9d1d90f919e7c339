"""Where predictions come from: a run, local or gs://, or a file in the official format.

Either becomes one answer per question, in the order of the questions, with everything that is
wrong about the source told as problems. Nothing is dropped: a question without an answer
gets one that says `missing`.
"""

import array
import collections
import dataclasses
import pickle
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from t2sql import errors
from t2sql.data.examples import Example
from t2sql.report import bird_files, spider_files, wording
from t2sql.report.case import MISSING, Answer
from t2sql.report.questions import Questions, align
from t2sql.runs import predictions as rows_lib
from t2sql.runs import reader
from t2sql.runtime.progress import counted
from t2sql.sql import clean

_NAMED = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """Something wrong with a source as a whole.

    Attributes:
      kind: missing_units, damaged_units, foreign_units, missing_examples,
        duplicated_examples, foreign_examples or not_done.
      message: what is wrong, with the number of `names`.
      handled: what a report does about it; "" where there is nothing to do.
      names: the units or example ids concerned, all of them.
    """

    kind: str
    message: str
    handled: str = ""
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        names = wording.some(self.names, _NAMED)
        return f"{self.message}: {names}" if names else self.message


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predictions:
    """The answers of one system.

    Attributes:
      source: the run directory or the file, as the user gave it.
      questions: what it answers.
      manifest: `run.json` of a run; None for a file.
      cleaned: whether the lines of a file were cleaned; a run's `sql` always is.
      problems: what is wrong; with any, the source is incomplete.
      notes: what to know of it that is no fault.
    """

    source: str
    questions: Questions
    manifest: Mapping[str, Any] | None
    cleaned: bool
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    _answers: "_AnswersOnDisk | spider_files.LineFile" = dataclasses.field(repr=False)

    def answers(self) -> Iterator[Answer]:
        """Yields one answer for each question, in their order."""
        questions = self.questions
        if isinstance(self._answers, spider_files.LineFile):
            for question, line in zip(questions, self._answers, strict=False):
                if self.cleaned:
                    text = line.removesuffix(f"\t{question.db_id}").strip()
                    sql = clean.clean_sql(text)
                else:
                    text = line.strip()
                    sql, _ = spider_files.cut_at_tab(line)
                    if line.startswith("\t") and sql == question.db_id:
                        sql = ""  # nothing before the db_id
                yield Answer(sql=sql, text=text if sql != text else None)
            return
        for position in range(len(questions)):
            yield self._answers.get(position) or Answer(sql="", status=MISSING)


class _AnswersOnDisk:
    """Answers by position, so that memory does not grow with what they hold.

    The file has no name: it is gone with this object, however the process ends.
    """

    _ABSENT = -1

    def __init__(self, size: int):
        self._file = tempfile.TemporaryFile(prefix="t2sql-report-")  # noqa: SIM115
        self._offsets = array.array("q", [self._ABSENT]) * size

    def put(self, position: int, answer: Answer) -> None:
        self._offsets[position] = self._file.seek(0, 2)
        pickle.dump(answer, self._file, protocol=pickle.HIGHEST_PROTOCOL)

    def get(self, position: int) -> Answer | None:
        if position not in self:
            return None
        self._file.seek(self._offsets[position])
        # Only what this process wrote into its own nameless file is ever read here.
        return pickle.load(self._file)

    def __contains__(self, position: int) -> bool:
        return self._offsets[position] != self._ABSENT


def is_run(source: str) -> bool:
    """Whether `source` names a run directory rather than a file."""
    return source.startswith("gs://") or Path(source).expanduser().is_dir()


def open_run(source: str) -> reader.RunContents:
    """Lists a run.

    Raises:
      InputError: there is no run, or its `run.json` does not say what was run.
    """
    run = reader.read_run(source)
    data = run.manifest["fingerprint"].get("data")
    if not isinstance(data, dict) or not isinstance(data.get("split"), str):
        raise errors.InputError(
            f"{source}/run.json: fingerprint.data.split is missing: it must name the split"
        )
    only = data.get("only", [])
    if not isinstance(only, list) or not all(isinstance(name, str) for name in only):
        raise errors.InputError(
            f"{source}/run.json: fingerprint.data.only has to be a list of example ids"
        )
    return run


def gather_file(source: str, questions: Questions, *, cleaned: bool) -> Predictions:
    """Takes a file of one query a line, aligned with the questions.

    Raises:
      InputError: the file is missing, not UTF-8, or has more or fewer lines.
    """
    path = Path(source).expanduser()
    if bird_files.is_bird_file(path) and questions.gold is None:
        return _gather_bird_file(source, path, questions, cleaned)
    file = spider_files.LineFile(path)
    size = questions.split_size or len(questions)
    aligned = align(file, questions.examples or range(len(questions)), size)
    if aligned is None:
        lines = max(len(file), min(file.physical_lines, len(questions)))
        or_split = f" ({size:,} in the whole split)" if size != len(questions) else ""
        raise errors.InputError(
            f"{source}: {counted(lines, 'line')}, but {questions.described} has "
            f"{counted(len(questions), 'example')}{or_split}; line i has to be the prediction for "
            "example i (leave a line blank where there is none)"
        )
    notes = []
    if aligned is not file:
        notes.append(
            f"{source} answers the whole split ({size:,} examples); only the "
            f"{counted(len(questions), 'example')} of the run are evaluated"
        )
    cut = 0
    if not cleaned:
        for question, line in zip(questions, aligned, strict=False):
            cut += spider_files.cut_at_tab(line)[1] not in ("", question.db_id)
    if cut:
        were = "was" if cut == 1 else "were"
        notes.append(
            f"{counted(cut, 'line')} of {source} {were} cut at the first tab, as the official "
            "script does"
        )
    return Predictions(
        source=source,
        questions=questions,
        manifest=None,
        cleaned=cleaned,
        notes=tuple(notes),
        _answers=aligned,
    )


def _gather_bird_file(source: str, path: Path, questions: Questions, cleaned: bool) -> Predictions:
    """Takes a file in BIRD's format; a question that it does not answer counts as wrong."""
    answers = _AnswersOnDisk(len(questions))
    for position, text in bird_files.read_predictions(path, questions.examples).items():
        sql = clean.clean_sql(text) if cleaned else text
        answers.put(position, Answer(sql=sql, text=text if sql != text else None))
    missing = [
        example.example_id
        for position, example in enumerate(questions.examples)
        if position not in answers
    ]
    problems = (_problem("missing_examples", "example", " missing", "counted as wrong", missing),)
    return Predictions(
        source=source,
        questions=questions,
        manifest=None,
        cleaned=cleaned,
        problems=problems if missing else (),
        _answers=answers,
    )


def gather_run(
    source: str, run: reader.RunContents, questions: Questions, *, partial: bool = False
) -> Predictions:
    """Reads every unit of a run and says what is missing, damaged, duplicated or foreign.

    Args:
      source: the run as the user named it.
      run: its listing.
      questions: what the run must answer.
      partial: whether the run may hold more examples than the questions (a baseline over
        the whole split against a run over its first examples).

    Raises:
      InputError: the run answers other questions.
    """
    data = run.manifest["fingerprint"]["data"]
    if data["split"] != questions.split:
        raise errors.InputError(
            f"{source}: a run over the split {data['split']!r}, but {questions.described} is "
            "evaluated"
        )
    rows = _RowsOfRun(source, questions)
    for unit in run.units():
        rows.add(unit)
    if rows.foreign and not any(i in rows.answers for i in range(len(questions))):
        raise errors.InputError(
            f"{source}: none of its examples (such as {rows.foreign[0]}) is in "
            f"{questions.described}; give the data that the run was made from"
        )
    notes = []
    if "only" in data:
        notes.append(
            f"{source} answers some examples of the split only, which were chosen for it "
            "(config.data.only)"
        )
    if partial and rows.foreign:
        notes.append(f"{source} holds {len(rows.foreign):,} more examples, left out here")
        rows.foreign.clear()
    return Predictions(
        source=source,
        questions=questions,
        manifest=run.manifest,
        cleaned=True,
        problems=tuple(_unit_problems(run) + rows.problems()),
        notes=tuple(notes),
        _answers=rows.answers,
    )


class _RowsOfRun:
    """Sorts the rows of a run's units to the questions that they answer."""

    def __init__(self, source: str, questions: Questions):
        self._source = source
        self._questions = questions
        self._positions = {
            example.example_id: position for position, example in enumerate(questions.examples)
        }
        self.answers = _AnswersOnDisk(len(questions))
        self.foreign: list[str] = []
        self._damaged: list[str] = []
        self._copies: collections.Counter[str] = collections.Counter()

    def add(self, unit: reader.UnitContents) -> None:
        if unit.damage is not None:
            self._damaged.append(unit.damage)
        for row in unit.rows:
            position = self._positions.get(row.example_id)
            if position is None:
                self.foreign.append(row.example_id)
            elif position in self.answers:
                self._copies[row.example_id] += 1
            else:
                self._refuse_other_question(unit.name, row, self._questions.examples[position])
                text = row.text if row.text != row.sql else None
                answer = Answer(
                    sql=row.sql, text=text, status=row.status, candidates=row.candidates
                )
                self.answers.put(position, answer)

    def problems(self) -> list[Problem]:
        missing = [
            example.example_id
            for position, example in enumerate(self._questions.examples)
            if position not in self.answers
        ]
        kinds = (
            ("damaged_units", "damaged unit", "", "", self._damaged),
            ("missing_examples", "example", " missing", "counted as wrong", missing),
            ("duplicated_examples", "example", " repeated", "the first taken", list(self._copies)),
            ("foreign_examples", "example", " not in the data", "left out", self.foreign),
        )
        return [_problem(*kind) for kind in kinds if kind[-1]]

    def _refuse_other_question(self, unit: str, row: rows_lib.Prediction, example: Example) -> None:
        """A row made from another question has nothing to say on this one."""
        for field, ours, theirs in (
            ("db_id", example.db_id, row.db_id),
            ("question", example.question, row.question),
        ):
            if ours != theirs:
                raise errors.InputError(
                    f"{self._source}/{unit}: {row.example_id} has {field} {theirs!r}, but "
                    f"{self._questions.described} has {ours!r}; the run was made from other data"
                )


def _problem(kind: str, noun: str, what: str, handled: str, names: Sequence[str]) -> Problem:
    message = counted(len(names), noun) + what
    return Problem(kind=kind, message=message, handled=handled, names=tuple(names))


def _unit_problems(run: reader.RunContents) -> list[Problem]:
    problems = []
    if run.missing:
        problems.append(_problem("missing_units", "unit", " missing", "", run.missing))
    elif run.done is None:
        problems.append(
            Problem(
                kind="not_done",
                message="done.json is missing: the run did not end",
            )
        )
    if run.foreign:
        problems.append(
            _problem("foreign_units", "object", " of no unit of this run", "", run.foreign)
        )
    return problems

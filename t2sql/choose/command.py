"""From several runs over the same questions to one answer for each, chosen by their results."""

import collections
import dataclasses
import functools
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from t2sql import errors
from t2sql.choose.vote import Choice, ChooseQuery
from t2sql.data import database, sources
from t2sql.data.compact import CompactDatabase
from t2sql.data.examples import Example
from t2sql.evaluation.sandbox.executor import Executor, Limits
from t2sql.report import formats, outputs, predictions
from t2sql.report import questions as questions_lib
from t2sql.report.questions import Questions
from t2sql.runs import reader
from t2sql.storage import local_cache


def choose(candidates: Sequence[str], *, data: str, output: str, timeout: float = 10.0) -> None:
    """Writes `predict.txt`, `choices.jsonl` and `doubtful.txt`, and prints a summary.

    Args:
      candidates: run directories, the most trusted first, which answers the whole split; the
        others may answer some of it (`data.only`).
      data: where the databases are.
      output: a local directory.
      timeout: seconds that one query may run.

    Raises:
      InputError: a flag or a file is wrong, or the runs are not over the same split.
      RefusedError: a run is incomplete.
    """
    places = [source.rstrip("/") for source in candidates]
    if not all(places) or len(set(places)) < len(places) or not places:
        raise errors.InputError(
            f"--candidates={','.join(candidates)}; it has to be one run or several different ones"
        )
    start = time.monotonic()
    with outputs.open_outputs(output) as files:
        files.write("doubtful.txt", "")
        runs = {source: predictions.open_run(source) for source in candidates}
        questions, *parts = _read_questions(runs, data)
        answers = [
            _answers(source, run, asked)
            for (source, run), asked in zip(runs.items(), (questions, *parts), strict=True)
        ]
        chosen: collections.Counter[str] = collections.Counter()
        doubtful = 0
        for asked, choice in _choices(questions, answers, candidates, Limits(seconds=timeout)):
            source = asked.sources[choice.index]
            chosen[source if choice.ran else ""] += 1
            files.write("predict.txt", outputs.one_line(asked.sqls[choice.index]) + "\n")
            line = {
                "example_id": asked.example.example_id,
                "chosen": source,
                "votes": choice.votes,
                "ran": choice.ran,
                "candidates": len(asked.sqls),
                "doubtful": choice.doubtful,
            }
            files.write("choices.jsonl", json.dumps(line) + "\n")
            if choice.doubtful:
                doubtful += 1
                files.write("doubtful.txt", asked.example.example_id + "\n")
        files.publish()
    for source in candidates:
        print(f"{chosen[source]:6,} from {source}")
    print(f"{chosen['']:6,} where no answer runs: the first one")
    print(f"{formats.counted(len(questions), 'question')} in {time.monotonic() - start:.1f} s")
    print(f"predictions: {Path(output) / 'predict.txt'}")
    print(f"doubtful: {doubtful:,}, listed in {Path(output) / 'doubtful.txt'}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Asked:
    """A question with the answers to choose from, and the run of each."""

    example: Example
    sources: tuple[str, ...]
    sqls: tuple[str, ...]


def _read_questions(runs: dict[str, reader.RunContents], data: str) -> list[Questions]:
    """What each run answers; the first one the whole split."""
    splits = {source: run.manifest["fingerprint"]["data"] for source, run in runs.items()}
    (first, split), *others = splits.items()
    for source, other in others:
        if other["split"] != split["split"]:
            raise errors.InputError(
                f"--candidates: {first} is a run over the split {split['split']!r}, {source} over "
                f"{other['split']!r}"
            )
    for source, limited in splits.items():
        if limited.get("limit") is not None:
            raise errors.InputError(
                f"--candidates: {source} holds the first {limited['limit']} examples only; the "
                "predictions would not align with the split"
            )
    if "only" in split:
        raise errors.InputError(
            f"--candidates: {first} answers {len(split['only'])} examples of the split only "
            "(data.only); the first run has to answer all of them"
        )
    root = sources.resolve_data(data, cache_dir=local_cache.default_dir())
    read = functools.partial(
        questions_lib.read_questions,
        root,
        split=split["split"],
        limit=None,
        gold=None,
        required=True,
    )
    whole = read()
    return [read(only=of_run["only"]) if "only" in of_run else whole for of_run in splits.values()]


def _choices(
    questions: Questions,
    answers: Sequence[Iterator[tuple[str, str]]],
    candidates: Sequence[str],
    limits: Limits,
) -> Iterator[tuple[_Asked, Choice]]:
    waiting: collections.deque[_Asked] = collections.deque()

    @functools.lru_cache(maxsize=4)
    def database_of(db_id: str) -> CompactDatabase:
        return CompactDatabase(database.database_path(questions.root, db_id))

    def tasks() -> Iterator[ChooseQuery]:
        for example, sqls in _side_by_side(questions, answers):
            found = {
                source: sql for source, sql in zip(candidates, sqls, strict=True) if sql is not None
            }
            waiting.append(
                _Asked(example=example, sources=tuple(found), sqls=tuple(found.values()))
            )
            yield ChooseQuery(
                database.database_path(questions.root, example.db_id),
                tuple(found.values()),
                database_of(example.db_id).named(example.question),
            )

    with Executor(limits) as executor:
        for choice in executor.map(tasks()):
            yield waiting.popleft(), choice


def _side_by_side(
    questions: Questions, answers: Sequence[Iterator[tuple[str, str]]]
) -> Iterator[tuple[Example, list[str | None]]]:
    """Each question with every run's answer; None where a run was not asked it."""
    following = [next(of_run, None) for of_run in answers]
    for example in questions:
        sqls: list[str | None] = [None] * len(answers)
        for place, answer in enumerate(following):
            if answer is not None and answer[0] == example.example_id:
                sqls[place] = answer[1]
                following[place] = next(answers[place], None)
        yield example, sqls


def _answers(source: str, run: reader.RunContents, asked: Questions) -> Iterator[tuple[str, str]]:
    """The id and the answer of each question that a run was asked.

    Raises:
      RefusedError: the run is incomplete.
    """
    found = predictions.gather_run(source, run, asked)
    if found.problems:
        raise errors.RefusedError(
            f"{source} is incomplete ({found.problems[0]}): finish the run first"
        )
    ids = (example.example_id for example in asked)
    return zip(ids, (answer.sql for answer in found.answers(asked)), strict=True)

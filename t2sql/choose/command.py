"""From several runs over the same questions to one answer for each, chosen by their results."""

import collections
import dataclasses
import functools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from t2sql import errors
from t2sql.choose.vote import Choice, ChooseQuery
from t2sql.data import database
from t2sql.data.compact import CompactDatabase
from t2sql.data.examples import Example
from t2sql.evaluation.sandbox.executor import Executor, Limits
from t2sql.report import predictions, spider_files
from t2sql.report.case import Answer
from t2sql.report.questions import DataSource, Questions, read_questions
from t2sql.runs import reader
from t2sql.runtime.progress import counted
from t2sql.storage import output_files


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Question:
    """A question with the answers to choose from, and the run of each."""

    example: Example
    sources: tuple[str, ...]
    sqls: tuple[str, ...]
    logprobs: tuple[float, ...]


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
    urls = [source.rstrip("/") for source in candidates]
    if not all(urls) or len(set(urls)) < len(urls) or not urls:
        raise errors.InputError(
            f"--candidates={','.join(candidates)}; it has to be one run or several different ones"
        )
    start = time.monotonic()
    with output_files.open_output_files(output) as files:
        files.write("doubtful.txt", "")
        runs = {source: predictions.open_run(source) for source in candidates}
        # A run over an empty list of doubtful questions has nothing to choose from.
        runs = {source: run for source, run in runs.items() if _data(run).get("only") != []}
        if not runs:
            raise errors.InputError(f"--candidates={','.join(candidates)}: no question is answered")
        questions, *parts = _read_questions(runs, data)
        answers = {
            source: _answers(source, run, asked)
            for (source, run), asked in zip(runs.items(), (questions, *parts), strict=True)
        }
        chosen: collections.Counter[str] = collections.Counter()
        doubtful = 0
        for question, choice in _choices(questions, answers, Limits(seconds=timeout)):
            source, example_id = question.sources[choice.index], question.example.example_id
            chosen[source if choice.ran else ""] += 1
            line = {
                "example_id": example_id,
                "chosen": source,
                "votes": choice.votes,
                "ran": choice.ran,
                "candidates": len(question.sqls),
                "doubtful": choice.doubtful,
            }
            sql = spider_files.query_line(question.sqls[choice.index])
            files.write("predict.txt", f"{sql}\n")
            files.write("choices.jsonl", json.dumps(line) + "\n")
            if choice.doubtful:
                doubtful += 1
                files.write("doubtful.txt", f"{example_id}\n")
        files.publish()
    for source in candidates:
        print(f"{chosen[source]:6,} from {source}")
    print(f"{chosen['']:6,} where no answer runs: the first one")
    print(f"{counted(len(questions), 'question')} in {time.monotonic() - start:.1f} s")
    print(f"predictions: {Path(output) / 'predict.txt'}")
    print(f"doubtful: {doubtful:,}, listed in {Path(output) / 'doubtful.txt'}")


def _data(run: reader.RunContents) -> Mapping[str, Any]:
    return run.manifest["fingerprint"]["data"]


def _read_questions(runs: Mapping[str, reader.RunContents], data: str) -> list[Questions]:
    """What each run answers; the first one the whole split."""
    asked = {source: _data(run) for source, run in runs.items()}
    first, split = next(iter(asked)), next(iter(asked.values()))["split"]
    for source, of_run in asked.items():
        if of_run["split"] != split:
            raise errors.InputError(
                f"--candidates: {first} is a run over the split {split!r}, {source} over "
                f"{of_run['split']!r}"
            )
        if of_run.get("limit") is not None:
            raise errors.InputError(
                f"--candidates: {source} holds the first {of_run['limit']} examples only; the "
                "predictions would not align with the split"
            )
    if "only" in asked[first]:
        raise errors.InputError(
            f"--candidates: {first} answers {len(asked[first]['only'])} examples of the split "
            "only (data.only); the first run has to answer all of them"
        )
    folder = DataSource(path=data).open(runs[first].manifest.get("recorded", {}))
    read = functools.partial(
        read_questions, folder, split=split, limit=None, gold=None, required=True
    )
    whole = read()
    return [read(only=of_run["only"]) if "only" in of_run else whole for of_run in asked.values()]


def _answers(
    source: str, run: reader.RunContents, questions: Questions
) -> Iterator[tuple[str, Answer]]:
    """The id and the answer of each question that a run was asked.

    Raises:
      RefusedError: the run is incomplete.
    """
    gathered = predictions.gather_run(source, run, questions)
    if gathered.problems:
        raise errors.RefusedError(
            f"{source} is incomplete ({gathered.problems[0]}): finish the run first"
        )
    ids = (example.example_id for example in questions)
    return zip(ids, gathered.answers(), strict=True)


def _choices(
    questions: Questions, answers: Mapping[str, Iterator[tuple[str, Answer]]], limits: Limits
) -> Iterator[tuple[_Question, Choice]]:
    waiting: collections.deque[_Question] = collections.deque()

    @functools.lru_cache(maxsize=4)
    def database_of(db_id: str) -> CompactDatabase:
        return CompactDatabase(database.database_path(questions.folder, db_id))

    def tasks() -> Iterator[ChooseQuery]:
        for question in _side_by_side(questions, answers):
            waiting.append(question)
            example = question.example
            yield ChooseQuery(
                database.database_path(questions.folder, example.db_id),
                question.sqls,
                database_of(example.db_id).named(example.question),
                question.logprobs,
            )

    with Executor(limits) as executor:
        for choice in executor.map(tasks()):
            yield waiting.popleft(), choice


def _side_by_side(
    questions: Questions, answers: Mapping[str, Iterator[tuple[str, Answer]]]
) -> Iterator[_Question]:
    """Each question with the answers of the runs that were asked it, all candidates of a run."""
    upcoming = {source: next(of_run, None) for source, of_run in answers.items()}
    for example in questions:
        candidates: list[tuple[str, str, float | None]] = []
        for source, of_run in upcoming.items():
            if of_run is not None and of_run[0] == example.example_id:
                listed = of_run[1].candidates
                candidates += [(source, one.sql, one.logprob) for one in listed]
                if not listed:
                    candidates.append((source, of_run[1].sql, None))
                upcoming[source] = next(answers[source], None)
        sources, sqls, logprobs = zip(*candidates, strict=True)
        yield _Question(
            example=example,
            sources=sources,
            sqls=sqls,
            logprobs=() if None in logprobs else logprobs,  # of some they are no help
        )

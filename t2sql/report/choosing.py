"""From several runs over the same questions to one answer for each, chosen by their results."""

import collections
import functools
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from t2sql import cache, errors
from t2sql.report import formats, gather, outputs
from t2sql.report import questions as questions_lib
from t2sql.report.questions import Questions
from t2sql.runs import contents
from t2sql.scoring.choosing import Choice, ChooseQuery
from t2sql.scoring.execute import Executor, Limits
from t2sql.spider import schema, sources
from t2sql.spider.compact import CompactDatabase
from t2sql.spider.examples import Example


def choose(candidates: Sequence[str], *, data: str, output: str, timeout: float = 10.0) -> None:
    """Writes `predict.txt` and `choices.jsonl`, and prints a summary.

    Args:
      candidates: at least two run directories, the most trusted first.
      data: where the databases are.
      output: a local directory.
      timeout: seconds that one query may run.

    Raises:
      InputError: a flag or a file is wrong, or the runs are not over the same whole split.
      RefusedError: a run is incomplete.
    """
    if len(candidates) < 2 or len(set(candidates)) < len(candidates):
        raise errors.InputError(
            f"--candidates={','.join(candidates)}: two or more different runs to choose from"
        )
    start = time.monotonic()
    with outputs.open_outputs(output) as files:
        runs = {source: gather.open_run(source) for source in candidates}
        questions = _read_questions(runs, data)
        chosen: collections.Counter[str] = collections.Counter()
        for example, sqls, choice in _choices(runs, questions, Limits(seconds=timeout)):
            source = candidates[choice.index]
            chosen[source if choice.ran else ""] += 1
            files.write("predict.txt", outputs.one_line(sqls[choice.index]) + "\n")
            line = {
                "example_id": example.example_id,
                "chosen": source,
                "votes": choice.votes,
                "ran": choice.ran,
                "candidates": len(sqls),
            }
            files.write("choices.jsonl", json.dumps(line) + "\n")
        files.publish()
    for source in candidates:
        print(f"{chosen[source]:6,} from {source}")
    print(f"{chosen['']:6,} where no answer runs: the first one")
    print(f"{formats.counted(len(questions), 'question')} in {time.monotonic() - start:.1f} s")
    print(f"predictions: {Path(output) / 'predict.txt'}")


def _read_questions(runs: dict[str, contents.RunContents], data: str) -> Questions:
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
    return questions_lib.read_questions(
        sources.resolve_data(data, cache_dir=cache.default_dir()),
        split=split["split"],
        limit=None,
        gold=None,
        required=True,
    )


def _choices(
    runs: dict[str, contents.RunContents], questions: Questions, limits: Limits
) -> Iterator[tuple[Example, tuple[str, ...], Choice]]:
    predictions = [_gather(source, run, questions) for source, run in runs.items()]
    waiting: collections.deque[tuple] = collections.deque()

    @functools.lru_cache(maxsize=4)
    def database_of(db_id: str) -> CompactDatabase:
        return CompactDatabase(schema.database_path(questions.root, db_id))

    def tasks() -> Iterator[ChooseQuery]:
        streams = [source.answers(questions) for source in predictions]
        for example, *answers in zip(questions, *streams, strict=True):
            sqls = tuple(answer.sql for answer in answers)
            waiting.append((example, sqls))
            path = schema.database_path(questions.root, example.db_id)
            yield ChooseQuery(path, sqls, database_of(example.db_id).named(example.question))

    with Executor(limits) as executor:
        for choice in executor.map(tasks()):
            yield *waiting.popleft(), choice


def _gather(source: str, run: contents.RunContents, questions: Questions) -> gather.Predictions:
    found = gather.gather_run(source, run, questions)
    if found.problems:
        raise errors.RefusedError(
            f"{source} is incomplete ({found.problems[0]}): finish the run first"
        )
    return found

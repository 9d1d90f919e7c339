"""Judges and describes all examples on all cores; a stream in the order of the questions."""

import collections
import concurrent.futures
import itertools
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Container, Iterable, Iterator, Mapping

from t2sql.data import database, read_schema
from t2sql.data.examples import Example
from t2sql.data.schema import Schema
from t2sql.evaluation.evaluate import evaluate_all
from t2sql.evaluation.sandbox.executor import Executor, Limits, cores
from t2sql.evaluation.verdict import QueryPair
from t2sql.report import bounds, describe
from t2sql.report.describe import Case
from t2sql.report.judged import Judged
from t2sql.report.predictions import Answer, Predictions
from t2sql.report.questions import Questions

_CHUNK = 16
_CHUNKS_AHEAD = 4


class Judge:
    """Two pools in a row: one runs the queries, one diagnoses what it says is wrong.

    Attributes:
      several_files: databases that consist of more than one SQLite file, with their number.
    """

    def __init__(self, questions: Questions, *, workers: int | None, timeout: float):
        self._questions = questions
        self._workers = workers or cores()
        self._limits = Limits(seconds=timeout)
        self._schemas = read_schema.read_schemas(questions.root, questions.db_ids)
        self._databases = {
            db_id: tuple(database.database_paths(questions.root, db_id))
            for db_id in questions.db_ids
        }
        self.several_files = {
            db_id: len(paths) for db_id, paths in self._databases.items() if len(paths) > 1
        }

    def judge(
        self, predictions: Predictions, baseline: Predictions | None, *, shown: Container[int]
    ) -> Iterator[Judged]:
        """Yields every question, judged, in order; holds only a few at a time.

        Args:
          predictions: the answers to judge.
          baseline: other answers to the same questions, or None.
          shown: positions whose details the page wants.
        """
        sources = [predictions] if baseline is None else [predictions, baseline]
        with Executor(self._limits, workers=self._workers) as executor:
            cases = self._cases(sources, executor, shown)
            yield from self._described(cases)

    def _cases(
        self, sources: list[Predictions], executor: Executor, shown: Container[int]
    ) -> Iterator[Case]:
        waiting: collections.deque[tuple] = collections.deque()

        def pairs() -> Iterator[QueryPair]:
            streams = [source.answers(self._questions) for source in sources]
            for example, *answers in zip(self._questions, *streams, strict=True):
                waiting.append((example, tuple(answers)))
                for answer in answers:
                    yield self._pair(example, answer)

        verdicts = evaluate_all(pairs(), executor)
        grouped = itertools.batched(verdicts, len(sources))
        for position, group in enumerate(grouped):
            example, answers = waiting.popleft()
            yield Case(
                position=position,
                example=example,
                answers=answers,
                verdicts=group,
                shown=position in shown,
            )

    def _pair(self, example: Example, answer: Answer) -> QueryPair:
        return QueryPair(
            gold=example.query,
            predicted=answer.sql,
            databases=self._databases[example.db_id],
            schema=self._schemas[example.db_id],
        )

    def _described(self, cases: Iterable[Case]) -> Iterator[Judged]:
        # A fork of this process would copy the threads' locks of the storage client.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([describe.__name__])
        with concurrent.futures.ProcessPoolExecutor(
            self._workers, context, initializer=_start_worker, initargs=(self._schemas,)
        ) as pool:
            pending: collections.deque[concurrent.futures.Future] = collections.deque()
            try:
                for chunk in itertools.batched(cases, _CHUNK):
                    pending.append(pool.submit(_describe_chunk, chunk))
                    if len(pending) > _CHUNKS_AHEAD * self._workers:
                        yield from pending.popleft().result()
                while pending:
                    yield from pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()


_schemas: Mapping[str, Schema] = {}


def _start_worker(schemas: Mapping[str, Schema]) -> None:
    """Prepares a worker process: what all cases need, and how it ends."""
    global _schemas
    _schemas = schemas
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (bounds.MEMORY, bounds.MEMORY))
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent tells its pool nothing: without this, workers would wait for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _describe_chunk(cases: tuple[Case, ...]) -> list[Judged]:
    return [describe.describe(case, _schemas) for case in cases]

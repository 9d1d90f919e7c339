"""Evaluates and describes all answers on all cores; a stream in the order of the questions."""

import collections
import concurrent.futures
import dataclasses
import itertools
import multiprocessing
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from t2sql.data.examples import Example
from t2sql.data.schema import Schema
from t2sql.evaluation.evaluate import evaluate_all
from t2sql.evaluation.sandbox.executor import Executor, Limits
from t2sql.evaluation.verdict import QueryPair
from t2sql.report import describe
from t2sql.report.case import Answer, Case
from t2sql.report.predictions import Predictions
from t2sql.runtime import children

_CHUNK = 16
_CHUNKS_AHEAD = 4


def evaluate(
    sources: Sequence[Predictions],
    *,
    shown: Container[int],
    workers: int | None,
    timeout: float,
    timed: bool = False,
) -> Iterator[Case]:
    """Yields every question with its answers evaluated, in order; holds only a few at a time.

    Two pools in a row: one runs the queries, one diagnoses what is wrong.

    Args:
      sources: the answers, and the baseline's if there is one, which may be to a twin of the
        questions.
      shown: positions of the questions that the page shows in any case.
      workers: processes of each pool; None for one per core.
      timeout: seconds that one query may run.
      timed: whether BIRD's R-VES is measured.
    """
    workers = workers or children.cores()
    schemas = dict(
        pair for source in reversed(sources) for pair in source.questions.schemas.items()
    )
    with Executor(Limits(seconds=timeout), workers=workers) as executor:
        cases = _evaluated(sources, executor, timed)
        yield from _described(cases, schemas, shown, workers)


def _evaluated(sources: Sequence[Predictions], executor: Executor, timed: bool) -> Iterator[Case]:
    waiting: collections.deque[Sequence[tuple[Example, Answer]]] = collections.deque()

    def pairs() -> Iterator[QueryPair]:
        streams = (zip(source.questions, source.answers(), strict=True) for source in sources)
        for asked in zip(*streams, strict=True):
            waiting.append(asked)
            for source, (example, answer) in zip(sources, asked, strict=True):
                yield QueryPair(
                    gold=example.query,
                    predicted=answer.sql,
                    databases=source.questions.databases[example.db_id],
                    schema=source.questions.schemas[example.db_id],
                    other_golds=example.other_queries,
                    metric=source.questions.folder.dataset.metric,
                    timed=timed,
                )

    verdicts = evaluate_all(pairs(), executor)
    for position, group in enumerate(itertools.batched(verdicts, len(sources))):
        (example, answer), *others = (
            (example, dataclasses.replace(answer, verdict=verdict))
            for (example, answer), verdict in zip(waiting.popleft(), group, strict=True)
        )
        twin, baseline = others[0] if others else (None, None)
        yield Case(
            position=position,
            example=example,
            answer=answer,
            baseline=baseline,
            twin=None if twin is example else twin,
        )


def _described(
    cases: Iterable[Case], schemas: Mapping[str, Schema], shown: Container[int], workers: int
) -> Iterator[Case]:
    # A fork of this process would copy the threads' locks of the storage client.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([describe.__name__])
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, context, initializer=describe.start_worker, initargs=(schemas, shown)
    )
    pending: collections.deque[concurrent.futures.Future] = collections.deque()
    with pool:
        try:
            for chunk in itertools.batched(cases, _CHUNK):
                pending.append(pool.submit(describe.describe_all, chunk))
                if len(pending) > _CHUNKS_AHEAD * workers:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

"""Evaluation as a library call, for whoever has queries in memory and wants no page."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from t2sql import errors
from t2sql.data.dataset import SETS
from t2sql.data.read_schema import schema_from_sqlite
from t2sql.data.schema import Schema
from t2sql.evaluation import bird
from t2sql.evaluation.evaluate import evaluate_all
from t2sql.evaluation.sandbox.executor import Executor, Limits
from t2sql.evaluation.verdict import QueryPair, Verdict

_METRICS = frozenset(dataset.metric for dataset in SETS.values())
_SECONDS = 10.0


def evaluate(
    predictions: Sequence[str],
    gold: Sequence[str | Sequence[str]],
    databases: Sequence[str | Path],
    *,
    metric: str = "spider",
    schemas: Mapping[Path, Schema] | None = None,
    workers: int | None = None,
    timeout: float | None = None,
) -> list[Verdict]:
    """Evaluates predictions against gold; each list has one entry for each question.

    Untrusted SQL runs in child processes with limits, on databases opened for reading only. A
    script that calls this does so under `if __name__ == "__main__":`.

    Args:
      predictions: the SQL as it stands; "" where there is none.
      gold: the gold SQL, or several queries of which any is right.
      databases: the SQLite file of each question.
      metric: "spider" (execution accuracy and exact set match as the official evaluator's) or
        "bird" (EX and Soft-F1 as BIRD's).
      schemas: of the databases, where the file's own lacks keys that `tables.json` has; default:
        each file's own.
      workers: processes; default: one per core.
      timeout: seconds that one query may run; default: 10, of "bird" 30.

    Returns:
      A verdict for each question: `execution`, `exact_match`, `hardness`, `valid`, `reason`,
      `soft_f1`, and the results.

    Raises:
      InputError: the lists differ in length, an entry is no text, or a database cannot be read.
    """
    if metric not in _METRICS:
        raise errors.InputError(f"metric {metric!r}: there are {', '.join(sorted(_METRICS))}")
    if not len(predictions) == len(gold) == len(databases):
        raise errors.InputError(
            f"{len(predictions):,} predictions, {len(gold):,} gold queries and {len(databases):,} "
            "databases: each question needs one of each"
        )
    paths = [Path(database).expanduser() for database in databases]
    known = dict(schemas or {})
    for path in dict.fromkeys(paths):
        if path not in known:
            known[path] = schema_from_sqlite(path)
    seconds = timeout or (bird.SECONDS if metric == "bird" else _SECONDS)
    with Executor(Limits(seconds=seconds), workers=workers) as executor:
        return list(evaluate_all(_pairs(predictions, gold, paths, metric, known), executor))


def _pairs(
    predictions: Sequence[str],
    gold: Sequence[str | Sequence[str]],
    paths: Sequence[Path],
    metric: str,
    schemas: Mapping[Path, Schema],
) -> Iterator[QueryPair]:
    for index, (predicted, queries, path) in enumerate(zip(predictions, gold, paths, strict=True)):
        first, *others = [queries] if isinstance(queries, str) else queries or [None]
        if not all(isinstance(text, str) for text in (predicted, first, *others)):
            raise errors.InputError(f"question {index}: prediction and gold have to be text")
        yield QueryPair(
            gold=first,
            predicted=predicted,
            databases=(path,),
            schema=schemas[path],
            other_golds=tuple(others),
            metric=metric,
        )

"""One pair of queries, gold and predicted, and the verdict on it."""

import dataclasses
from pathlib import Path

from t2sql.data.schema import Schema
from t2sql.evaluation.sandbox.results import ExecutionResult


@dataclasses.dataclass(frozen=True, kw_only=True)
class QueryPair:
    """What is evaluated.

    Attributes:
      gold: the gold query; None where the data has none.
      predicted: the prediction as it stands.
      databases: the SQLite files of the db_id, the canonical one first; the results must agree
        on all of them.
      schema: the schema from `tables.json`: names and foreign keys.
      other_golds: more gold queries; a prediction is right if any of them says so.
      metric: "spider" or "bird": whose rules compare the results.
      timed: whether a right answer's R-VES is measured (BIRD's; takes 100 runs of both queries).
    """

    gold: str | None
    predicted: str
    databases: tuple[Path, ...]
    schema: Schema
    other_golds: tuple[str, ...] = ()
    metric: str = "spider"
    timed: bool = False


@dataclasses.dataclass(frozen=True)
class Reason:
    """The rule of the comparison that makes a prediction wrong.

    Attributes:
      rule: its name, for machines; docs/metrics.md lists them.
      message: one sentence for the reader.
    """

    rule: str
    message: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is said of a pair.

    Attributes:
      hardness: `easy`, `medium`, `hard` or `extra`; None without a gold query, or where the
        gold query is outside Spider's dialect (see `notes`).
      execution: whether the results agree on every database; None without a gold query. A gold
        query that fails makes it False, and `gold_result.status` tells.
      exact_match: whether every clause agrees; None without a gold query.
      valid: whether the prediction is a query (no EXPLAIN) that runs to its end, within the
        limits, on every database it was tried on; those on which gold fails aside, if gold runs
        on another one.
      db_empty: whether no database of the db_id holds a row: execution then says little.
      gold_result: the gold query's result on `database`; None without a gold query.
      predicted_result: the prediction's result on `database`.
      database: where the results are from: the first file on which they disagree, else the
        canonical one.
      database_count: how many files they have to agree on.
      gold_failed_on: all files on which the gold query fails; looked up where a file on which
        it fails makes `execution` False.
      reason: why `execution` is False; None where it is not.
      notes: what else a reader should know, one sentence each.
      soft_f1: BIRD's Soft-F1, 0 to 1; None where BIRD's rules do not compare.
      ves: BIRD's R-VES, 0 to 1.12; None where it is not measured.
    """

    hardness: str | None
    execution: bool | None
    exact_match: bool | None
    valid: bool
    db_empty: bool
    gold_result: ExecutionResult | None
    predicted_result: ExecutionResult
    database: Path
    database_count: int
    gold_failed_on: tuple[Path, ...] = ()
    reason: Reason | None = None
    notes: tuple[str, ...] = ()
    soft_f1: float | None = None
    ves: float | None = None

"""What a worker does with one pair of queries."""

import dataclasses
from pathlib import Path

from t2sql.evaluation import exact_set_match, hardness
from t2sql.evaluation.execution_accuracy import results_match
from t2sql.evaluation.sandbox.results import ExecutionResult, one_line
from t2sql.evaluation.sandbox.sqlite_sandbox import Sandbox
from t2sql.evaluation.sandbox.worker import StepFailedError, Steps
from t2sql.evaluation.spider_dialect import preprocess
from t2sql.evaluation.spider_dialect.parser import UnreadableError, read_query
from t2sql.evaluation.verdict import Pair, Verdict
from t2sql.sql import tokens

# Below this many values a comparison cannot take long.
_QUICK_VALUES = 200


@dataclasses.dataclass(frozen=True)
class JudgePair:
    """The task of judging one pair."""

    pair: Pair

    def __call__(self, sandbox: Sandbox, steps: Steps) -> Verdict:
        """Judges it."""
        pair, runner = self.pair, _Runner(sandbox, steps)
        execution = _execution(pair, runner)
        predicted = _shown_prediction(pair, execution, runner)
        reading = _read(pair)
        return Verdict(
            hardness=reading.hardness,
            execution=execution.agree,
            exact_match=reading.exact_match,
            valid=predicted.ok and bool(predicted.columns) and tokens.is_query(pair.predicted),
            db_empty=not any(sandbox.has_rows(each) for each in pair.databases),
            gold_result=_shown_gold(pair, execution, runner),
            predicted_result=predicted.shown(sandbox.limits),
            database=execution.database,
            database_count=len(pair.databases),
            notes=execution.notes + reading.notes,
        )


class _Runner:
    """Runs queries, or tells how they ended a worker before."""

    def __init__(self, sandbox: Sandbox, steps: Steps):
        self.limits = sandbox.limits
        self._sandbox, self._steps = sandbox, steps

    def gold(self, database: Path, sql: str) -> ExecutionResult:
        """The result of a gold query, which may well be at hand already."""
        if not self._sandbox.remembers(database, sql):
            failure = self._begin("gold", database)
            if failure:
                return failure
        return self._sandbox.remember(database, sql)

    def predicted(self, database: Path, sql: str) -> ExecutionResult:
        """The result of a prediction."""
        if not sql.strip():
            return ExecutionResult(status="error", message="there is no SQL")
        return self._begin("predicted", database) or self._sandbox.run(database, sql)

    def _begin(self, side: str, database: Path) -> ExecutionResult | None:
        try:
            self._steps.begin(f"{side} on {database}")
        except StepFailedError as failure:
            return ExecutionResult(status=failure.status, message=failure.message)
        return None

    def agree(self, gold: ExecutionResult, predicted: ExecutionResult, *, ordered: bool) -> bool:
        """Whether two results agree.

        Raises:
          StepFailedError: it takes too long to tell.
        """
        if len(gold.rows) * len(gold.columns) > _QUICK_VALUES:
            self._steps.begin("comparing")
        return results_match(gold.rows, predicted.rows, ordered=ordered)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Execution:
    """How the two results compare.

    Attributes:
      agree: whether they do, on every database; None without a gold query.
      database: the first one on which they do not, else the canonical one.
      gold: the result there of the gold query in its comparable form; None without one.
      predicted: the same of the prediction.
      notes: what to know of it.
    """

    agree: bool | None
    database: Path
    gold: ExecutionResult | None
    predicted: ExecutionResult
    notes: tuple[str, ...] = ()


def _execution(pair: Pair, runner: _Runner) -> _Execution:
    """Compares on each database, up to the first one that tells the queries apart."""
    first = None
    for database in pair.databases:
        execution = _execution_on(database, pair, runner)
        if not execution.agree:
            return execution
        first = first or execution
    return first


def _execution_on(database: Path, pair: Pair, runner: _Runner) -> _Execution:
    sql = preprocess.comparable(preprocess.fill_values(pair.predicted))
    predicted = runner.predicted(database, sql)
    if pair.gold is None:
        return _Execution(agree=None, database=database, gold=None, predicted=predicted)
    gold = runner.gold(database, preprocess.comparable(pair.gold))
    agree, notes = False, []
    if not gold.ok:
        notes.append(f"the gold query fails on {database.name}: {gold.message}")
    elif predicted.ok:
        try:
            ordered = preprocess.is_ordered(pair.gold)
            agree = runner.agree(gold, predicted, ordered=ordered)
        except StepFailedError as failure:
            notes.append(f"the results could not be compared: {failure.message}")
    if not agree and len(pair.databases) > 1:
        notes.append(f"judged on {database.name}, one of {len(pair.databases)} databases")
    return _Execution(
        agree=agree, database=database, gold=gold, predicted=predicted, notes=tuple(notes)
    )


def _shown_prediction(pair: Pair, execution: _Execution, runner: _Runner) -> ExecutionResult:
    """The result of the prediction as it is written, if it runs so, else in comparable form."""
    written = preprocess.runnable(pair.predicted)
    if written == preprocess.comparable(preprocess.fill_values(pair.predicted)):
        return execution.predicted
    result = runner.predicted(execution.database, written)
    return execution.predicted if execution.predicted.ok and not result.ok else result


def _shown_gold(pair: Pair, execution: _Execution, runner: _Runner) -> ExecutionResult | None:
    """The result of the gold query as it is written, DISTINCT included."""
    if pair.gold is None:
        return None
    return runner.gold(execution.database, preprocess.runnable(pair.gold)).shown(runner.limits)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Reading:
    """What the text of the queries says, without running them."""

    hardness: str | None = None
    exact_match: bool | None = None
    notes: tuple[str, ...] = ()


def _read(pair: Pair) -> _Reading:
    if pair.gold is None:
        return _Reading()
    try:
        gold = read_query(pair.gold, pair.schema)
    except UnreadableError as error:
        same = pair.gold.split() == pair.predicted.split()
        note = f"the gold query is outside Spider's dialect ({error}): it has no hardness"
        return _Reading(exact_match=same, notes=(one_line(note),))
    level = hardness.hardness(gold)
    try:
        predicted = read_query(preprocess.fill_values(pair.predicted), pair.schema)
    except UnreadableError as error:
        note = f"exact match cannot read the prediction: {error}"
        return _Reading(hardness=level, exact_match=False, notes=(one_line(note),))
    match = exact_set_match.exact_match(gold, predicted, pair.schema)
    return _Reading(hardness=level, exact_match=match)

"""Evaluates predictions: execution accuracy, exact set match, hardness and validity.

with Executor() as executor:
    for verdict in evaluate_all(pairs, executor):
        ...
"""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

from t2sql.evaluation import bird, exact_set_match, hardness
from t2sql.evaluation.execution_accuracy import results_match
from t2sql.evaluation.reasons import explain_difference
from t2sql.evaluation.sandbox.executor import Executor
from t2sql.evaluation.sandbox.results import ExecutionResult, one_line
from t2sql.evaluation.sandbox.sqlite_sandbox import Sandbox
from t2sql.evaluation.sandbox.worker import StepFailedError, StepGuard
from t2sql.evaluation.spider_dialect import preprocess
from t2sql.evaluation.spider_dialect.parser import UnreadableError, read_query
from t2sql.evaluation.ties import Ties, tie_probe
from t2sql.evaluation.verdict import QueryPair, Reason, Verdict
from t2sql.sql import tokens
from t2sql.sql.clean import why_no_query

# Below this many values a comparison cannot take long.
_QUICK_VALUES = 200
# Rules that speak of rows, which may not be those that are shown.
_OF_ROWS = ("row_count", "repeated_rows", "values")


def evaluate(pair: QueryPair, executor: Executor) -> Verdict:
    """Evaluates one pair."""
    (verdict,) = evaluate_all([pair], executor)
    return verdict


def evaluate_all(pairs: Iterable[QueryPair], executor: Executor) -> Iterator[Verdict]:
    """Evaluates pairs on all of the executor's processes; yields one verdict each, in order.

    Reads `pairs` only a little ahead of what was yielded, so memory stays bounded. Pairs that
    share a gold query run it once where they follow each other.
    """
    return executor.map(EvaluatePair(pair) for pair in pairs)


@dataclasses.dataclass(frozen=True)
class EvaluatePair:
    """A worker's task: evaluate one pair."""

    pair: QueryPair

    def __call__(self, sandbox: Sandbox, steps: StepGuard) -> Verdict:
        """Runs both queries, compares the results and the clauses."""
        pair, runner = self.pair, _Runner(sandbox, steps)
        pair, execution = _best_execution(pair, runner)
        database = execution.database

        # The page shows results of the queries as they are written, DISTINCT included.
        predicted = execution.predicted
        written = preprocess.runnable(pair.predicted)
        if pair.metric == "bird":
            written = pair.predicted
        elif written != preprocess.comparable(preprocess.fill_values(pair.predicted)):
            as_written = runner.predicted(database, written)
            if as_written.ok or not predicted.ok:
                predicted = as_written
        gold = None
        if pair.gold is not None:
            text = pair.gold if pair.metric == "bird" else preprocess.runnable(pair.gold)
            gold = runner.gold(database, text).shown(sandbox.limits)

        clauses = _compare_clauses(pair)
        return Verdict(
            hardness=clauses.hardness,
            execution=execution.agree,
            exact_match=clauses.exact_match,
            valid=_is_valid(pair, execution, predicted, runner, written),
            db_empty=not any(sandbox.has_rows(path) for path in pair.databases),
            gold_result=gold,
            predicted_result=predicted.shown(sandbox.limits),
            database=database,
            database_count=len(pair.databases),
            gold_failed_on=execution.gold_failed_on,
            reason=execution.reason,
            notes=execution.notes + clauses.notes,
            soft_f1=execution.soft_f1,
            ves=execution.ves,
        )


def _is_valid(
    pair: QueryPair,
    execution: "_Execution",
    predicted: ExecutionResult,
    runner: "_Runner",
    written: str,
) -> bool:
    """Whether the prediction is a query that runs, on a file on which gold runs if there is one."""
    intact = [path for path in pair.databases if path not in execution.gold_failed_on]
    if execution.gold_failed_on and intact and not predicted.ok:
        predicted = runner.predicted(intact[0], written, step="predicted, elsewhere")
    return predicted.ok and bool(predicted.columns) and tokens.is_query(pair.predicted)


class _Runner:
    """Runs queries; a query that killed a worker before is not run again."""

    def __init__(self, sandbox: Sandbox, steps: StepGuard):
        self._sandbox, self._steps = sandbox, steps

    def gold(self, database: Path, sql: str, *, step: str = "gold") -> ExecutionResult:
        """The result of a gold query; the sandbox may remember it from the pair before."""
        if not self._sandbox.remembers(database, sql):
            failure = self._begin(step, database)
            if failure:
                return failure
        return self._sandbox.remember(database, sql)

    def predicted(self, database: Path, sql: str, *, step: str = "predicted") -> ExecutionResult:
        """The result of a prediction."""
        if not sql.strip():
            return ExecutionResult(status="error", message="there is no SQL")
        return self._begin(step, database) or self._sandbox.run(database, sql)

    def ties(self, database: Path, gold_sql: str) -> Ties | None:
        """What gold's own order and LIMIT leave open; None where that cannot be told."""
        probe = tie_probe(gold_sql)
        result = probe and self.gold(database, probe.sql, step="ties")
        return probe.read(result) if result and result.ok else None

    def agree(self, gold: ExecutionResult, predicted: ExecutionResult, *, ordered: bool) -> bool:
        """Whether two results agree.

        Raises:
          StepFailedError: the comparison takes too long.
        """
        if len(gold.rows) * len(gold.columns) > _QUICK_VALUES:
            self._steps.begin("comparing")
        return results_match(gold.rows, predicted.rows, ordered=ordered)

    def explain(
        self,
        pair: QueryPair,
        gold: ExecutionResult,
        predicted: ExecutionResult,
        *,
        ordered: bool,
        ties: Ties | None,
    ) -> Reason:
        """Why the two results of a pair do not agree."""
        if statement := why_no_query(pair.predicted):
            return Reason("prediction_fails", f"the prediction is {statement}")
        if not predicted.ok:
            return Reason("prediction_fails", f"the prediction does not run: {predicted.message}")
        try:
            self._steps.begin("explaining")
            return explain_difference(gold, predicted, ordered=ordered, ties=ties)
        except StepFailedError:
            return Reason("values", "the results differ; it takes too long to say in what")

    @property
    def seconds(self) -> float:
        """How long a query may run."""
        return self._sandbox.limits.seconds

    def reward(self, database: Path, gold: str, predicted: str) -> float:
        """R-VES of a right answer."""
        return bird.reward(
            bird.timed_ratios(
                lambda: self._begin("timing gold", database) or self._sandbox.run(database, gold),
                lambda: self._begin("timing", database) or self._sandbox.run(database, predicted),
            )
        )

    def _begin(self, step: str, database: Path) -> ExecutionResult | None:
        try:
            self._steps.begin(f"{step} on {database}")
        except StepFailedError as failure:
            return ExecutionResult(status=failure.status, message=failure.message)
        return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Execution:
    """How the two results compare.

    Attributes:
      agree: whether they do, on every database; None without a gold query.
      database: the first one on which they do not, else the canonical one.
      predicted: the prediction's result there, in its comparable form.
      gold_failed_on: the files on which the gold query fails.
      reason: why they do not agree; None where they do, or without a gold query.
      notes: what else a reader should know.
      soft_f1: as in `Verdict`.
      ves: as in `Verdict`.
    """

    agree: bool | None
    database: Path
    predicted: ExecutionResult
    gold_failed_on: tuple[Path, ...] = ()
    reason: Reason | None = None
    notes: tuple[str, ...] = ()
    soft_f1: float | None = None
    ves: float | None = None


def _best_execution(pair: QueryPair, runner: _Runner) -> tuple[QueryPair, _Execution]:
    """The first gold query that the prediction agrees with, else the first one of all."""
    first = None
    for gold in (pair.gold, *pair.other_golds):
        one = dataclasses.replace(pair, gold=gold)
        execution = _execution(one, runner)
        if execution.agree:
            return one, execution
        first = first or (one, execution)
    return first


def _execution(pair: QueryPair, runner: _Runner) -> _Execution:
    """Compares the results on each database, up to the first one that tells the queries apart."""
    first = None
    for database in pair.databases:
        execution = _execution_on(database, pair, runner)
        if not execution.agree:
            return execution
        first = first or execution
    return first


def _execution_on(database: Path, pair: QueryPair, runner: _Runner) -> _Execution:
    if pair.metric == "bird":
        return _bird_execution_on(database, pair, runner)
    sql = preprocess.comparable(preprocess.fill_values(pair.predicted))
    predicted = runner.predicted(database, sql)
    if pair.gold is None:
        return _Execution(agree=None, database=database, predicted=predicted)
    gold_sql = preprocess.comparable(pair.gold)
    gold = runner.gold(database, gold_sql)
    agree, gold_failed_on, reason, notes = False, (), None, []
    if not gold.ok:
        reason = Reason("gold_fails", f"the gold query fails on {database.name}: {gold.message}")
        notes.append(reason.message)
        gold_failed_on = tuple(
            path for path in pair.databases if not runner.gold(path, gold_sql).ok
        )
    else:
        ordered, ties = preprocess.is_ordered(pair.gold), runner.ties(database, gold_sql)
        if ties is not None and (note := ties.note()):
            notes.append(note)
        try:
            agree = predicted.ok and runner.agree(gold, predicted, ordered=ordered)
            if not agree:
                reason = _change_that_decides(
                    pair, database, gold, predicted, runner
                ) or _with_distinct_told(
                    pair, runner.explain(pair, gold, predicted, ordered=ordered, ties=ties)
                )
        except StepFailedError as failure:
            message = f"the results could not be compared: {failure.message}"
            reason = Reason("not_compared", message)
            notes.append(message)
    if not agree and len(pair.databases) > 1:
        notes.append(f"evaluated on {database.name}, one of {len(pair.databases)} databases")
    return _Execution(
        agree=agree,
        database=database,
        predicted=predicted,
        gold_failed_on=gold_failed_on,
        reason=reason,
        notes=tuple(notes),
    )


def _bird_execution_on(database: Path, pair: QueryPair, runner: _Runner) -> _Execution:
    predicted = runner.predicted(database, pair.predicted)
    if pair.gold is None:
        return _Execution(agree=None, database=database, predicted=predicted)
    gold, seconds = runner.gold(database, pair.gold), runner.seconds
    if not gold.ok:
        reason = Reason("gold_fails", f"the gold query fails on {database.name}: {gold.message}")
        return _Execution(
            agree=False,
            database=database,
            predicted=predicted,
            gold_failed_on=(database,),
            reason=reason,
            notes=(reason.message,),
            soft_f1=0.0,
        )
    agree = bird.results_agree(gold, predicted, seconds)
    in_time = predicted.ok and gold.seconds + predicted.seconds <= seconds
    ves = None
    if pair.timed:
        ves = runner.reward(database, pair.gold, pair.predicted) if agree else 0.0
    return _Execution(
        agree=agree,
        database=database,
        predicted=predicted,
        reason=None if agree else bird.explain(gold, predicted, seconds),
        soft_f1=bird.soft_f1(gold.rows, predicted.rows) if in_time else 0.0,
        ves=ves,
    )


def _change_that_decides(
    pair: QueryPair,
    database: Path,
    gold: ExecutionResult,
    predicted: ExecutionResult,
    runner: _Runner,
) -> Reason | None:
    """The official change to the queries' text without which they would agree, if there is one.

    Raises:
      StepFailedError: a comparison takes too long.
    """
    filled = preprocess.fill_values(pair.predicted)
    as_compared = preprocess.comparable(pair.gold), preprocess.comparable(filled)
    for rule, change, gold_sql, predicted_sql in (
        (
            "placeholder",
            "the letters `value` in a prediction become 1",
            as_compared[0],
            preprocess.comparable(pair.predicted),
        ),
        (
            "distinct_dropped",
            "DISTINCT is dropped from both queries",
            preprocess.runnable(pair.gold),
            preprocess.runnable(filled),
        ),
    ):
        if (gold_sql, predicted_sql) == as_compared:
            continue
        other_gold = runner.gold(database, gold_sql, step=f"gold, {rule}")
        other = runner.predicted(database, predicted_sql, step=f"predicted, {rule}")
        if not (other_gold.ok and other.ok):
            continue
        if not predicted.ok:
            message = f"{change}, as in the official evaluator, and then it fails"
            return Reason(rule, f"{message}: {predicted.message}")
        if runner.agree(other_gold, other, ordered=preprocess.is_ordered(pair.gold)):
            then = f"{gold.row_count:,} rows in gold, {predicted.row_count:,} in the prediction"
            if gold.row_count == predicted.row_count:
                ordered = preprocess.is_ordered(pair.gold)
                then = runner.explain(pair, gold, predicted, ordered=ordered, ties=None).message
            return Reason(rule, f"{change}, as in the official evaluator; then: {then}")
    return None


def _with_distinct_told(pair: QueryPair, reason: Reason) -> Reason:
    """The reason; where DISTINCT is dropped, the results compared are not those that are shown."""
    filled = preprocess.fill_values(pair.predicted)
    says_distinct = any(
        preprocess.comparable(sql) != preprocess.runnable(sql) for sql in (pair.gold, filled)
    )
    if not says_distinct or reason.rule not in _OF_ROWS:
        return reason
    return dataclasses.replace(reason, message=f"{reason.message} (DISTINCT is dropped from both)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Clauses:
    """What the queries say clause by clause; neither is run for it."""

    hardness: str | None = None
    exact_match: bool | None = None
    notes: tuple[str, ...] = ()


def _compare_clauses(pair: QueryPair) -> _Clauses:
    if pair.gold is None:
        return _Clauses()
    if pair.metric == "bird":
        # Most of its gold is outside Spider's dialect, and has levels of its own.
        matches = _compare_clauses(dataclasses.replace(pair, metric="spider")).exact_match
        return _Clauses(exact_match=matches)
    try:
        gold = read_query(pair.gold, pair.schema)
    except UnreadableError as error:
        same_text = pair.gold.split() == pair.predicted.split()
        note = f"the gold query is outside Spider's dialect ({error}): it has no hardness"
        return _Clauses(exact_match=same_text, notes=(one_line(note),))
    level = hardness.hardness(gold)
    try:
        predicted = read_query(preprocess.fill_values(pair.predicted), pair.schema)
    except UnreadableError as error:
        note = f"exact match cannot read the prediction: {error}"
        return _Clauses(hardness=level, exact_match=False, notes=(one_line(note),))
    match = exact_set_match.exact_match(gold, predicted, pair.schema)
    return _Clauses(hardness=level, exact_match=match)

"""A vote among several queries for one question: the result that most of them return wins.

Who may vote: queries that run; of these, the ones most faithful to the values of the question and
the database (`grounding`); of these, the ones that return rows, if any do, for a question is asked
to be answered. Each votes for its result (as in majority voting, Wang et al. 2022). At a tie the
result of the most likely query wins, and of the queries that return it the most likely one is
chosen. Where the likelihoods are not known, it is the first: so put the answer that you trust most
first.
"""

import dataclasses
from pathlib import Path

from t2sql.choose import grounding
from t2sql.evaluation.execution_accuracy import results_match
from t2sql.evaluation.sandbox.results import ExecutionResult
from t2sql.evaluation.sandbox.sqlite_sandbox import Sandbox
from t2sql.evaluation.sandbox.worker import StepFailedError, StepGuard
from t2sql.evaluation.spider_dialect import preprocess
from t2sql.sql import tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """The query that was chosen.

    Attributes:
      index: its place among the candidates; the first one where none runs.
      votes: how many voters have its result, itself included; 0 where none runs.
      ran: how many candidates run.
      doubtful: whether it fails; or, on a database with rows, returns none or is unfaithful to
        the values.
    """

    index: int
    votes: int
    ran: int
    doubtful: bool


@dataclasses.dataclass(frozen=True)
class ChooseQuery:
    """The task of choosing among the candidates for one question.

    Attributes:
      database: that they read.
      candidates: the queries, the most trusted first.
      named: values of the database that the question names, each in all its spellings.
      logprobs: of each candidate, by the model's own distribution; empty where they are not known.
    """

    database: Path
    candidates: tuple[str, ...]
    named: tuple[tuple[str, ...], ...] = ()
    logprobs: tuple[float, ...] = ()

    def __call__(self, sandbox: Sandbox, steps: StepGuard) -> Choice:
        """Chooses."""
        results = self._run_distinct(sandbox, steps)
        ran = [index for index, sql in enumerate(self.candidates) if results[sql].ok]
        if not ran:
            return Choice(index=0, votes=0, ran=0, doubtful=True)
        faults = {
            sql: self._faults(sql, sandbox, steps)
            for sql in dict.fromkeys(self.candidates[index] for index in ran)
        }
        fewest = min(faults.values())
        voters = [index for index in ran if faults[self.candidates[index]] == fewest]
        with_rows = [index for index in voters if results[self.candidates[index]].rows]
        camps: list[list[int]] = []  # the voters, by result
        for index in with_rows or voters:
            self._join(camps, index, results, steps)
        best = [max(camp, key=self._logprob) for camp in camps]  # of equals, the first
        index, largest = max(
            zip(best, camps, strict=True), key=lambda pair: (len(pair[1]), self._logprob(pair[0]))
        )
        return Choice(
            index=index,
            votes=len(largest),
            ran=len(ran),
            doubtful=sandbox.has_rows(self.database) and (fewest > 0 or not with_rows),
        )

    def _logprob(self, index: int) -> float:
        return self.logprobs[index] if self.logprobs else 0.0

    def _faults(self, sql: str, sandbox: Sandbox, steps: StepGuard) -> int:
        try:
            steps.begin(f"reading: {sql}")
            return grounding.faults(
                sql,
                self.database,
                self.named,
                lambda probe: bool(self._run(probe, probe, sandbox, steps).rows),
            )
        except StepFailedError:  # Too slow to tell: as if it used none of the values.
            return len(self.named)

    def _run_distinct(self, sandbox: Sandbox, steps: StepGuard) -> dict[str, ExecutionResult]:
        return {
            sql: self._run(sql, f"candidate {number}", sandbox, steps)
            for number, sql in enumerate(dict.fromkeys(self.candidates))
        }

    def _run(self, sql: str, step: str, sandbox: Sandbox, steps: StepGuard) -> ExecutionResult:
        if not tokens.is_query(sql):
            return ExecutionResult(status="error", message="it is no query")
        try:
            steps.begin(step)
        except StepFailedError as failure:
            return ExecutionResult(status=failure.status, message=failure.message)
        return sandbox.run(self.database, preprocess.runnable(sql))

    def _join(self, camps: list[list[int]], index: int, results, steps: StepGuard) -> None:
        """Adds a candidate to the camp of its result."""
        result = results[self.candidates[index]]
        for camp in camps:
            if self._agree(results[self.candidates[camp[0]]], result, f"{camp[0]}:{index}", steps):
                camp.append(index)
                return
        camps.append([index])

    def _agree(
        self, one: ExecutionResult, other: ExecutionResult, name: str, steps: StepGuard
    ) -> bool:
        try:
            steps.begin(f"comparing {name}")
        except StepFailedError:  # Too slow to tell: no vote.
            return False
        return results_match(one.rows, other.rows, ordered=False)

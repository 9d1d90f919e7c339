"""Accuracy on held-out questions, by the sampler of a run and the scorer of a report."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import ml_collections

from t2sql.data.examples import Example
from t2sql.data.prompts import Prompt
from t2sql.evaluation.evaluate import evaluate_all
from t2sql.evaluation.sandbox.executor import Executor
from t2sql.evaluation.verdict import QueryPair
from t2sql.model import factory as factory_lib
from t2sql.runs import loader, predict


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """Shares of the held-out questions.

    Attributes:
      execution: whose answer returns gold's result.
      exact_match: whose answer has gold's clauses.
      valid: whose answer runs.
      questions: how many there are.
    """

    execution: float
    exact_match: float
    valid: float
    questions: int


class Validator:
    """Answers and evaluates a fixed sample of the held-out questions.

    Args:
      config: of the training, with a run's prompt, sampling and batch size.
      factory: of the model.
      prompt: of the questions.
      held_out: examples to choose from.
      make_pair: makes what is evaluated of an example and its predicted SQL.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        factory: factory_lib.LLMModuleFactory,
        prompt: Prompt,
        held_out: Sequence[Example],
        make_pair: Callable[[Example, str], QueryPair],
    ):
        self._config = config
        self._factory = factory
        self._prompt = prompt
        self._make_pair = make_pair
        by_hash = sorted(
            held_out, key=lambda example: hashlib.sha256(example.example_id.encode()).hexdigest()
        )
        chosen = by_hash[: config.train.validation_questions]
        units = loader.plan(chosen, prompt, unit_size=config.unit_size)
        self._groups = loader.load_groups(config, units, prompt, factory)

    def score(self, params: Any, *, on_step: Callable[[], None] = lambda: None) -> Score:
        """Evaluates a model.

        Args:
          params: of gemma's plain model, on the factory's mesh.
          on_step: called every few steps of the sampler; an exception from it ends the
            validation.
        """
        sampler = predict.make_sampler(self._config, self._factory, self._prompt, params)
        pairs = [
            self._make_pair(example, row.sql)
            for unit, rows in predict.predict(sampler, self._groups, self._prompt, on_step=on_step)
            for example, row in zip(unit.examples, rows, strict=True)
        ]
        with Executor(workers=1) as executor:
            verdicts = list(evaluate_all(pairs, executor))
        return Score(
            execution=_share(verdict.execution for verdict in verdicts),
            exact_match=_share(verdict.exact_match for verdict in verdicts),
            valid=_share(verdict.valid for verdict in verdicts),
            questions=len(verdicts),
        )


def _share(values: Iterable[bool | None]) -> float:
    counted = [bool(value) for value in values]
    return sum(counted) / len(counted)

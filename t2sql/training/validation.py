"""Execution accuracy on held-out questions, with the program's own sampler and scorer."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import ml_collections

from t2sql import loader, sampling, wiring
from t2sql.model import factory as factory_lib
from t2sql.prompts import Prompt
from t2sql.provenance import sampling_values
from t2sql.runs.units import plan_units
from t2sql.scoring.clean import clean_sql
from t2sql.scoring.execute import Executor
from t2sql.scoring.judge import judge_all
from t2sql.scoring.verdict import Pair
from t2sql.spider.examples import Example


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """Shares of the questions.

    Attributes:
      execution: whose result is that of the gold query.
      exact_match: whose clauses are.
      valid: whose answer runs.
      questions: how many there are.
    """

    execution: float
    exact_match: float
    valid: float
    questions: int


class Validator:
    """Answers and judges the same questions each time.

    Args:
      config: of the training; prompt, sampling and batch size are those of a run.
      factory: of the model.
      prompt: writes the prompts.
      held_out: examples to choose from.
      make_pair: what is judged, of an example and its predicted SQL.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        factory: factory_lib.LLMModuleFactory,
        prompt: Prompt,
        held_out: Sequence[Example],
        make_pair: Callable[[Example, str], Pair],
    ):
        self._config = config
        self._factory = factory
        self._prompt = prompt
        self._make_pair = make_pair
        chosen = sorted(held_out, key=_hash)[: config.train.validation_questions]
        planned = plan_units(
            chosen, unit_size=config.unit_size, length=loader.estimate_tokens(prompt)
        )
        self._units = wiring.load_units(config, planned, prompt=prompt, factory=factory)

    def score(self, params: Any, *, on_step: Callable[[], None] = lambda: None) -> Score:
        """Judges a model.

        Args:
          params: of the plain model, on the factory's mesh.
          on_step: called every few steps of the sampler; what it raises ends the validation.
        """
        answers = self._answers(params, on_step)
        pairs = [
            self._make_pair(example, answers.get(example.example_id, ""))
            for unit in self._units
            for example in unit.unit.examples
        ]
        with Executor(workers=1) as executor:
            verdicts = list(judge_all(pairs, executor))
        return Score(
            execution=_share(verdict.execution for verdict in verdicts),
            exact_match=_share(verdict.exact_match for verdict in verdicts),
            valid=_share(verdict.valid for verdict in verdicts),
            questions=len(verdicts),
        )

    def _answers(self, params: Any, on_step: Callable[[], None]) -> dict[str, str]:
        """SQL by example id; a prompt that is too long has none."""
        sampler = sampling.BatchSampler(
            model=self._factory.model,
            params=params,
            tokenizer=self._factory.tokenizer,
            mesh=self._factory.mesh,
            config=sampling.SamplingConfig(**sampling_values(self._config, self._prompt)),
            batch_size=self._config.batch_size,
            prompt_buckets=self._config.prompt_buckets,
            prefill_tokens=self._config.prefill_tokens,
        )
        units = {unit.unit.name: unit for unit in self._units}
        groups = sampling.in_order(unit.group for unit in self._units if unit.group)
        answers: dict[str, str] = {}
        for group, generations in sampler.generate(groups, on_step=on_step):
            unit = units[group.tag]
            for index, generation in zip(unit.fitting, generations, strict=True):
                sql = clean_sql(self._prompt.sql_text(generation.text))
                answers[unit.unit.examples[index].example_id] = sql
        return answers


def _share(values) -> float:
    judged = [bool(value) for value in values]
    return sum(judged) / len(judged)


def _hash(example: Example) -> str:
    return hashlib.sha256(example.example_id.encode()).hexdigest()

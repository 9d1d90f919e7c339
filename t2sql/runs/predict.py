"""Inference: prompts of units in, prediction rows out."""

from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any

import ml_collections

from t2sql import config as config_lib
from t2sql import errors, sampling
from t2sql.data.examples import Example
from t2sql.data.prompts import Prompt
from t2sql.model.factory import LLMModuleFactory
from t2sql.runs.predictions import Candidate, Prediction
from t2sql.runs.summary import Stopwatch
from t2sql.runs.units import Unit
from t2sql.runtime import garbage, statuses
from t2sql.runtime.compilation_cache import CompilationCache
from t2sql.sampling import memory as memory_lib
from t2sql.sql.clean import clean_sql


def sampling_config(config: ml_collections.ConfigDict, prompt: Prompt) -> sampling.SamplingConfig:
    """How a run samples; the prompt's own stop strings come first."""
    stop = tuple(dict.fromkeys((*prompt.stop, *config.sampling.stop)))
    return sampling.SamplingConfig(**config.sampling.to_dict() | {"stop": stop})


def check(config: ml_collections.ConfigDict, factory: LLMModuleFactory, prompt: Prompt) -> None:
    """Refuses values that cannot be sampled with; the weights are not read.

    Raises:
      InputError: names the value and the rule.
    """
    sampling.check(
        sampling_config(config, prompt),
        batch_size=factory.mesh.size if config.batch_size == config_lib.AUTO else config.batch_size,
        prompt_buckets=config.prompt_buckets,
        mesh=factory.mesh,
    )
    if config.batch_size != config_lib.AUTO and config.sampling.beams > config.batch_size:
        raise errors.InputError(
            f"--config.sampling.beams is {config.sampling.beams}; it has to be at most"
            f" --config.batch_size, which is {config.batch_size}"
        )
    factory.check()


def make_sampler(
    config: ml_collections.ConfigDict,
    factory: LLMModuleFactory,
    prompt: Prompt,
    params: Any,
    *,
    batch_size: int | None = None,
) -> sampling.BatchSampler:
    """The sampler that the config describes, over `params` (which may be abstract)."""
    return sampling.BatchSampler(
        model=factory.model,
        params=params,
        tokenizer=factory.tokenizer,
        mesh=factory.mesh,
        config=sampling_config(config, prompt),
        batch_size=batch_size or config_lib.known_batch_size(config),
        prompt_buckets=config.prompt_buckets,
        prefill_tokens=config.prefill_tokens,
    )


def load_sampler(
    config: ml_collections.ConfigDict,
    factory: LLMModuleFactory,
    prompt: Prompt,
    groups: Sequence[sampling.PromptGroup],
    stopwatch: Stopwatch,
) -> tuple[sampling.BatchSampler, CompilationCache]:
    """A sampler with the weights, compiled for the groups while these are read.

    Close the cache at the end of the job: until then new programs are published behind it.

    Raises:
      InputError: the batch does not fit the memory of the devices; no weights were read.
    """
    programs = CompilationCache(
        config_lib.resolve_compilation_cache(config),
        config_lib.resolve_cache_dir(config),
        config_lib.storage_config(config),
    )

    def load_params() -> Any:
        with stopwatch.time("load"):
            return factory.load_params()

    with futures.ThreadPoolExecutor(max_workers=1) as pool:
        with stopwatch.time("compile"), programs.open():
            sampler = fitting_sampler(config, factory, prompt, groups)
            params = pool.submit(load_params)
            sampler.compile(sampling.in_order(groups))
        sampler.set_params(params.result())
    return sampler, programs


def fitting_sampler(
    config: ml_collections.ConfigDict,
    factory: LLMModuleFactory,
    prompt: Prompt,
    groups: Sequence[sampling.PromptGroup],
) -> sampling.BatchSampler:
    """A sampler, still without weights, that the memory of the devices has room for.

    Raises:
      InputError: it has none; says what is needed, what there is, and what to set.
    """
    memory = memory_lib.of_device(factory.mesh)

    def make(batch_size: int) -> sampling.BatchSampler:
        return make_sampler(config, factory, prompt, factory.abstract_params, batch_size=batch_size)

    if config.batch_size == config_lib.AUTO:
        samples = config.sampling.samples
        return memory_lib.fit(make, groups, mesh=factory.mesh, memory=memory, samples=samples)
    sampler = make(config.batch_size)
    if memory is not None:
        memory_lib.check(sampler, groups, memory)
    return sampler


def predict(
    sampler: sampling.BatchSampler,
    groups: Sequence[sampling.PromptGroup],
    prompt: Prompt,
    *,
    on_finished: Callable[[sampling.Generation], None] = lambda generation: None,
    on_step: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Unit[Example], list[Prediction]]]:
    """Yields each unit with a row for every one of its examples, as it finishes.

    Args:
      sampler: with the model's parameters.
      groups: as `loader.load_groups` makes them.
      prompt: which wrote them.
      on_finished: called with each answer.
      on_step: called every few steps; what it raises ends the inference.
    """
    answers = sampler.generate(sampling.in_order(groups), on_finished=on_finished, on_step=on_step)
    with garbage.short_collections():
        for group, generations in answers:
            rows = zip(group.tag.examples, group.prompt_tokens, generations, strict=True)
            yield group.tag, [_row(*row, prompt) for row in rows]


def _row(
    example: Example, prompt_tokens: int, generation: sampling.Generation, prompt: Prompt
) -> Prediction:
    answered = generation.status != statuses.PROMPT_TOO_LONG
    scored = (generation, *generation.others) if generation.logprobs else ()
    return Prediction(
        example_id=example.example_id,
        db_id=example.db_id,
        question=example.question,
        gold=example.query,
        text=generation.text,
        sql=clean_sql(prompt.sql_text(generation.text)) if answered else "",
        status=generation.status,
        prompt_tokens=prompt_tokens,
        output_tokens=len(generation.tokens),
        candidates=tuple(_candidate(answer, prompt) for answer in scored),
    )


def _candidate(answer: sampling.Generation, prompt: Prompt) -> Candidate:
    return Candidate(
        text=answer.text,
        sql=clean_sql(prompt.sql_text(answer.text)),
        status=answer.status,
        output_tokens=len(answer.tokens),
        logprob=round(sum(answer.logprobs), 4),
        masked_logprob=round(sum(answer.masked_logprobs), 4) if answer.masked_logprobs else None,
    )

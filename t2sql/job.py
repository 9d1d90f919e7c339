"""The job: one host's units through the model, each written once as an object."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any

import jax
import ml_collections
import rich.console

from t2sql import (
    compilation,
    distributed,
    errors,
    loader,
    progress,
    prompts,
    provenance,
    sampling,
    signals,
    summary,
    wiring,
)
from t2sql import config as config_lib
from t2sql.model import factory as factory_lib
from t2sql.runs import manifest, storage
from t2sql.runs.rows import Prediction
from t2sql.runs.units import Unit, plan_units
from t2sql.scoring.clean import clean_sql
from t2sql.spider.examples import Example


class Stopwatch:
    """Seconds of wall time by stage of the job."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def time(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """What there is to do, known before the model is loaded.

    Attributes:
      examples: all of the run.
      prompt: writes their prompts.
      plan: all units of the run, longest first; the same on every host.
    """

    examples: Sequence[Example]
    prompt: prompts.Prompt
    plan: Sequence[Unit[Example]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Job:
    """What the steps of one host's job share.

    Attributes:
      config: as `default_config` lays it out.
      process: which of how many this one is.
      watch: asked between steps whether a signal has come.
      work: what there is to do.
      factory: of the model.
      console: where to tell what goes on.
      stopwatch: of the stages.
    """

    config: ml_collections.ConfigDict
    process: distributed.Process
    watch: signals.TerminationWatch
    work: Work
    factory: factory_lib.LLMModuleFactory
    console: rich.console.Console
    stopwatch: Stopwatch

    @property
    def sampling_config(self) -> sampling.SamplingConfig:
        return sampling.SamplingConfig(**provenance.sampling_values(self.config, self.work.prompt))

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False)


def run(
    config: ml_collections.ConfigDict,
    watch: signals.TerminationWatch,
    process: distributed.Process = distributed.ALONE,
) -> None:
    """Runs the job that `config` describes, or what is left of it.

    Args:
      config: as `default_config` lays it out.
      watch: asked between steps whether a signal has come.
      process: which of how many this one is.

    Raises:
      InputError: a config value or the data is wrong.
      RefusedError: the output holds another run.
      TryAgainError: a network or a disk failed for now.
      Terminated: SIGTERM has come; finished units are written.
    """
    config_lib.check(config)
    console = progress.make_console()
    if process.found:
        console.print(f"host: {process.found}", highlight=False)
    stopwatch = Stopwatch()
    with stopwatch.time("data"):
        work = prepare_work(config)
    job = _Job(
        config=config,
        process=process,
        watch=watch,
        work=work,
        factory=wiring.make_factory(config),
        console=console,
        stopwatch=stopwatch,
    )
    job.say(_describe(job))
    with stopwatch.time("load"):
        _check_model(job)
        open_run = _open_run(job)
    try:
        _predict(job, open_run)
    except (KeyboardInterrupt, signals.Terminated):
        open_run.flush()
        done, total = len(open_run.finished()), summary.counted(len(work.plan), "unit")
        job.say(
            f"Stopped with {done} of {total} written; "
            f"the same command with --config.output={config.output} goes on from there."
        )
        raise


def _describe(job: _Job) -> str:
    config, work = job.config, job.work
    questions = summary.counted(len(work.examples), "question")
    databases = summary.counted(len({example.db_id for example in work.examples}), "database")
    return (
        f"data: {questions} on {databases} of {config.data.path} {config.data.split}, "
        f"in {summary.counted(len(work.plan), 'unit')}\n"
        f"weights: {config.model.source}"
        + (f", with the adapter {config.model.adapter}" if config.model.adapter else "")
    )


def prepare_work(config: ml_collections.ConfigDict) -> Work:
    """Reads the data and cuts it into units."""
    prompt = wiring.make_prompt(config)
    examples = wiring.read_examples(config, prompt)
    length = loader.estimate_tokens(prompt)
    return Work(
        examples=examples,
        prompt=prompt,
        plan=plan_units(examples, unit_size=config.unit_size, length=length),
    )


def _check_model(job: _Job) -> None:
    """Finds what is wrong with it before the run is begun, which would refuse what is put right."""
    sampling.check(
        job.sampling_config,
        batch_size=job.config.batch_size,
        prompt_buckets=job.config.prompt_buckets,
        mesh=job.factory.mesh,
    )
    job.factory.check()


def _open_run(job: _Job) -> manifest.Run:
    output = storage.open_storage(job.config.output, wiring.storage_config(job.config))
    if job.config.overwrite:
        if job.process.count > 1:
            raise errors.RefusedError(
                f"--config.overwrite with {job.process.count} processes: one could delete what "
                "another has just written; delete the run first, or overwrite with a single process"
            )
        manifest.delete_run(output)
    return manifest.Run.open(
        output,
        units=job.work.plan,
        fingerprint=provenance.make_fingerprint(
            job.config, job.work.examples, job.work.prompt, job.factory
        ),
        recorded=provenance.make_record(job.config, job.process),
        config=wiring.storage_config(job.config),
    )


def _predict(job: _Job, open_run: manifest.Run) -> None:
    """Predicts and writes this host's unfinished units, and `done.json` if it was the last."""
    finished = open_run.finished()
    units = _load_units(job, finished)
    outcome = summary.Outcome()
    if units:
        if finished:
            total = summary.counted(len(job.work.plan), "unit")
            job.say(f"resuming: {len(finished)} of {total} written before")
        sampler, programs = _make_sampler(job, units)
        _describe_start(job, sampler)
        total = sum(len(unit.unit.examples) for unit in units)
        job.watch.keep_order()
        with progress.Progress(total, job.console).shown() as shown:
            for unit, rows in _predictions(job, units, sampler, shown):
                with job.stopwatch.time("write"):
                    open_run.write_unit(unit, rows)
                outcome.add(rows)
                if job.config.show:
                    summary.show_predictions(rows, job.console)
        job.stopwatch.seconds["prefill"] = sampler.counters.prefill_seconds
        job.stopwatch.seconds["decode"] = sampler.counters.decode_seconds
        outcome.counters = sampler.counters
        programs.close()
    with job.stopwatch.time("write"):
        complete = open_run.write_done_if_complete()
    summary.print_summary(
        outcome, open_run, complete, job.config.output, job.stopwatch.seconds, job.console
    )


def _load_units(job: _Job, finished: set[str]) -> list[loader.TokenisedUnit]:
    with job.stopwatch.time("data"):
        return wiring.load_units(
            job.config,
            job.work.plan,
            prompt=job.work.prompt,
            factory=job.factory,
            process_index=job.process.index,
            process_count=job.process.count,
            finished=finished,
        )


def _make_sampler(
    job: _Job, units: Sequence[loader.TokenisedUnit]
) -> tuple[sampling.BatchSampler, compilation.CompilationCache]:
    """A sampler that is compiled for the units, which goes on while the weights are read."""
    config, factory = job.config, job.factory
    sampler = sampling.BatchSampler(
        model=factory.model,
        params=factory.abstract_params,
        tokenizer=factory.tokenizer,
        mesh=factory.mesh,
        config=job.sampling_config,
        batch_size=config.batch_size,
        prompt_buckets=config.prompt_buckets,
        prefill_tokens=config.prefill_tokens,
    )
    programs = compilation.CompilationCache(
        config.compilation_cache, wiring.resolve_cache_dir(config), wiring.storage_config(config)
    )
    with futures.ThreadPoolExecutor(max_workers=1) as pool:
        params = pool.submit(_timed, job.stopwatch, "load", factory.load_params)
        with job.stopwatch.time("compile"), programs.open():
            sampler.compile(sampling.in_order(unit.group for unit in units if unit.group))
        sampler.set_params(params.result())
    return sampler, programs


def _timed(stopwatch: Stopwatch, stage: str, function: Callable[[], Any]) -> Any:
    with stopwatch.time(stage):
        return function()


def _describe_start(job: _Job, sampler: sampling.BatchSampler) -> None:
    devices = jax.local_devices()
    programs = summary.counted(sampler.compile_count, "program")
    job.say(
        f"model: {job.config.model.name} in {job.factory.dtype} on {len(devices)} x "
        f"{devices[0].device_kind}; compiled {programs} in {sampler.compile_seconds:.1f} s"
    )
    if job.factory.adapter:
        warning = prompts.tuning_warning(job.work.prompt, job.factory.adapter.prompt)
    else:
        warning = prompts.variant_warning(job.work.prompt, job.factory.checkpoint.variant)
    if warning:
        job.say(f"warning: {warning}")


def _predictions(
    job: _Job,
    units: Sequence[loader.TokenisedUnit],
    sampler: sampling.BatchSampler,
    shown: progress.Progress,
) -> Iterator[tuple[Unit[Example], list[Prediction]]]:
    """Yields each unit with its rows as it finishes."""
    by_name = {unit.unit.name: unit for unit in units}
    groups = sampling.in_order(unit.group for unit in units if unit.group)
    for unit in units:
        for _ in range(len(unit.unit.examples) - len(unit.fitting)):
            shown.advance(0)
        if unit.group is None:
            yield unit.unit, _rows(unit, [], job.work.prompt)
    answers = sampler.generate(
        groups,
        on_finished=lambda generation: shown.advance(len(generation.tokens)),
        on_step=job.watch.check,
    )
    for group, generations in answers:
        unit = by_name[group.tag]
        yield unit.unit, _rows(unit, generations, job.work.prompt)


def _rows(unit: loader.TokenisedUnit, generations, prompt: prompts.Prompt) -> list[Prediction]:
    """A row for every example of the unit, whether or not its prompt fitted."""
    by_index = dict(zip(unit.fitting, generations, strict=True))
    return [
        _row(example, unit.prompt_tokens[index], by_index.get(index), prompt)
        for index, example in enumerate(unit.unit.examples)
    ]


def _row(example: Example, prompt_tokens: int, generation, prompt: prompts.Prompt) -> Prediction:
    return Prediction(
        example_id=example.example_id,
        db_id=example.db_id,
        question=example.question,
        gold=example.query,
        text=generation.text if generation else "",
        sql=clean_sql(prompt.sql_text(generation.text)) if generation else "",
        status=generation.status if generation else "prompt_too_long",
        prompt_tokens=prompt_tokens,
        output_tokens=len(generation.tokens) if generation else 0,
    )

"""The job: one host's units through the model, each written once as an object."""

import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import ml_collections

from t2sql import config as config_lib
from t2sql import constraint, errors, sampling, storage
from t2sql.data import from_config, prepared, prompts
from t2sql.data.examples import Example
from t2sql.model import factory as factory_lib
from t2sql.runs import fingerprint, loader, manifest, predict, profile, summary
from t2sql.runs.predictions import Prediction
from t2sql.runs.units import Unit
from t2sql.runtime import distributed, progress, signals
from t2sql.runtime.progress import counted

Choose = Callable[[Sequence[Prediction]], Sequence[Prediction]]
_MOST_BROKEN = 20  # that are told by name


def run(
    config: ml_collections.ConfigDict,
    watch: signals.TerminationWatch,
    process: distributed.Process = distributed.ALONE,
    choose: Choose | None = None,
) -> None:
    """Runs the job that `config` describes, or what is left of it.

    Args:
      config: as `default_config` lays it out.
      watch: asked between steps whether a signal has come.
      process: which of how many this one is.
      choose: keeps one of each row's candidates; for `sampling.choose`.

    Raises:
      InputError: a config value or the data is wrong.
      RefusedError: the output holds another run.
      TryAgainError: a network or a disk failed for now, or a process that checks was killed.
      Terminated: SIGTERM has come; finished units are written.
    """
    config_lib.check(config)
    console, stopwatch = progress.make_console(), summary.Stopwatch()
    say = functools.partial(console.print, highlight=False)
    if process.description:
        say(f"host: {process.description}")

    # The plan is a pure function of data and config: every host makes the same one.
    with stopwatch.time("data"):
        prompt = from_config.make_prompt(config)
        hosts = prepared.Hosts(process.index, process.count, _open_output(config))
        examples = from_config.read_examples(config, prompt, hosts)
        units = loader.plan(examples, prompt, unit_size=config.unit_size)
    factory = factory_lib.make_factory(config)
    say(_describe_work(config, examples, units))

    # A wrong model is refused before `run.json` exists, which would refuse the right one.
    with stopwatch.time("load"):
        predict.check(config, factory, prompt)
        opened = _open_run(config, examples, units, prompt, factory, process)
        whole, broken = opened.examine()
    say(_describe_broken(broken), end="")
    with stopwatch.time("data"):
        groups = loader.load_groups(config, units, prompt, factory, process, whole)
    if groups and whole:
        say(f"resuming: {len(whole)} of {counted(len(opened.share), 'unit')} written before")

    try:
        job = config, factory, prompt, groups, opened, watch, console, stopwatch, choose
        # A host that has nothing left to do reads no weights, and may write `done.json`.
        totals = _predict(*job) if groups else summary.Totals()
        with stopwatch.time("write"):
            complete = opened.write_done_if_complete()
    except (KeyboardInterrupt, signals.Terminated, constraint.WorkerLostError):
        opened.flush()
        say(
            f"Stopped with {len(opened.finished())} of {counted(len(units), 'unit')} written; "
            f"the same command with --config.output={config.output} goes on from there."
        )
        raise
    summary.print_summary(totals, opened, complete, config, stopwatch.seconds, console)


def _predict(
    config: ml_collections.ConfigDict,
    factory: factory_lib.LLMModuleFactory,
    prompt: prompts.Prompt,
    groups: Sequence[sampling.PromptGroup],
    opened: manifest.Run,
    watch: signals.TerminationWatch,
    console: progress.Console,
    stopwatch: summary.Stopwatch,
    choose: Choose | None,
) -> summary.Totals:
    """Loads the model, answers the groups, and writes each unit when its last answer is there."""
    totals = summary.Totals()
    sampler, programs = predict.load_sampler(config, factory, prompt, groups, stopwatch)
    console.print(_describe_model(config, factory, prompt, sampler), highlight=False)
    watch.keep_order()
    profiler = profile.Profiler(config.profile, config_lib.storage_config(config))

    def on_step() -> None:
        watch.check()
        profiler.on_step()

    with progress.Progress(sum(map(len, groups)), console).shown() as shown:
        predicted = predict.predict(
            sampler,
            groups,
            prompt,
            on_finished=lambda generation: shown.advance(generation.token_count),
            on_step=on_step,
        )
        for unit, rows in predicted:
            if config.sampling.choose:
                with stopwatch.time("choose"):
                    rows = choose(rows)
            with stopwatch.time("write"):
                opened.write_unit(unit, rows)
            totals.add(rows)
            if config.show:
                summary.show_predictions(rows, console)
    profiler.close()
    totals.counters = sampler.counters
    programs.close()
    return totals


def _describe_work(
    config: ml_collections.ConfigDict, examples: Sequence[Example], units: Sequence[Unit[Example]]
) -> str:
    databases = len({example.db_id for example in examples})
    adapter = f", with the adapter {config.model.adapter}" if config.model.adapter else ""
    if not examples:
        return f"data: nothing to answer: {config.data.only} lists no example id"
    return (
        f"data: {counted(len(examples), 'question')} on {counted(databases, 'database')} of "
        f"{config.data.path} {config.data.split}, in {counted(len(units), 'unit')}\n"
        f"weights: {config.model.source}{adapter}"
    )


def _open_output(config: ml_collections.ConfigDict) -> storage.Storage:
    return storage.open_storage(config.output, config_lib.storage_config(config))


def _open_run(
    config: ml_collections.ConfigDict,
    examples: Sequence[Example],
    units: Sequence[Unit[Example]],
    prompt: prompts.Prompt,
    factory: factory_lib.LLMModuleFactory,
    process: distributed.Process,
) -> manifest.Run:
    output = _open_output(config)
    if config.overwrite:
        if process.count > 1:
            raise errors.RefusedError(
                f"--config.overwrite with {process.count} processes: one could delete what "
                "another has just written; delete the run first, or overwrite with a single process"
            )
        manifest.delete_run(output)
    return manifest.Run.open(
        output,
        units=units,
        fingerprint=fingerprint.make_fingerprint(config, examples, prompt, factory),
        recorded=fingerprint.make_record(config, process),
        config=config_lib.storage_config(config),
        index=process.index,
        count=process.count,
        redo=config.redo,
    )


def _describe_broken(broken: Mapping[str, str]) -> str:
    lines = [f"broken: {name}: {reason}" for name, reason in list(broken.items())[:_MOST_BROKEN]]
    if len(broken) > _MOST_BROKEN:
        lines.append(f"broken: and {len(broken) - _MOST_BROKEN:,} more")
    if broken:
        lines.append(
            f"{counted(len(broken), 'broken unit')}, computed again; what was there is kept in "
            f"{manifest.BROKEN_PREFIX}"
        )
    return "".join(f"{line}\n" for line in lines)


def _describe_model(
    config: ml_collections.ConfigDict,
    factory: factory_lib.LLMModuleFactory,
    prompt: prompts.Prompt,
    sampler,
) -> str:
    devices = jax.local_devices()
    is_auto = config.batch_size == config_lib.AUTO
    rows = f", {sampler.batch_size:,} questions at a time" if is_auto else ""
    line = (
        f"model: {config.model.name} in {factory.dtype} on {len(devices)} x "
        f"{devices[0].device_kind}{rows}; compiled {counted(sampler.compile_count, 'program')} in "
        f"{sampler.compile_seconds:.1f} s"
    )
    if factory.adapter and factory.adapter.prompt:
        warning = prompts.tuning_warning(prompt, factory.adapter.prompt)
    else:
        warning = prompts.variant_warning(prompt, factory.checkpoint.variant)
    return f"{line}\nwarning: {warning}" if warning else line

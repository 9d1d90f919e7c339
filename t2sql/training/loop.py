"""The training loop: from a config, or the last checkpoint, to an adapter."""

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Iterator
from pathlib import Path

import ml_collections
import rich.console

from t2sql import config as config_lib
from t2sql import errors, storage
from t2sql.data import database, read_schema
from t2sql.data.examples import Example
from t2sql.evaluation.verdict import QueryPair
from t2sql.runtime import compilation_cache, distributed, progress, signals
from t2sql.training import checkpoints as checkpoints_lib
from t2sql.training import metrics as metrics_lib
from t2sql.training import setup, validation
from t2sql.training import step as step_lib
from t2sql.training.trainer import Trainer

# A loss diverges where its running mean is this far above the least it has been.
_DIVERGED = 1.0  # nats per token
_SMOOTHING = 0.95


class LossWatch:
    """Stops a training whose loss diverges or is no number."""

    def __init__(self):
        self._mean = self._least = math.inf

    def check(self, step: int, loss: float) -> None:
        """Takes the loss of one more step.

        Raises:
          RefusedError: the loss diverges or is no number.
        """
        if not math.isfinite(loss):
            raise self._error(step, f"the loss is {loss}")
        first = math.isinf(self._mean)
        self._mean = loss if first else _SMOOTHING * self._mean + (1 - _SMOOTHING) * loss
        self._least = min(self._least, self._mean)
        if self._mean > self._least + _DIVERGED:
            raise self._error(
                step, f"the loss has risen from {self._least:.2f} to {self._mean:.2f}"
            )

    def _error(self, step: int, what: str) -> errors.RefusedError:
        return errors.RefusedError(
            f"step {step}: {what}: the training diverges. The same command goes on from the last "
            "checkpoint; give it a lower --config.train.peak_learning_rate or --config.train.clip"
        )


def run(
    config: ml_collections.ConfigDict,
    watch: signals.TerminationWatch,
    process: distributed.Process = distributed.ALONE,
) -> None:
    """Trains until the config's epochs are done, from the last checkpoint where there is one.

    Args:
      config: as `config.default_config` lays it out.
      watch: asked between steps whether to stop.
      process: this host among all that train in step; the first one writes.

    Raises:
      InputError: a config value, the data or a checkpoint is wrong.
      RefusedError: the output holds another training, or the loss diverges.
      Terminated, KeyboardInterrupt: a signal came; a checkpoint is written.
    """
    console = progress.make_console()
    if process.description:
        console.print(f"host: {process.description}", highlight=False)
    output = storage.local_folder(config.output, "--config.output")
    parts = setup.prepare(config, console)
    checkpoints = None
    if process.index == 0:
        checkpoints = checkpoints_lib.Checkpoints(
            output, setup.describe(parts), setup.data_keys(config)
        )
    programs = compilation_cache.CompilationCache(
        config_lib.resolve_compilation_cache(config),
        config_lib.resolve_cache_dir(config),
        config_lib.storage_config(config),
    )
    setup.print_plan(parts, console)
    # Open to the end: a step of another width compiles another program.
    with contextlib.closing(programs), programs.open():
        trainer = Trainer(parts, checkpoints)
        trainer.compile()
        if trainer.steps_done:
            console.print(f"going on from step {trainer.steps_done}", highlight=False)
        watch.keep_order()
        try:
            train(trainer, parts, output, console, watch)
        except BrokenPipeError:
            trainer.save()
            raise
        except (KeyboardInterrupt, signals.Terminated):
            trainer.save()
            console.print(
                f"Stopped after step {trainer.steps_done}; the same command goes on from there.",
                highlight=False,
            )
            raise


def train(
    trainer: Trainer,
    parts: setup.Parts,
    output: Path,
    console: rich.console.Console,
    watch: signals.TerminationWatch,
) -> None:
    """Does all steps. Only the first host writes, validates and prints."""
    config = parts.config.train
    losses = LossWatch()
    if not trainer.leads:
        for metrics, _ in steps(trainer, parts, watch):
            losses.check(trainer.steps_done, float(metrics.loss))
        return
    validator = make_validator(parts)
    saved = time.monotonic()
    done, total = trainer.steps_done, len(parts.steps)
    with metrics_lib.Writer(output, console, done=done, total=total) as writer:
        for metrics, batch in steps(trainer, parts, watch):
            step = trainer.steps_done
            losses.check(step, float(metrics.loss))
            writer.step(step, metrics, float(parts.schedule(step - 1)), batch)
            due = config.validate_every and step % config.validate_every == 0
            if due or step == len(parts.steps):
                writer.validation(step, validate(trainer, validator, output, watch))
            if time.monotonic() - saved > 60 * config.checkpoint_minutes:
                trainer.save()
                saved = time.monotonic()
    trainer.save()
    trainer.export(output / "last", {"steps": trainer.steps_done})
    say = functools.partial(console.print, highlight=False, soft_wrap=True)
    say(f"{trainer.steps_done} of {total} steps done: {output / 'last'}")
    if trainer.best:
        say(f"best on held-out questions, {trainer.best['execution']:.1%}: {output / 'best'}")


def steps(
    trainer: Trainer, parts: setup.Parts, watch: signals.TerminationWatch
) -> Iterator[tuple[step_lib.Metrics, step_lib.Batch]]:
    """Does the steps that are left; yields each one's metrics and batch."""
    last = min(len(parts.steps), parts.config.train.stop_after_steps or len(parts.steps))
    for batch in trainer.batches():
        if trainer.steps_done >= last:
            return
        watch.check()
        yield trainer.learn(batch), batch


def make_validator(parts: setup.Parts) -> validation.Validator:
    """A validator over the held-out databases."""
    ids = {example.db_id for example in parts.split.held_out}
    schemas = read_schema.read_schemas(parts.folder, ids)

    def pair(example: Example, predicted: str) -> QueryPair:
        return QueryPair(
            gold=example.query,
            predicted=predicted,
            databases=tuple(database.database_paths(parts.folder, example.db_id)),
            schema=schemas[example.db_id],
        )

    return validation.Validator(
        parts.config, parts.factory, parts.prompt, parts.split.held_out, pair
    )


def validate(
    trainer: Trainer,
    validator: validation.Validator,
    output: Path,
    watch: signals.TerminationWatch,
) -> validation.Score:
    """Scores what is trained so far, and exports it to `best` if no earlier score is as high."""
    try:
        score = validator.score(trainer.params(), on_step=watch.check)
    except Exception:  # the steps done are not lost with it
        trainer.save()
        raise
    result = {"steps": trainer.steps_done, **dataclasses.asdict(score)}
    if trainer.best is None or score.execution > trainer.best["execution"]:
        trainer.best = result
        trainer.export(output / "best", result)
    trainer.save()
    return score

"""The training: from a config to an adapter, or on from where it stopped."""

import dataclasses
import functools
import hashlib
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax
import rich.console
from jax.sharding import NamedSharding, PartitionSpec

from t2sql import compilation, errors, progress, prompts, signals, wiring
from t2sql.model import factory as factory_lib
from t2sql.model import mesh as mesh_lib
from t2sql.training import checkpoints as checkpoints_lib
from t2sql.training import config as config_lib
from t2sql.training import data, methods, packing
from t2sql.training import metrics as metrics_lib
from t2sql.training import step as step_lib

# The loss is taken to diverge where its mean of late is so much above its least.
_DIVERGED = 1.0  # nats per token
_SMOOTHING = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
    """What a training is made of.

    Attributes:
      config: of the training.
      factory: of the model.
      prompt: as at inference.
      split: the examples.
      steps: the plan of the data.
      method: what is trained.
      optimizer: with its schedule.
      schedule: the learning rate of each step.
    """

    config: ml_collections.ConfigDict
    factory: factory_lib.LLMModuleFactory
    prompt: prompts.Prompt
    split: data.Split
    steps: data.Steps
    method: methods.Method
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule


def prepare(config: ml_collections.ConfigDict) -> Parts:
    """Reads and plans everything but the weights.

    Raises:
      InputError: a value of the config or the data cannot be trained with.
    """
    config_lib.check(config)
    train = config.train
    factory = wiring.make_factory(config)
    prompt = wiring.make_prompt(config)
    method = methods.make(config, factory.dtype)
    root = wiring.resolve_data(config, config.data.path)
    split = data.read_split(
        root, train.splits, compact=prompt.compact, held_out=train.held_out_databases
    )
    steps = data.plan_steps(
        split.train,
        root=root,
        prompt=prompt,
        encode=functools.partial(factory.tokenizer.encode, add_bos=True),
        encode_answer=functools.partial(factory.tokenizer.encode, add_eos=True),
        capacity=packing.Capacity(tokens=train.sequence_tokens, answers=train.sequence_answers),
        per_step=train.sequences_per_step,
        epochs=train.epochs,
        seed=train.seed,
    )
    schedule = make_schedule(train, len(steps))
    return Parts(
        config=config,
        factory=factory,
        prompt=prompt,
        split=split,
        steps=steps,
        method=method,
        optimizer=make_optimizer(schedule, train.clip),
        schedule=schedule,
    )


def make_schedule(train: ml_collections.ConfigDict, steps: int) -> optax.Schedule:
    """Warm-up, a plateau, and a linear decay to zero (Hu et al. 2024, MiniCPM).

    On the plateau nothing depends on the number of steps: a training can be given more or
    fewer epochs when it goes on.
    """
    decay = max(round(steps * train.decay_share), 1)
    return optax.join_schedules(
        [
            optax.linear_schedule(0.0, train.peak_learning_rate, max(train.warmup_steps, 1)),
            optax.constant_schedule(train.peak_learning_rate),
            optax.linear_schedule(train.peak_learning_rate, 0.0, decay),
        ],
        [train.warmup_steps, max(steps - decay, train.warmup_steps)],
    )


def make_optimizer(schedule: optax.Schedule, clip: float) -> optax.GradientTransformation:
    """Adam on clipped gradients; a second moment that fits a thousand steps."""
    return optax.chain(
        optax.clip_by_global_norm(clip),
        optax.scale_by_adam(b1=0.9, b2=0.99),
        optax.scale_by_learning_rate(schedule),
    )


def describe(parts: Parts) -> dict[str, Any]:
    """What has to be the same for a training to go on."""
    train = parts.config.train
    return {
        "base": base(parts),
        "trained": parts.method.about,
        "prompt": {"name": parts.prompt.name, "sha256": parts.prompt.digest},
        "data": _digest(parts),
        "sequences": [train.sequence_tokens, train.sequence_answers, train.sequences_per_step],
        "seed": train.seed,
    }


def base(parts: Parts) -> dict[str, str]:
    """The weights that are trained or adapted, as an adapter's file names them."""
    return {
        "name": parts.config.model.name,
        "weights_sha256": parts.factory.checkpoint.weights_sha256,
    }


def _digest(parts: Parts) -> str:
    """Of the data of the first epoch in its order."""
    digest = hashlib.sha256()
    for sequence in parts.steps.sequences[: parts.steps.per_epoch]:
        digest.update(repr(sequence).encode())
    return digest.hexdigest()


class Trainer:
    """The state of a training on the devices, and what is done with it.

    Args:
      parts: of the training.
      checkpoints: where it is kept.
    """

    def __init__(self, parts: Parts, checkpoints: checkpoints_lib.Checkpoints):
        self._parts = parts
        self._checkpoints = checkpoints
        mesh = parts.factory.mesh
        self._shape = batch_shape(parts.config.train, mesh)
        params = parts.factory.load_params()
        self._frozen = parts.method.frozen(params)
        self.state = self._place(self._new_state(params), mesh)
        self.best: dict[str, Any] | None = None
        if checkpoints.latest is not None:
            self.state, notes = checkpoints.restore(self.state)
            self.best = notes["best"]
        self._by_sequence = NamedSharding(mesh, PartitionSpec(None, mesh_lib.DATA_AXIS))
        self._step = self._compile()

    def _new_state(self, params: Any) -> step_lib.State:
        trained = self._parts.method.init(params)
        return step_lib.State(
            step=jnp.zeros((), jnp.int32),
            trained=trained,
            optimizer=self._parts.optimizer.init(trained),
        )

    def _place(self, state: step_lib.State, mesh: jax.sharding.Mesh) -> step_lib.State:
        """Leaves what lies on the whole mesh, as full weights do; replicates the rest."""
        replicated = NamedSharding(mesh, PartitionSpec())

        def place(leaf: jax.Array) -> jax.Array:
            if leaf.sharding.device_set == set(mesh.devices.flat) and leaf.ndim:
                return leaf
            return jax.device_put(leaf, replicated)

        return jax.tree.map(place, state)

    def _compile(self) -> Callable[[step_lib.State, Any, step_lib.Batch], Any]:
        loss = functools.partial(self._parts.method.loss, self._parts.factory.model)
        places = jax.tree.map(lambda leaf: leaf.sharding, self.state)
        step = step_lib.make_step(loss, self._parts.optimizer)
        return jax.jit(step, donate_argnums=0, out_shardings=(places, None))

    @property
    def steps_done(self) -> int:
        return int(self.state.step)

    def batches(self) -> Iterator[step_lib.Batch]:
        """The batches from here on, on the host."""
        for sequences in self._parts.steps.batches(self.steps_done, self._shape):
            yield step_lib.Batch.of(sequences)

    def learn(self, batch: step_lib.Batch) -> step_lib.Metrics:
        """Does one step, and waits for it."""
        placed = jax.device_put(batch, self._by_sequence)
        self.state, metrics = self._step(self.state, self._frozen, placed)
        return jax.device_get(metrics)

    def save(self) -> None:
        """Writes a checkpoint, unless there is one of this step."""
        self._checkpoints.save(self.state, {"best": self.best})

    def params(self) -> Any:
        """Parameters of the plain model as they are now."""
        return self._parts.method.merged(self.state.trained, self._frozen)

    def export(self, folder: Path, training: dict[str, Any]) -> None:
        """Writes what was trained as a model source."""
        parts = self._parts
        parts.method.save(
            folder,
            self.state.trained,
            base=base(parts),
            prompt={"name": parts.prompt.name, "sha256": parts.prompt.digest},
            training=training,
        )


def batch_shape(train: ml_collections.ConfigDict, mesh: jax.sharding.Mesh) -> tuple[int, int]:
    """A step's sequences as (parts one after the other, sequences at a time on all devices).

    Raises:
      InputError: the sequences cannot be shared out evenly.
    """
    devices = mesh.shape[mesh_lib.DATA_AXIS]
    at_a_time = devices * train.sequences_per_device
    if train.sequences_per_step % at_a_time:
        raise errors.InputError(
            f"--config.train.sequences_per_step is {train.sequences_per_step}; it has to be a "
            f"multiple of {at_a_time}, the devices on the mesh's data axis ({devices}) times "
            f"--config.train.sequences_per_device ({train.sequences_per_device})"
        )
    return train.sequences_per_step // at_a_time, at_a_time


class LossWatch:
    """Stops a training whose loss is no number, or that diverges."""

    def __init__(self):
        self._mean = self._least = math.inf

    def check(self, step: int, loss: float) -> None:
        """Looks at the loss of one more step.

        Raises:
          RefusedError: training on would be in vain.
        """
        if not math.isfinite(loss):
            raise self._error(step, f"the loss is {loss}")
        self._mean = loss if math.isinf(self._mean) else self._blend(loss)
        self._least = min(self._least, self._mean)
        if self._mean > self._least + _DIVERGED:
            raise self._error(
                step, f"the loss has risen from {self._least:.2f} to {self._mean:.2f}"
            )

    def _blend(self, loss: float) -> float:
        return _SMOOTHING * self._mean + (1 - _SMOOTHING) * loss

    def _error(self, step: int, what: str) -> errors.RefusedError:
        return errors.RefusedError(
            f"step {step}: {what}: the training diverges. The same command goes on from the last "
            "checkpoint; give it a lower --config.train.peak_learning_rate or --config.train.clip"
        )


def run(config: ml_collections.ConfigDict, watch: signals.TerminationWatch) -> None:
    """Trains, or trains on, until the config's epochs are done.

    Args:
      config: as `config.default_config` lays it out.
      watch: asked between steps whether to stop.

    Raises:
      InputError: a config value, the data or a checkpoint is wrong.
      RefusedError: the output holds another training, or the loss diverges.
      Terminated, KeyboardInterrupt: a signal has come; a checkpoint is written.
    """
    console = progress.make_console()
    parts = prepare(config)
    output = Path(config.output).expanduser()
    checkpoints = checkpoints_lib.Checkpoints(output, describe(parts))
    compilation.CompilationCache(
        config.compilation_cache, wiring.resolve_cache_dir(config), wiring.storage_config(config)
    ).open()
    print_plan(parts, console)
    trainer = Trainer(parts, checkpoints)
    if trainer.steps_done:
        console.print(f"going on from step {trainer.steps_done}", highlight=False)
    watch.keep_order()
    try:
        train(trainer, parts, output, console, watch)
    except (KeyboardInterrupt, signals.Terminated):
        trainer.save()
        console.print(
            f"Stopped after step {trainer.steps_done}; the same command goes on from there.",
            highlight=False,
        )
        raise


def train(
    trainer: Trainer,
    parts: Parts,
    output: Path,
    console: rich.console.Console,
    watch: signals.TerminationWatch,
) -> None:
    """The loop over steps."""
    config = parts.config.train
    losses = LossWatch()
    saved = time.monotonic()
    last = min(len(parts.steps), config.stop_after_steps or len(parts.steps))
    with metrics_lib.Writer(output, console, total=len(parts.steps)) as written:
        for batch in trainer.batches():
            if trainer.steps_done >= last:
                break
            watch.check()
            metrics = trainer.learn(batch)
            step = trainer.steps_done
            losses.check(step, float(metrics.loss))
            written.step(step, metrics, float(parts.schedule(step - 1)), batch)
            if time.monotonic() - saved > 60 * config.checkpoint_minutes:
                trainer.save()
                saved = time.monotonic()
    trainer.save()
    trainer.export(output / "last", {"steps": trainer.steps_done})


def print_plan(parts: Parts, console: rich.console.Console) -> None:
    """Says what will be learnt, and what will not."""
    steps, split = parts.steps, parts.split
    databases = len({example.db_id for example in split.train})
    held_out = sorted({example.db_id for example in split.held_out})
    console.print(
        f"data: {len(split.train)} questions on {databases} databases; {len(split.held_out)} on "
        f"{', '.join(held_out)} are held out\n"
        f"plan: {len(steps)} steps, {steps.per_epoch} an epoch, of {steps.per_step} sequences of "
        f"{steps.capacity.tokens} tokens",
        highlight=False,
    )
    if steps.left_out:
        listed = ", ".join(f"{count} of {db_id}" for db_id, count in steps.left_out.items())
        console.print(
            f"warning: {sum(steps.left_out.values())} questions do not fit a sequence with their "
            f"schema and are left out: {listed}",
            highlight=False,
        )

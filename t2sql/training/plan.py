"""What a training is made of, from its config; the weights are not read yet."""

import dataclasses
import functools
import hashlib
from pathlib import Path
from typing import Any

import ml_collections
import optax
import rich.console

from t2sql.data import from_config, prompts
from t2sql.model import factory as factory_lib
from t2sql.training import config as config_lib
from t2sql.training import data, methods, packing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
    """What a training is made of.

    Attributes:
      config: of the training.
      factory: of the model.
      prompt: as at inference.
      root: of the data.
      split: the examples.
      steps: the plan of the data.
      method: what is trained.
      optimizer: with its schedule.
      schedule: the learning rate of each step.
    """

    config: ml_collections.ConfigDict
    factory: factory_lib.LLMModuleFactory
    prompt: prompts.Prompt
    root: Path
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
    factory = factory_lib.make_factory(config)
    prompt = from_config.make_prompt(config)
    method = methods.make(config, factory)
    root = from_config.resolve_data(config, config.data.path)
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
        shuffled=train.shuffled_schemas if prompt.compact else 0.0,
        respelt=train.respelt_schemas if prompt.compact else 0.0,
        rows=train.output_rows,
        vocabulary=factory.model.config.num_embed,
        seed=train.seed,
    )
    schedule = make_schedule(train, len(steps))
    return Parts(
        config=config,
        factory=factory,
        prompt=prompt,
        root=root,
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
            optax.linear_schedule(
                train.peak_learning_rate / (train.warmup_steps + 1),
                train.peak_learning_rate,
                max(train.warmup_steps, 1),
            ),
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
        "output_rows": train.output_rows,
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
    for sequence in parts.steps.first_epoch:
        digest.update(repr(sequence).encode())
    return digest.hexdigest()


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

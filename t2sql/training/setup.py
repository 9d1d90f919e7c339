"""The parts of a training, made from its config; the weights are not read yet."""

import dataclasses
import hashlib
from typing import Any

import ml_collections
import optax
import rich.console

from t2sql import errors
from t2sql.data import from_config, prompts
from t2sql.data.dataset import DataFolder
from t2sql.model import factory as factory_lib
from t2sql.runtime.progress import counted
from t2sql.training import config as config_lib
from t2sql.training import data, methods, optimizer, packing, tokenise


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of a training.

    Attributes:
      config: of the training.
      factory: of the model.
      prompt: as at inference.
      folder: of the data.
      split: the examples.
      steps: the plan of the data.
      method: what is trained.
      optimizer: with its schedule.
      schedule: the learning rate of each step.
    """

    config: ml_collections.ConfigDict
    factory: factory_lib.LLMModuleFactory
    prompt: prompts.Prompt
    folder: DataFolder
    split: data.Split
    steps: data.TrainingSteps
    method: methods.Method
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule


def prepare(config: ml_collections.ConfigDict, console: rich.console.Console) -> Parts:
    """Reads and plans everything but the weights.

    Raises:
      InputError: a value of the config or the data cannot be trained with.
    """
    config_lib.check(config)
    train = config.train
    factory = factory_lib.make_factory(config)
    prompt = from_config.make_prompt(config)
    method = methods.make(config, factory)
    if config.data.descriptions:
        raise errors.InputError("--config.data.descriptions: a training has no use for it yet")
    folder = from_config.open_data(config)
    split = data.read_split(
        folder,
        train.splits,
        compact=prompt.compact,
        held_out=train.held_out_databases,
        written=config.data.named_values == "written",
        rephrasings=train.rephrasings,
    )
    tokeniser = tokenise.SchemaTokeniser(
        folder=folder,
        prompt=prompt,
        tokenizer=factory.tokenizer,
        capacity=packing.Capacity(tokens=train.sequence_tokens, answers=train.sequence_answers),
    )
    vocabulary = factory.model.config.num_embed
    steps = data.plan_steps(split.train, tokeniser, train, vocabulary=vocabulary, console=console)
    schedule = optimizer.make_schedule(train, len(steps))
    return Parts(
        config=config,
        factory=factory,
        prompt=prompt,
        folder=folder,
        split=split,
        steps=steps,
        method=method,
        optimizer=optimizer.make_optimizer(schedule, train.clip, train.weight_decay),
        schedule=schedule,
    )


def describe(parts: Parts) -> dict[str, Any]:
    """What has to be equal for a training to go on."""
    train = parts.config.train
    digest = hashlib.sha256()  # of the data of the first epoch, in its order
    for sequence in parts.steps.first_epoch:
        digest.update(repr(sequence).encode())
    return {
        "base": base(parts),
        "trained": parts.method.about,
        "prompt": {"name": parts.prompt.name, "sha256": parts.prompt.digest},
        "data": digest.hexdigest(),
        "sequences": [train.sequence_tokens, train.sequence_answers, train.sequences_per_step],
        "output_rows": train.output_rows,
        "seed": train.seed,
    }


def data_keys(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """The values that the digest of the data depends on, besides those of `describe`."""
    train = config.train
    keys = {
        "data.path": config.data.path,
        "train.splits": list(train.splits),
        "train.held_out_databases": train.held_out_databases,
        "train.shuffled_schemas": train.shuffled_schemas,
    }
    later = {
        "data.named_values": config.data.named_values,
        "train.thinned_schemas": train.thinned_schemas,
        "train.rephrasings": train.rephrasings,
    }
    return keys | {key: value for key, value in later.items() if value not in ("stored", 0, "")}


def base(parts: Parts) -> dict[str, str]:
    """The weights that are trained or adapted, as an adapter's file names them."""
    return {
        "name": parts.config.model.name,
        "weights_sha256": parts.factory.checkpoint.weights_sha256,
    }


def print_plan(parts: Parts, console: rich.console.Console) -> None:
    """Says what will be learnt, and which questions are left out."""
    steps, split = parts.steps, parts.split
    databases = len({example.db_id for example in split.train})
    held_out = sorted({example.db_id for example in split.held_out})
    console.print(
        f"data: {counted(len(split.train), 'question')} on {counted(databases, 'database')}; "
        f"{counted(len(split.held_out), 'question')} on {', '.join(held_out)} for validation\n"
        f"plan: {counted(len(steps), 'step')}, {steps.per_epoch:,} an epoch, of "
        f"{counted(steps.per_step, 'sequence')} of {steps.capacity.tokens:,} tokens",
        highlight=False,
    )
    if steps.left_out:
        listed = ", ".join(f"{count} of {db_id}" for db_id, count in steps.left_out.items())
        console.print(
            f"warning: left out, as a sequence does not hold it with its schema: "
            f"{counted(sum(steps.left_out.values()), 'question')} ({listed}); raise "
            "--config.train.sequence_tokens",
            highlight=False,
        )

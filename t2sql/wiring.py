"""What a config names, made: data, prompt, model, and the places where things are kept."""

import dataclasses
import functools
import os
from collections.abc import Collection, Sequence
from pathlib import Path

import ml_collections

from t2sql import cache as cache_lib
from t2sql import constraint, errors, loader, prompts
from t2sql.model import factory as factory_lib
from t2sql.runs import storage
from t2sql.runs.units import Unit
from t2sql.sampling import stops
from t2sql.spider import examples as examples_lib
from t2sql.spider import sources
from t2sql.spider.examples import Example
from t2sql.spider.schema import database_path
from t2sql.spider.tables import schema_from_sqlite


def read_examples(config: ml_collections.ConfigDict, prompt: prompts.Prompt) -> list[Example]:
    """The examples that the config names, in the order of the split's file."""
    only = _read_ids(config)
    try:
        return examples_lib.read_examples(
            resolve_data(config, config.data.path),
            config.data.split,
            limit=config.data.limit,
            only=only,
            compact=prompt.compact,
        )
    except examples_lib.UnknownExamplesError as error:
        raise errors.InputError(f"--config.data.only={config.data.only}: {error}") from None


def _read_ids(config: ml_collections.ConfigDict) -> tuple[str, ...] | None:
    """The ids that `data.only` lists; None for all.

    Raises:
      InputError: the file cannot be read, or lists none.
    """
    url = config.data.only
    if not url:
        return None
    folder, name = os.path.split(url)
    try:
        listed = storage.open_storage(folder or ".", storage_config(config)).read(name)
        ids = tuple(dict.fromkeys(listed.decode("utf-8-sig").split()))
    except FileNotFoundError:
        raise errors.InputError(f"--config.data.only={url}: there is no such file") from None
    except UnicodeDecodeError:
        raise errors.InputError(f"--config.data.only={url}: it is not UTF-8 text") from None
    if not ids:
        raise errors.InputError(f"--config.data.only={url}: lists no example id")
    return ids


def make_prompt(config: ml_collections.ConfigDict) -> prompts.Prompt:
    """The prompt of the config, with its solved examples where it shows some."""
    if config.prompt != "few_shot":
        return prompts.make_prompt(config.prompt)
    root = resolve_data(config, config.shots.path)
    shots = examples_lib.read_examples(root, config.shots.split, limit=config.shots.count)
    return prompts.make_prompt(config.prompt, shots)


def resolve_data(config: ml_collections.ConfigDict, path: str) -> Path:
    """The local directory of the data that `path` names."""
    return sources.resolve_data(
        path, cache_dir=resolve_cache_dir(config), storage=storage_config(config)
    )


def make_factory(config: ml_collections.ConfigDict) -> factory_lib.LLMModuleFactory:
    """The factory for the model of the config."""
    return factory_lib.LLMModuleFactory(
        factory_lib.config_for(
            config.model.name,
            config.model.source,
            tokenizer_path=config.model.tokenizer or None,
            dtype=config.model.dtype,
            parallel=config.model.parallel,
            adapter=config.model.adapter or None,
            cache_dir=resolve_cache_dir(config),
            storage_config=storage_config(config),
        )
    )


def load_units(
    config: ml_collections.ConfigDict,
    units: Sequence[Unit],
    *,
    prompt: prompts.Prompt,
    factory: factory_lib.LLMModuleFactory,
    process_index: int = 0,
    process_count: int = 1,
    finished: Collection[str] = (),
) -> list[loader.TokenisedUnit]:
    """One host's units in tokens, with what their answers may be where the config constrains them.

    Raises:
      InputError: a database that answers have to keep to is missing, or has no table with a column.
    """
    loaded = list(
        loader.load(
            units,
            encode=functools.partial(factory.tokenizer.encode, add_bos=True),
            prompt=prompt,
            longest=config.prompt_buckets[-1],
            process_index=process_index,
            process_count=process_count,
            finished=finished,
        )
    )
    return _guided(config, loaded, prompt, factory) if config.sampling.constrain else loaded


def _guided(
    config: ml_collections.ConfigDict,
    units: Sequence[loader.TokenisedUnit],
    prompt: prompts.Prompt,
    factory: factory_lib.LLMModuleFactory,
) -> list[loader.TokenisedUnit]:
    """The units with a guide for each schema; a unit's questions share one."""
    root = resolve_data(config, config.data.path)
    vocabulary = constraint.Vocabulary(
        Path(factory.tokenizer_path).read_bytes(), stops.Stops(factory.tokenizer).end_ids
    )
    db_ids = {example.db_id for unit in units for example in unit.unit.examples}
    schemas = {db_id: schema_from_sqlite(database_path(root, db_id)) for db_id in sorted(db_ids)}
    keyed = config.sampling.constrain == "keys"
    guides = constraint.Guides(vocabulary, schemas, prompt.answer_prefix, keyed=keyed)
    return [
        dataclasses.replace(unit, group=dataclasses.replace(unit.group, guide=guide))
        if unit.group
        else unit
        for unit in units
        for guide in [guides.of(unit.unit.examples[0].db_id)]
    ]


def storage_config(config: ml_collections.ConfigDict) -> storage.StorageConfig:
    """How gs:// is reached and how long it is tried."""
    return storage.StorageConfig(**config.storage)


def resolve_cache_dir(config: ml_collections.ConfigDict) -> Path:
    """Where fetched data, converted weights and compiled programs are kept."""
    return Path(config.cache_dir).expanduser() if config.cache_dir else cache_lib.default_dir()

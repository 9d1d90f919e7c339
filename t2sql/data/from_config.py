"""Examples and prompt, as the config names them."""

import os
from pathlib import Path

import ml_collections

from t2sql import config as config_lib
from t2sql import errors, storage
from t2sql.data import dataset, prepared, prompts, sources
from t2sql.data import examples as examples_lib
from t2sql.data.dataset import DataFolder
from t2sql.data.examples import Example


def read_examples(
    config: ml_collections.ConfigDict,
    prompt: prompts.Prompt,
    hosts: prepared.Hosts | None = None,
) -> list[Example]:
    """The examples that the config names, in the order of the split's file.

    Args:
      config: of the run.
      prompt: which asks.
      hosts: who read the databases of a bucket together; None reads all of them here.
    """
    only = _read_ids(config)
    folder = open_data(config)
    how = {
        "compact": prompt.compact,
        "written": config.data.named_values == "written",
        "described": config.data.descriptions,
    }
    which = {"split": config.data.split, "limit": config.data.limit, "only": only}
    asked = which | how | {"format": config.data.format, "fields": config.data.fields.to_dict()}
    key = prepared.key_of(folder, asked) if hosts else None
    try:
        examples = examples_lib.read_examples(folder, **which, **how, with_schema=not key)
    except examples_lib.UnknownExamplesError as error:
        raise errors.InputError(f"--config.data.only={config.data.only}: {error}") from None
    if not key:
        return examples
    read = examples_lib.database_reader(folder, **how)
    return prepared.with_schemas(folder, examples, read, key, hosts)


def make_prompt(config: ml_collections.ConfigDict) -> prompts.Prompt:
    """The prompt of the config, with its solved examples where it shows some."""
    if config.prompt != "few_shot":
        return prompts.make_prompt(config.prompt)
    root = resolve_data(config, config.shots.path)
    shots = examples_lib.read_examples(root, config.shots.split, limit=config.shots.count)
    return prompts.make_prompt(config.prompt, shots)


def open_data(config: ml_collections.ConfigDict) -> DataFolder:
    """The data set that the config names; databases of a bucket come when they are asked for."""
    databases = config.data.databases
    root, copy = _open_source(config, config.data.path)
    more = None
    if databases:
        more_root, more_copy = _open_source(config, databases)
        more = dataset.open_folder(more_root, copy=more_copy)
    return dataset.open_folder(
        root, format=config.data.format, fields=config.data.fields, databases=more, copy=copy
    )


def _open_source(config: ml_collections.ConfigDict, path: str):
    """The local directory of the data that `path` names, and what fills it, if anything does."""
    if not sources.is_bucket(path):
        return resolve_data(config, path), None
    return sources.open_bucket(
        path,
        cache_dir=config_lib.resolve_cache_dir(config),
        storage=config_lib.storage_config(config),
    )


def resolve_data(config: ml_collections.ConfigDict, path: str) -> Path:
    """The local directory of the data that `path` names."""
    return sources.resolve_data(
        path,
        cache_dir=config_lib.resolve_cache_dir(config),
        storage=config_lib.storage_config(config),
    )


def _read_ids(config: ml_collections.ConfigDict) -> tuple[str, ...] | None:
    """The ids that `data.only` lists; None for all.

    A file without ids is a run without questions: `t2sql.choose` may find no doubtful answer.

    Raises:
      InputError: the file cannot be read.
    """
    url = config.data.only
    if not url:
        return None
    if os.path.isdir(url):
        raise errors.InputError(
            f"--config.data.only={url}: it is a directory; give a file with an example id a line"
        )
    folder, name = os.path.split(url)
    try:
        listed = storage.open_storage(folder or ".", config_lib.storage_config(config)).read(name)
        return tuple(dict.fromkeys(listed.decode("utf-8-sig").split()))
    except FileNotFoundError:
        raise errors.InputError(f"--config.data.only={url}: there is no such file") from None
    except UnicodeDecodeError:
        raise errors.InputError(f"--config.data.only={url}: it is not UTF-8 text") from None

"""Examples and prompt, as the config names them."""

import os
from pathlib import Path

import ml_collections

from t2sql import config as config_lib
from t2sql import errors, storage
from t2sql.data import dataset, prompts, sources
from t2sql.data import examples as examples_lib
from t2sql.data.dataset import DataFolder
from t2sql.data.examples import Example


def read_examples(config: ml_collections.ConfigDict, prompt: prompts.Prompt) -> list[Example]:
    """The examples that the config names, in the order of the split's file."""
    only = _read_ids(config)
    try:
        return examples_lib.read_examples(
            open_data(config),
            config.data.split,
            limit=config.data.limit,
            only=only,
            compact=prompt.compact,
            written=config.data.named_values == "written",
            described=config.data.descriptions,
        )
    except examples_lib.UnknownExamplesError as error:
        raise errors.InputError(f"--config.data.only={config.data.only}: {error}") from None


def make_prompt(config: ml_collections.ConfigDict) -> prompts.Prompt:
    """The prompt of the config, with its solved examples where it shows some."""
    if config.prompt != "few_shot":
        return prompts.make_prompt(config.prompt)
    root = resolve_data(config, config.shots.path)
    shots = examples_lib.read_examples(root, config.shots.split, limit=config.shots.count)
    return prompts.make_prompt(config.prompt, shots)


def open_data(config: ml_collections.ConfigDict) -> DataFolder:
    """The data set that the config names, on this machine's disk."""
    databases = config.data.databases
    return dataset.open_folder(
        resolve_data(config, config.data.path),
        format=config.data.format,
        fields=config.data.fields,
        databases=resolve_data(config, databases) if databases else None,
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

"""This host's share of the plan, tokenised and grouped by Grain."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import grain
import ml_collections

from t2sql import config as config_lib
from t2sql import constraint, sampling
from t2sql.data import from_config
from t2sql.data.database import database_path
from t2sql.data.dataset import DataFolder
from t2sql.data.examples import Example
from t2sql.data.prompts import Prompt
from t2sql.data.read_schema import schema_from_sqlite
from t2sql.data.schema import Schema
from t2sql.model.factory import LLMModuleFactory
from t2sql.runs.units import Unit, plan_units
from t2sql.runtime import children, distributed
from t2sql.sampling import stops

# Rough characters per token of SQL schemas in Gemma's vocabulary; for planning only.
CHARS_PER_TOKEN = 3
# Cores that are left to the device's runtime and to this process, where others check.
_OTHER_CORES = 2
# Each takes 0.2 GB.
_MOST_WORKERS = 32


def plan(examples: Sequence[Example], prompt: Prompt, *, unit_size: int) -> list[Unit[Example]]:
    """All units of a run, the longest first; every host makes this plan."""

    def estimated_tokens(example: Example) -> int:
        return -(-len(prompt.text(example)) // CHARS_PER_TOKEN)

    return plan_units(examples, unit_size=unit_size, length=estimated_tokens)


def load_groups(
    config: ml_collections.ConfigDict,
    units: Sequence[Unit[Example]],
    prompt: Prompt,
    factory: LLMModuleFactory,
    process: distributed.Process = distributed.ALONE,
    finished: Collection[str] = (),
) -> list[sampling.PromptGroup]:
    """The prompts of one host's unfinished units: a group per unit, tagged with it.

    With `sampling.constrain` a group has the guide that decides what its answers may be. Processes
    that check them (`constraint_workers`) end with the groups.

    Raises:
      InputError: a database that answers have to keep to is missing, or has no table with a column.
    """
    groups = [
        *load(
            units,
            encode=functools.partial(factory.tokenizer.encode, add_bos=True),
            prompt=prompt,
            longest=config.prompt_buckets[-1],
            process_index=process.index,
            process_count=process.count,
            finished=finished,
        )
    ]
    return _with_guides(config, groups, prompt, factory) if config.sampling.constrain else groups


def load(
    units: Sequence[Unit[Example]],
    *,
    encode: Callable[[str], list[int]],
    prompt: Prompt,
    longest: int,
    process_index: int = 0,
    process_count: int = 1,
    finished: Collection[str] = (),
) -> Iterator[sampling.PromptGroup]:
    """Yields the prompts of this host's unfinished units.

    Every host deals the full plan and then leaves out what is finished. If hosts left out
    finished units first, those that list them at different times would deal different
    plans, and units would be lost between them.

    Args:
      units: the plan of the run, longest first.
      encode: token ids of a prompt, with the begin token.
      prompt: writes the prompts.
      longest: tokens of the longest prompt that is answered.
      process_index: this host.
      process_count: all hosts.
      finished: names of the units whose object exists.
    """

    def tokenise(unit: Unit[Example]) -> sampling.PromptGroup:
        return sampling.group_prompts(
            [encode(prompt.text(example)) for example in unit.examples],
            [example.example_id for example in unit.examples],
            longest=longest,
            tag=unit,
        )

    dataset = (
        grain.MapDataset.source(units)[process_index::process_count]
        .filter(lambda unit: unit.name not in finished)
        .map(tokenise)
    )
    return iter(dataset.to_iter_dataset())


def make_guides(
    schemas: Mapping[str, Schema],
    config: ml_collections.ConfigDict,
    prompt: Prompt,
    factory: LLMModuleFactory,
) -> constraint.Guides | constraint.RemoteGuides:
    """The guides of the answers over each schema, by db_id.

    Raises:
      InputError: a schema has no table with a column.
    """
    end_ids = stops.Stops(factory.tokenizer).end_ids
    rules = {"prefix": prompt.answer_prefix, "along_keys": config.sampling.constrain == "keys"}
    if workers := _workers(config, factory):
        return constraint.RemoteGuides(
            factory.tokenizer_path, end_ids, schemas, **rules, workers=workers
        )
    vocabulary = constraint.Vocabulary(Path(factory.tokenizer_path).read_bytes(), end_ids)
    return constraint.Guides(vocabulary, schemas, **rules)


def _workers(config: ml_collections.ConfigDict, factory: LLMModuleFactory) -> int:
    """How many processes check the answers; 0 where this one does."""
    if config_lib.SamplingConfig(**config.sampling.to_dict()).is_scored:
        return 0  # their guides are asked for single tokens, which is no work for another process
    if config.constraint_workers != config_lib.AUTO:
        return config.constraint_workers
    if factory.mesh.devices.flat[0].platform == "cpu":
        return 0  # the cores that would check decode, and a step takes far longer than its checks
    return min(max(0, children.cores() - _OTHER_CORES), _MOST_WORKERS)


def _with_guides(
    config: ml_collections.ConfigDict,
    groups: Sequence[sampling.PromptGroup],
    prompt: Prompt,
    factory: LLMModuleFactory,
) -> list[sampling.PromptGroup]:
    """The groups, each with the guide of its schema."""
    folder = from_config.open_data(config)
    db_ids = dict.fromkeys(group.tag.examples[0].db_id for group in groups)
    schemas = _Schemas(folder)
    if folder.copy:  # The first answers need not wait for all databases.
        folder.prefetch(db_ids)
    else:
        schemas.update((db_id, schemas[db_id]) for db_id in sorted(db_ids))
    guides = make_guides(schemas, config, prompt, factory)
    return [
        dataclasses.replace(group, guide=guides.of(group.tag.examples[0].db_id)) for group in groups
    ]


class _Schemas(dict[str, Schema]):
    """Schemas by db_id, each read from its database when it is first asked for."""

    def __init__(self, folder: DataFolder):
        super().__init__()
        self._folder = folder

    def __missing__(self, db_id: str) -> Schema:
        schema = self[db_id] = schema_from_sqlite(database_path(self._folder, db_id))
        return schema

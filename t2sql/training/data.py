"""The training data: which questions, in which order, packed into which steps.

All of it is a pure function of the data and the config. So the number of a step is the position
in the data: a training that goes on, on whatever devices, reads what it would have read.
"""

import collections
import dataclasses
import hashlib
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import grain
import ml_collections
import numpy as np
import rich.console

from t2sql import errors
from t2sql.data import database, examples, records
from t2sql.data.dataset import DataFolder
from t2sql.data.examples import Example
from t2sql.runtime import progress
from t2sql.training import packing, sampled_softmax, tokenise

MIN_QUESTIONS = 4
# Dev is for measuring.
SPLITS = ("train", "train_others")
_MIN_WIDTH = 4  # of a step's `chunks`


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """The train split, cut by database.

    Attributes:
      train: the examples that are learnt.
      held_out: the examples that the adapter is judged by, on databases that are not in `train`.
    """

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]


def read_split(
    folder: DataFolder,
    names: Sequence[str],
    *,
    compact: bool,
    held_out: int,
    written: bool = False,
    rephrasings: str = "",
) -> Split:
    """Reads the train splits and holds `held_out` databases back.

    They are chosen by a hash of their id among the databases with rows: on an empty database
    nearly every query is right.

    Args:
      folder: of the data.
      names: of the splits.
      compact: as for `examples.read_examples`.
      held_out: how many databases.
      written: as for `examples.read_examples`.
      rephrasings: file of questions in other words, learnt beside the ones that they stand for.

    Raises:
      InputError: a split is missing or broken, holds no gold SQL, or is too small.
    """
    if not names or not set(names) <= set(SPLITS):
        raise errors.InputError(
            f"--config.train.splits is {tuple(names)}; it has to be some of {', '.join(SPLITS)}"
        )
    read = [
        example
        for name in names
        for example in examples.read_examples(folder, name, compact=compact, written=written)
    ]
    without_query = next((example.example_id for example in read if example.query is None), None)
    if without_query:
        raise errors.InputError(
            f"{folder.root}: {without_query} has no query; training needs gold SQL for all"
        )
    by_hash = sorted(
        {example.db_id for example in read},
        key=lambda db_id: hashlib.sha256(db_id.encode()).hexdigest(),
    )
    with_rows = (db_id for db_id in by_hash if _has_rows(folder, db_id))
    chosen = set(itertools.islice(with_rows, held_out))
    split = Split(
        train=tuple(example for example in read if example.db_id not in chosen),
        held_out=tuple(example for example in read if example.db_id in chosen),
    )
    if len(split.train) < MIN_QUESTIONS or len(chosen) < held_out:
        raise errors.InputError(
            f"{folder.root}: {len(read)} questions on {len(by_hash)} databases are too few to "
            f"train on at least {MIN_QUESTIONS} and hold {held_out} databases with rows out "
            "(--config.train.held_out_databases)"
        )
    if not rephrasings:
        return split
    added = rephrased(Path(rephrasings).expanduser(), split.train)
    added = examples.with_schemas(folder, added, compact=compact, written=written)
    return dataclasses.replace(split, train=(*split.train, *added))


def rephrased(path: Path, train: Sequence[Example]) -> list[Example]:
    """The train examples with their questions in other words, where a file has such.

    Args:
      path: records with `db_id`, `SpiderQuestion` and `SpiderSynQuestion`, as Spider-Syn has them.
      train: the examples that are learnt; records of others are left out.

    Raises:
      InputError: the file cannot be read, lacks a field, or has no question of the train split.
    """
    by_question = {(example.db_id, _squeezed(example.question)): example for example in train}
    added = []
    for index, record in enumerate(records.read_records(path)):
        db_id, question, other = (
            records.field(path, index, record, name, str)
            for name in ("db_id", "SpiderQuestion", "SpiderSynQuestion")
        )
        example = by_question.get((db_id, _squeezed(question)))
        if example is not None and _squeezed(other) != _squeezed(question):
            name = f"{example.example_id}/rephrased"
            added.append(dataclasses.replace(example, example_id=name, question=other))
    if not added:
        raise errors.InputError(
            f"--config.train.rephrasings={path}: none of its questions is one of the train split"
        )
    return added


def _squeezed(question: str) -> str:
    """A question without the white space and capitals that copies of it differ in."""
    return "".join(question.split()).casefold()


def _has_rows(folder: DataFolder, db_id: str) -> bool:
    with database.open_database(database.database_path(folder, db_id)) as connection:
        return database.has_rows(lambda query: connection.execute(query).fetchall())


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSteps:
    """All steps of a training.

    Attributes:
      sequences: the groups of each sequence, in the order in which they are learnt.
      first_epoch: the sequences of the whole first epoch, however much of it is learnt.
      per_step: sequences in a step.
      capacity: of a sequence.
      left_out: the number of questions that do not fit a sequence, by database.
      rows: of the output layer that the loss is taken over.
    """

    sequences: Sequence[Sequence[packing.Group]]
    first_epoch: Sequence[Sequence[packing.Group]]
    per_step: int
    capacity: packing.Capacity
    left_out: dict[str, int]
    rows: sampled_softmax.OutputRows

    def __len__(self) -> int:
        return -(-len(self.sequences) // self.per_step)

    @property
    def per_epoch(self) -> int:
        """Steps of the first epoch, rounded."""
        return max(round(len(self.first_epoch) / self.per_step), 1)

    def batches(
        self, start: int, shape: tuple[int, int], share: slice = slice(None)
    ) -> Iterator[packing.Sequences]:
        """Yields the arrays of each step from `start` on, [accumulated, devices, ...].

        Args:
          start: steps that were done before.
          shape: (gradients accumulated, sequences at a time).
          share: of the second axis, what this host reads.
        """

        def load(step: int) -> packing.Sequences:
            first = step * self.per_step
            of_step = np.arange(first, first + self.per_step)
            width = self._width(of_step)
            of_host = of_step.reshape(shape)[:, share]
            packed = [
                packing.pack(self._groups(index), self.capacity, self.rows.of(index), width)
                for index in of_host.flat
            ]
            return packing.stack(packed, of_host.shape)

        dataset = grain.MapDataset.source(range(start, len(self))).map(load)
        return iter(dataset.to_iter_dataset())

    def _width(self, sequences: Iterable[int]) -> int:
        """A power of two as the width of `chunks`, as each width is a program to compile."""
        seen = max(packing.chunks_seen(self._groups(index)) for index in sequences)
        return min(max(1 << (seen - 1).bit_length(), _MIN_WIDTH), self.capacity.chunks)

    def _groups(self, index: int) -> Sequence[packing.Group]:
        """A sequence's groups; the last step is filled up with empty sequences."""
        return self.sequences[index] if index < len(self.sequences) else ()


def plan_steps(
    train: Sequence[Example],
    tokeniser: tokenise.SchemaTokeniser,
    config: ml_collections.ConfigDict,
    *,
    vocabulary: int,
    console: rich.console.Console,
) -> TrainingSteps:
    """Tokenises the questions and packs them, anew for each epoch.

    Args:
      train: examples with gold SQL.
      tokeniser: of a schema and its questions.
      config: `config.train`.
      vocabulary: rows of the output layer.
      console: for progress, where it takes long.

    Raises:
      InputError: a gold query does not begin as the prompt's answers do; no question fits.
    """
    by_database = collections.defaultdict(list)
    for example in train:
        by_database[example.db_id].append(example)
    left_out: dict[str, int] = {}
    schemas: list[tokenise.TokenisedSchema] = []
    for db_id, of_database in progress.track(by_database.items(), console, "tokenising databases"):
        schema = tokeniser.tokenise(of_database)
        if len(schema.questions) < len(of_database):
            left_out[db_id] = len(of_database) - len(schema.questions)
        if schema.questions:
            schemas.append(schema)
    capacity = tokeniser.capacity
    if not schemas:
        raise errors.InputError(
            f"no question fits a sequence of {capacity.tokens} tokens with its schema; "
            "raise --config.train.sequence_tokens"
        )

    plans = []
    for epoch in progress.track(range(math.ceil(config.epochs)), console, "planning epochs"):
        questions = _in_epoch(schemas, tokeniser, config, epoch)
        rng = np.random.default_rng([config.seed, epoch])
        plans.append(packing.plan_epoch(questions, capacity, rng))
    # The last epoch may be broken off, but not before its first sequence.
    skipped = round((len(plans) - config.epochs) * len(plans[-1]))
    sequences = [sequence for plan in plans for sequence in plan]
    rows = sampled_softmax.choose(
        _used_tokens(schemas, sequences), config.output_rows, vocabulary, config.seed
    )
    return TrainingSteps(
        sequences=sequences[: max(len(sequences) - skipped, 1)],
        first_epoch=plans[0],
        per_step=config.sequences_per_step,
        capacity=capacity,
        left_out=left_out,
        rows=rows,
    )


def _in_epoch(
    schemas: Sequence[tokenise.TokenisedSchema],
    tokeniser: tokenise.SchemaTokeniser,
    config: ml_collections.ConfigDict,
    epoch: int,
) -> dict[tuple[int, ...], tuple[packing.Question, ...]]:
    """The questions by their schema's tokens, a share of the schemas shuffled."""
    rng = np.random.default_rng([config.seed, epoch, 1])
    questions: dict[tuple[int, ...], tuple[packing.Question, ...]] = {}
    for schema in schemas:
        if config.thinned_schemas and rng.random() < config.thinned_schemas:
            schema = tokeniser.thin(schema, rng)
        if rng.random() < config.shuffled_schemas:
            schema = tokeniser.shuffle(schema, rng)
        # Two databases may have equal schemas.
        questions[schema.prefix] = (*questions.get(schema.prefix, ()), *schema.questions)
    return questions


def _used_tokens(
    schemas: Sequence[tokenise.TokenisedSchema], sequences: Iterable[Sequence[packing.Group]]
) -> set[int]:
    """The ids of all tokens of the prompts (as they are before shuffling) and of the answers."""
    used: set[int] = set()
    for schema in schemas:
        used.update(schema.prefix)
        used.update(*(question.prompt for question in schema.questions))
    for group in itertools.chain.from_iterable(sequences):
        used.update(*(question.answer for question in group.questions))
    return used

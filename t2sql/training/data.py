"""The training data: which questions, in which order, packed into which steps.

All of it is a pure function of the data and the config, so the number of a step is the
position in the data: a resumed run, or one on other devices, reads what it would have read.
"""

import collections
import dataclasses
import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import grain
import numpy as np

from t2sql import errors
from t2sql.data import database, examples, read_schema, schema
from t2sql.data import database as database_lib
from t2sql.data.compact import CompactDatabase
from t2sql.data.examples import Example
from t2sql.data.prompts import Prompt
from t2sql.sampling import prompt_groups as sampling_groups
from t2sql.sql.names import quoted
from t2sql.training import packing, respelling, sampled_softmax
from t2sql.training.gold_sql import normal_sql

MIN_QUESTIONS = 4
# Dev is for measuring.
SPLITS = ("train", "train_others")
_LEAST_WIDTH = 4  # of a step's `chunks`


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """The train split, cut by database.

    Attributes:
      train: what is learnt.
      held_out: what the adapter is judged by: questions on databases that are not in `train`.
    """

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Steps:
    """All steps of the training.

    Attributes:
      sequences: the groups of each sequence, in the order they are learnt.
      first_epoch: those of the whole first epoch, however much of it is learnt.
      per_step: sequences in a step.
      capacity: of a sequence.
      left_out: questions that do not fit a sequence, by database.
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
            whole = np.arange(first, first + self.per_step)
            width = self._width(whole)
            chosen = whole.reshape(shape)[:, share]
            packed = [
                packing.pack(self._groups(i), self.capacity, self.rows.of(i), width)
                for i in chosen.flat
            ]
            return packing.stack(packed, chosen.shape)

        dataset = grain.MapDataset.source(range(start, len(self))).map(load)
        return iter(dataset.to_iter_dataset())

    def _width(self, sequences: Iterable[int]) -> int:
        """A width of `chunks` for all of them, a power of two: each is a program to compile."""
        seen = max(packing.chunks_seen(self._groups(index)) for index in sequences)
        return min(max(1 << (seen - 1).bit_length(), _LEAST_WIDTH), self.capacity.chunks)

    def _groups(self, index: int) -> Sequence[packing.Group]:
        """The last step may have room left: empty sequences fill it."""
        return self.sequences[index] if index < len(self.sequences) else ()


def read_split(root: Path, names: Sequence[str], *, compact: bool, held_out: int) -> Split:
    """Reads the train splits and holds `held_out` databases back.

    Those are chosen by a hash of their id, among the ones that have rows: on an empty
    database nearly every query is right.

    Raises:
      InputError: a split is missing or broken, holds no gold SQL, or is too small.
    """
    if not names or not set(names) <= set(SPLITS):
        raise errors.InputError(
            f"--config.train.splits is {tuple(names)}; it has to be some of {', '.join(SPLITS)}"
        )
    found = [
        example for name in names for example in examples.read_examples(root, name, compact=compact)
    ]
    lacking = next((example.example_id for example in found if example.query is None), None)
    if lacking:
        raise errors.InputError(f"{root}: {lacking} has no query; training needs gold SQL for all")
    by_hash = sorted({example.db_id for example in found}, key=_hash)
    chosen = [db_id for db_id in by_hash if _has_rows(database_lib.database_path(root, db_id))]
    chosen = set(chosen[:held_out])
    split = Split(
        train=tuple(example for example in found if example.db_id not in chosen),
        held_out=tuple(example for example in found if example.db_id in chosen),
    )
    if len(split.train) < MIN_QUESTIONS or len(chosen) < held_out:
        raise errors.InputError(
            f"{root}: {len(found)} questions on {len(by_hash)} databases are too few to train on "
            f"at least {MIN_QUESTIONS} and hold {held_out} databases with rows out "
            "(--config.train.held_out_databases)"
        )
    return split


def plan_steps(
    train: Sequence[Example],
    *,
    root: Path,
    prompt: Prompt,
    encode: Callable[[str], list[int]],
    encode_answer: Callable[[str], list[int]],
    capacity: packing.Capacity,
    per_step: int,
    epochs: float,
    shuffled: float,
    respelt: float,
    rows: int,
    vocabulary: int,
    seed: int,
) -> Steps:
    """Tokenises the questions and packs them, anew for each epoch.

    Args:
      train: examples with gold SQL.
      root: of the data.
      prompt: as at inference.
      encode: token ids of a prompt, with the begin token.
      encode_answer: token ids of an answer, with the end token.
      capacity: of a sequence.
      per_step: sequences in a step.
      epochs: how often each question is learnt; the last epoch may be broken off.
      shuffled: the share of schemas that are shown in another order, drawn in each epoch; 0
        where the prompt's schema text is not the compact one.
      respelt: the share of schemas whose names are spelt in another way, likewise.
      rows: of the output layer that the loss of a sequence is taken over; 0 for all.
      vocabulary: rows that it has.
      seed: of the order.

    Raises:
      InputError: a gold query does not begin as the prompt's answers do; no question fits.
    """
    reader = _Reader(
        root=root,
        prompt=prompt,
        encode=encode,
        encode_answer=encode_answer,
        capacity=capacity,
    )
    by_database = collections.defaultdict(list)
    for example in train:
        by_database[example.db_id].append(example)
    left_out: dict[str, int] = {}
    schemas: list[_Schema] = []
    for db_id, of_database in by_database.items():
        found = reader.read(of_database)
        if len(found.questions) < len(of_database):
            left_out[db_id] = len(of_database) - len(found.questions)
        if found.questions:
            schemas.append(found)
    if not schemas:
        raise errors.InputError(
            f"no question fits a sequence of {capacity.tokens} tokens with its schema; "
            "raise --config.train.sequence_tokens"
        )

    def in_epoch(epoch: int) -> dict[tuple[int, ...], tuple[packing.Question, ...]]:
        return _in_epoch(schemas, reader, shuffled, respelt, seed, epoch)

    plans = [
        packing.plan_epoch(in_epoch(epoch), capacity, np.random.default_rng([seed, epoch]))
        for epoch in range(math.ceil(epochs))
    ]
    skipped = round((len(plans) - epochs) * len(plans[-1]))
    sequences = [sequence for plan in plans for sequence in plan]
    return Steps(
        sequences=sequences[: max(len(sequences) - skipped, 1)],
        first_epoch=plans[0],
        per_step=per_step,
        capacity=capacity,
        left_out=left_out,
        rows=sampled_softmax.choose(_used(schemas, sequences), rows, vocabulary, seed),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Schema:
    """A database as its questions are shown.

    Attributes:
      names: its schema, by the names that are shown.
      database: under these names; None where the prompt's schema text is not the compact one.
      examples: whose questions fit a sequence.
      prefix: tokens that the prompts of all of them begin with.
      questions: theirs.
    """

    names: schema.Schema
    database: CompactDatabase | None
    examples: tuple[Example, ...]
    prefix: tuple[int, ...]
    questions: tuple[packing.Question, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Reader:
    """Makes tokens of databases and their questions; its attributes are those of `plan_steps`."""

    root: Path
    prompt: Prompt
    encode: Callable[[str], list[int]]
    encode_answer: Callable[[str], list[int]]
    capacity: packing.Capacity

    def read(self, examples: Sequence[Example]) -> _Schema:
        """A database by its own names, from examples on it."""
        path = database_lib.database_path(self.root, examples[0].db_id)
        database = CompactDatabase(path) if self.prompt.compact else None
        return self._tokenise(examples, read_schema.schema_from_sqlite(path), database)

    def respelt(self, each: _Schema, rng: np.random.Generator) -> _Schema:
        """By names in another spelling, or by its own where a question would not fit."""
        names = respelling.respelt(each.names, rng)
        database = each.database.renamed(names)
        examples = [
            dataclasses.replace(
                example,
                db_definitions=database.text,
                values=database.matches(example.question),
                query=normal_sql(example.query, each.names, names),
            )
            for example in each.examples
        ]
        found = self._tokenise(examples, names, database)
        return found if len(found.questions) == len(each.questions) else each

    def shuffled(self, each: _Schema, rng: np.random.Generator) -> _Schema:
        """With its tables and columns in another order.

        Or in their own, in the rare case that the questions' tokens would then be others, or that
        one would not fit.
        """
        text = each.database.shuffled_text(rng.permutation)
        tokens = self._prompt(dataclasses.replace(each.examples[0], db_definitions=text))
        rest = each.questions[0].prompt
        prefix = tokens[: -len(rest)]
        fit = all(self._fits(prefix, question) for question in each.questions)
        if not fit or tokens[-len(rest) :] != rest:
            return each
        return dataclasses.replace(each, prefix=prefix)

    def _tokenise(
        self, examples: Sequence[Example], names: schema.Schema, database: CompactDatabase | None
    ) -> _Schema:
        prompts = [self._prompt(example) for example in examples]
        shared = sampling_groups.shared_length(prompts)
        prefix = prompts[0][:shared]
        questions = [
            packing.Question(
                example_id=example.example_id,
                prompt=tokens[shared:],
                answer=self._answer(example, names),
            )
            for example, tokens in zip(examples, prompts, strict=True)
        ]
        fitting = [self._fits(prefix, question) for question in questions]
        return _Schema(
            names=names,
            database=database,
            examples=tuple(itertools.compress(examples, fitting)),
            prefix=prefix,
            questions=tuple(itertools.compress(questions, fitting)),
        )

    def _prompt(self, example: Example) -> tuple[int, ...]:
        # gemma's special tokens are enums, whose text may change between versions.
        return tuple(map(int, self.encode(self.prompt.text(example))))

    def _answer(self, example: Example, names: schema.Schema) -> tuple[int, ...]:
        sql = normal_sql(example.query, names)
        if not sql.startswith(self.prompt.answer_prefix):
            raise errors.InputError(
                f"{example.example_id}: the query has to begin with {self.prompt.answer_prefix}, "
                f"as the prompt {self.prompt.name!r} says; found: {sql[:60]!r}"
            )
        return tuple(map(int, self.encode_answer(sql.removeprefix(self.prompt.answer_prefix))))

    def _fits(self, prefix: tuple[int, ...], question: packing.Question) -> bool:
        return self.capacity.holds([packing.Group(prefix=prefix, questions=(question,))])


def _in_epoch(
    schemas: Sequence[_Schema],
    reader: _Reader,
    shuffled: float,
    respelt: float,
    seed: int,
    epoch: int,
) -> dict[tuple[int, ...], tuple[packing.Question, ...]]:
    """The questions by their schema's tokens, as an epoch shows them."""
    order = np.random.default_rng([seed, epoch, 1])
    spelling = np.random.default_rng([seed, epoch, 2])
    found: dict[tuple[int, ...], tuple[packing.Question, ...]] = {}
    for each in schemas:
        shown = reader.respelt(each, spelling) if spelling.random() < respelt else each
        shown = reader.shuffled(shown, order) if order.random() < shuffled else shown
        # Two databases may look the same.
        found[shown.prefix] = (*found.get(shown.prefix, ()), *shown.questions)
    return found


def _used(schemas: Sequence[_Schema], sequences: Iterable[Sequence[packing.Group]]) -> set[int]:
    """The ids of all tokens that are read by the databases' own names, or learnt by any."""
    used: set[int] = set()
    for each in schemas:
        used.update(each.prefix)
        used.update(*(question.prompt for question in each.questions))
    for group in itertools.chain.from_iterable(sequences):
        used.update(*(question.answer for question in group.questions))
    return used


def _hash(db_id: str) -> str:
    return hashlib.sha256(db_id.encode()).hexdigest()


def _has_rows(path: Path) -> bool:
    with database.open_database(path) as connection:
        names = read_schema.table_names(connection)
        return any(
            connection.execute(f"SELECT 1 FROM {quoted(name)} LIMIT 1").fetchone() for name in names
        )

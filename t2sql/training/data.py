"""The training data: which questions, in which order, packed into which steps.

All of it is a pure function of the data and the config, so the number of a step is the
position in the data: a resumed run, or one on other devices, reads what it would have read.
"""

import collections
import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import grain
import numpy as np

from t2sql import errors
from t2sql.prompts import Prompt
from t2sql.sampling import groups as sampling_groups
from t2sql.spider import database, examples, schema, tables
from t2sql.spider.compact import CompactDatabase
from t2sql.spider.examples import Example
from t2sql.training import output_rows, packing
from t2sql.training.answers import normal_sql

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
    rows: output_rows.OutputRows

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
    chosen = [db_id for db_id in by_hash if _has_rows(schema.database_path(root, db_id))]
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
      rows: of the output layer that the loss of a sequence is taken over; 0 for all.
      vocabulary: rows that it has.
      seed: of the order.

    Raises:
      InputError: a gold query does not begin as the prompt's answers do; no question fits.
    """
    schemas: list[_Schema] = []
    left_out: dict[str, int] = {}
    by_database = collections.defaultdict(list)
    for example in train:
        by_database[example.db_id].append(example)
    for db_id, of_database in by_database.items():
        found = tables.schema_from_sqlite(schema.database_path(root, db_id))
        answer = functools.partial(_answer, prompt=prompt, schema=found, encode=encode_answer)
        prefix, questions = _tokenise(of_database, prompt, encode, answer)
        fitting = [each for each in questions if _fits(prefix, each, capacity)]
        if len(fitting) < len(questions):
            left_out[db_id] = len(questions) - len(fitting)
        if fitting:
            example = next(e for e in of_database if e.example_id == fitting[0].example_id)
            schemas.append(_Schema(prefix=prefix, questions=tuple(fitting), example=example))
    if not schemas:
        raise errors.InputError(
            f"no question fits a sequence of {capacity.tokens} tokens with its schema; "
            "raise --config.train.sequence_tokens"
        )
    in_epoch = functools.partial(
        _in_epoch, schemas, _shuffler(root, prompt, encode, capacity), shuffled, seed
    )
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
        rows=output_rows.choose(_used(schemas), rows, vocabulary, seed),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Schema:
    """A database's tokens.

    Attributes:
      prefix: what the prompts of all questions begin with.
      questions: those that fit a sequence.
      example: that of the first question.
    """

    prefix: tuple[int, ...]
    questions: tuple[packing.Question, ...]
    example: Example


def _fits(prefix: tuple[int, ...], question: packing.Question, capacity: packing.Capacity) -> bool:
    return capacity.holds([packing.Group(prefix=prefix, questions=(question,))])


def _in_epoch(
    schemas: Sequence[_Schema],
    shuffle: Callable[[_Schema, np.random.Generator], tuple[int, ...]],
    share: float,
    seed: int,
    epoch: int,
) -> dict[tuple[int, ...], tuple[packing.Question, ...]]:
    """The questions by their schema's tokens, as an epoch shows them."""
    rng = np.random.default_rng([seed, epoch, 1])
    found: dict[tuple[int, ...], tuple[packing.Question, ...]] = {}
    for each in schemas:
        prefix = shuffle(each, rng) if rng.random() < share else each.prefix
        # Two databases may look the same.
        found[prefix] = (*found.get(prefix, ()), *each.questions)
    return found


def _shuffler(
    root: Path,
    prompt: Prompt,
    encode: Callable[[str], list[int]],
    capacity: packing.Capacity,
) -> Callable[[_Schema, np.random.Generator], tuple[int, ...]]:
    """Gives a schema's tokens with its tables and columns in another order.

    Or in their own, in the rare case that the questions' tokens would then be others, or that
    one would not fit.
    """

    @functools.cache
    def database_of(db_id: str) -> CompactDatabase:
        return CompactDatabase(schema.database_path(root, db_id))

    def shuffle(each: _Schema, rng: np.random.Generator) -> tuple[int, ...]:
        text = database_of(each.example.db_id).shuffled_text(rng.permutation)
        other = dataclasses.replace(each.example, db_definitions=text)
        tokens = tuple(map(int, encode(prompt.text(other))))
        rest = each.questions[0].prompt
        prefix = tokens[: -len(rest)]
        fit = all(_fits(prefix, question, capacity) for question in each.questions)
        return prefix if fit and tokens[-len(rest) :] == rest else each.prefix

    return shuffle


def _used(schemas: Sequence[_Schema]) -> set[int]:
    """The ids of all tokens that are read or learnt."""
    used: set[int] = set()
    for each in schemas:
        used.update(each.prefix)
        used.update(*(question.prompt + question.answer for question in each.questions))
    return used


def _tokenise(
    of_database: Sequence[Example],
    prompt: Prompt,
    encode: Callable[[str], list[int]],
    answer: Callable[[Example], tuple[int, ...]],
) -> tuple[tuple[int, ...], list[packing.Question]]:
    """The tokens that all prompts of a database begin with, and the rest of each."""
    # gemma's special tokens are enums, whose text may change between versions.
    prompts = [list(map(int, encode(prompt.text(example)))) for example in of_database]
    shared = sampling_groups.shared_length(prompts)
    questions = [
        packing.Question(
            example_id=example.example_id, prompt=tuple(tokens[shared:]), answer=answer(example)
        )
        for example, tokens in zip(of_database, prompts, strict=True)
    ]
    return tuple(prompts[0][:shared]), questions


def _answer(example: Example, *, prompt: Prompt, schema: tables.Schema, encode) -> tuple[int, ...]:
    sql = normal_sql(example.query, schema)
    if not sql.startswith(prompt.answer_prefix):
        raise errors.InputError(
            f"{example.example_id}: the query has to begin with {prompt.answer_prefix}, as the "
            f"prompt {prompt.name!r} says; found: {sql[:60]!r}"
        )
    return tuple(map(int, encode(sql.removeprefix(prompt.answer_prefix))))


def _hash(db_id: str) -> str:
    return hashlib.sha256(db_id.encode()).hexdigest()


def _has_rows(path: Path) -> bool:
    with database.open_database(path) as connection:
        names = schema.table_names(connection)
        quoted = ('"' + name.replace('"', '""') + '"' for name in names)
        return any(
            connection.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone() for name in quoted
        )

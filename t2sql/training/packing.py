"""Questions packed by schema: a sequence holds a schema once and many of its questions.

    tokens     s s s s s q q q a a q q a a a a t t t q q a a . .
    segments   1 1 1 1 1 2 2 2 2 2 3 3 3 3 3 3 4 4 4 5 5 5 5 0 0
    parents    1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 4 4 4 4 4 4 4 0 0
    positions  0 1 2 3 4 5 6 7 8 9 5 6 7 ...   0 1 2 3 4 5 6

A question (q) with its answer (a) attends to its schema (s) and to itself, and its positions
follow the schema's. So attention, RoPE and the window of the local layers are as if it were alone
with its schema. Another schema (t) takes the room that is left.
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32, Int32

# Tokens of a chunk of attention: smaller chunks compute less in vain, larger ones run faster.
CHUNK = 64
_READ = ("tokens", "positions", "segments", "parents")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """A question with its answer, in tokens.

    Attributes:
      example_id: of the example.
      prompt: its tokens after the beginning that all questions of the database share; at least
        one.
      answer: tokens of the answer, with the end token.
    """

    example_id: str
    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    def __len__(self) -> int:
        # The end token is learnt, not read.
        return len(self.prompt) + len(self.answer) - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """Questions behind one copy of their schema's tokens."""

    prefix: tuple[int, ...]
    questions: tuple[Question, ...]

    def __len__(self) -> int:
        return len(self.prefix) + sum(map(len, self.questions))

    @property
    def answer_tokens(self) -> int:
        return sum(len(question.answer) for question in self.questions)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Capacity:
    """What a sequence holds at most.

    Attributes:
      tokens: L, all tokens.
      answers: M, tokens of answers. The output layer runs for this many.
    """

    tokens: int
    answers: int

    @property
    def chunks(self) -> int:
        """N, the chunks of its arrays, which are padded to whole chunks."""
        return -(-self.tokens // CHUNK)

    def holds(self, groups: Sequence[Group]) -> bool:
        return (
            sum(map(len, groups)) <= self.tokens
            and sum(group.answer_tokens for group in groups) <= self.answers
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Sequences:
    """Packed sequences as arrays, as the module's picture shows. `B` may be several axes.

    Attributes:
      tokens: right-padded with id 0.
      positions: of each token in its text.
      segments: which schema or question each token is of, from 1; 0 for padding.
      parents: the segment of each token's schema.
      chunks: for each chunk of CHUNK tokens the chunks that its tokens see, then -1.
      predict_at: indices of the tokens from which the answers' tokens are predicted.
      answers: the answers' tokens.
      weights: of the answers' tokens: 1, and 0 for padding.
      rows: of the output layer that the loss is taken over, ascending; empty for all.
      row_offsets: added to the logit of each row.
    """

    tokens: Int32[np.ndarray, "B L"]
    positions: Int32[np.ndarray, "B L"]
    segments: Int32[np.ndarray, "B L"]
    parents: Int32[np.ndarray, "B L"]
    chunks: Int32[np.ndarray, "B N W"]
    predict_at: Int32[np.ndarray, "B M"]
    answers: Int32[np.ndarray, "B M"]
    weights: Float32[np.ndarray, "B M"]
    rows: Int32[np.ndarray, "B R"]
    row_offsets: Float32[np.ndarray, "B R"]


def plan_epoch(
    questions: Mapping[tuple[int, ...], Sequence[Question]],
    capacity: Capacity,
    rng: np.random.Generator,
) -> list[list[Group]]:
    """Packs every question once, in random order, into few sequences.

    Args:
      questions: by their schema's tokens; each fits a sequence with its schema.
      capacity: of a sequence.
      rng: draws which questions share a sequence, and the order.

    Returns:
      The groups of each sequence.
    """
    groups = []
    for prefix, of_schema in questions.items():
        shuffled = [of_schema[index] for index in rng.permutation(len(of_schema))]
        groups.extend(_cut(prefix, shuffled, capacity))
    sequences = _first_fit(groups, capacity)
    return [sequences[index] for index in rng.permutation(len(sequences))]


def _cut(prefix: tuple[int, ...], questions: list[Question], capacity: Capacity) -> list[Group]:
    """Groups of one schema, all as large as a sequence but the last."""
    groups = [Group(prefix=prefix, questions=())]
    for question in questions:
        longer = Group(prefix=prefix, questions=(*groups[-1].questions, question))
        if capacity.holds([longer]):
            groups[-1] = longer
        else:
            groups.append(Group(prefix=prefix, questions=(question,)))
    return groups


def _first_fit(groups: list[Group], capacity: Capacity) -> list[list[Group]]:
    """First-fit decreasing (Johnson 1973)."""
    sequences: list[list[Group]] = []
    for group in sorted(groups, key=len, reverse=True):
        for sequence in sequences:
            if capacity.holds([*sequence, group]):
                sequence.append(group)
                break
        else:
            sequences.append([group])
    return sequences


def pack(
    groups: Sequence[Group],
    capacity: Capacity,
    rows: tuple[Int32[np.ndarray, " R"], Float32[np.ndarray, " R"]] = (
        np.zeros(0, np.int32),
        np.zeros(0, np.float32),
    ),
    width: int | None = None,
) -> Sequences:
    """The arrays of one sequence, [L], [N W], [M] and [R].

    Args:
      groups: of the sequence.
      capacity: of the sequence.
      rows: of the output layer, and what is added to their logits; empty for all.
      width: W, at least `chunks_seen`; None for N, the largest.
    """
    read: dict[str, list[int]] = {name: [] for name in _READ}
    predict_at: list[int] = []
    answers: list[int] = []

    def add(tokens: Sequence[int], position: int, segment: int, parent: int) -> None:
        read["tokens"].extend(tokens)
        read["positions"].extend(range(position, position + len(tokens)))
        read["segments"].extend([segment] * len(tokens))
        read["parents"].extend([parent] * len(tokens))

    segment = 0
    for group in groups:
        segment += 1
        parent = segment
        add(group.prefix, 0, segment, parent)
        for question in group.questions:
            segment += 1
            add(question.prompt + question.answer[:-1], len(group.prefix), segment, parent)
            end = len(read["tokens"])
            predict_at.extend(range(end - len(question.answer), end))
            answers.extend(question.answer)
    return Sequences(
        **{name: _pad(values, capacity.chunks * CHUNK) for name, values in read.items()},
        chunks=_chunks(groups, capacity.chunks, width or capacity.chunks),
        predict_at=_pad(predict_at, capacity.answers),
        answers=_pad(answers, capacity.answers),
        weights=_pad([1] * len(answers), capacity.answers).astype(np.float32),
        rows=rows[0],
        row_offsets=rows[1],
    )


def chunks_seen(groups: Sequence[Group]) -> int:
    """How many chunks any one chunk of the packed sequence sees, at most."""
    return max(map(len, _seen(groups).values()), default=1)


def _chunks(groups: Sequence[Group], count: int, width: int) -> Int32[np.ndarray, "N W"]:
    seen = _seen(groups)
    chunks = np.full((count, width), -1, np.int32)
    for chunk in range(count):
        ascending = sorted(seen.get(chunk, {chunk}))  # padding sees itself
        chunks[chunk, : len(ascending)] = ascending
    return chunks


def _seen(groups: Sequence[Group]) -> dict[int, set[int]]:
    """Which chunks each chunk sees."""
    seen = collections.defaultdict(set)

    def see(queries: range, keys: range) -> None:
        for chunk in range(queries.start // CHUNK, _end(queries)):
            seen[chunk].update(range(keys.start // CHUNK, min(_end(keys), chunk + 1)))

    end = 0
    for group in groups:
        schema = range(end, end + len(group.prefix))
        see(schema, schema)
        end = schema.stop
        for question in group.questions:
            own = range(end, end + len(question))
            see(own, schema)
            see(own, own)
            end = own.stop
    return seen


def _end(tokens: range) -> int:
    return -(-tokens.stop // CHUNK)


def stack(sequences: Sequence[Sequences], shape: tuple[int, ...]) -> Sequences:
    """The sequences as one, with new leading axes of `shape`."""
    return Sequences(
        **{
            field.name: np.stack([getattr(arrays, field.name) for arrays in sequences]).reshape(
                *shape, *getattr(sequences[0], field.name).shape
            )
            for field in dataclasses.fields(Sequences)
        }
    )


def _pad(values: Sequence[int], length: int) -> np.ndarray:
    padded = np.zeros(length, np.int32)
    padded[: len(values)] = values
    return padded

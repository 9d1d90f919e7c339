"""Which prompt is in which row of the batch, and when.

A lane is a batch. Prompts wait for free rows, and for room on the shelf for what they share; the
batch decodes until there is enough for the next ones, and they take their places while the others
go on. Its cache grows when longer prompts come. Only the end of a lane runs with rows that have
nothing left to do.
"""

import collections
import contextlib
import dataclasses
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

import jax
import numpy as np

from t2sql.sampling import decode as decode_lib
from t2sql.sampling import kv_cache, prompt_groups
from t2sql.sampling import programs as programs_lib
from t2sql.sampling import stops as stops_lib

# Decode steps between two looks of the host: it finds stop strings that span tokens,
# shows progress, and can be asked to stop.
STEPS_PER_LOOK = 16
# A group whose answers are complete, with these.
Finished = tuple[prompt_groups.PromptGroup, list[stops_lib.Generation]]


@dataclasses.dataclass
class Counters:
    """What a sampler has done.

    Attributes:
      prefill_seconds: wall time of this host in prefill.
      decode_seconds: wall time of this host in decode.
      host_seconds: wall time between them, in which this host reads answers.
      prompt_tokens: tokens of all prompts.
      computed_prompt_tokens: those prefilled: shared prefixes once, and no prompt's last token.
      padded_prompt_tokens: the same with padding, which is what the device computes.
      output_tokens: tokens of all answers.
      decode_steps: steps of the whole batch.
      refused_tokens: tokens that a guide refused, where there is one.
    """

    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    host_seconds: float = 0.0
    prompt_tokens: int = 0
    computed_prompt_tokens: int = 0
    padded_prompt_tokens: int = 0
    output_tokens: int = 0
    decode_steps: int = 0
    refused_tokens: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Stretch:
    """Where on the shelf a group's prefix lies: its first slot, and how many; 0 for none."""

    start: int
    length: int


@dataclasses.dataclass
class Row:
    """A prompt in a row of the batch: its group's answers, and its place among them."""

    group: prompt_groups.PromptGroup
    answers: list[stops_lib.Generation | None]
    place: int
    stretch: Stretch

    def limit(self, slots: int) -> int:
        """Tokens of the longest answer it may get, with `slots` of the ring for it."""
        limits = self.group.limits
        return slots if limits is None else min(slots, int(limits[self.place]))


def first_answers(
    group: prompt_groups.PromptGroup, on_finished: Callable[[stops_lib.Generation], None]
) -> list[stops_lib.Generation | None]:
    """A place for each answer of a group; filled where the prompt is too long."""
    answers = [None if len(suffix) else stops_lib.TOO_LONG for suffix in group.suffixes]
    for answer in filter(None, answers):
        on_finished(answer)
    return answers


class Lane:
    """A batch, from its first group until it is drained."""

    def __init__(
        self,
        compiler: programs_lib.Compiler,
        shape: kv_cache.CacheShape,
        stops: stops_lib.Stops,
        ends: jax.Array,
        counters: Counters,
        on_finished: Callable[[stops_lib.Generation], None],
        on_step: Callable[[], None],
    ):
        self._shape = shape
        self._compiler = compiler
        self._stops = stops
        self._ends = ends
        self._counters = counters
        self._on_finished = on_finished
        self._on_step = on_step
        self._rows: list[Row | None] = [None] * compiler.rows
        self._stopped = np.zeros(compiler.rows, bool)
        self._step = 0
        self._max_steps = self._put(np.int32(STEPS_PER_LOOK))
        self._shelf, self._asked, self._answers = compiler.get("init", shape)()

    def feed(self, group: prompt_groups.PromptGroup) -> Iterator[Finished]:
        """Prefills a group, decoding as needed to free rows; yields groups that finish."""
        self._grow(self._compiler.shape_of(group))
        stretch = yield from self._find_stretch(len(group.prefix))
        prefix = self._prefill_prefix(group, stretch) if stretch.length else None
        answers = first_answers(group, self._on_finished)
        for slots, places in self._compiler.chunks(group):
            while (lacking := len(places) - self._rows.count(None)) > 0:
                yield from self._decode_until_free(lacking)
            self._begin(
                [Row(group=group, answers=answers, place=x, stretch=stretch) for x in places],
                slots,
                prefix,
            )

    def drain(self) -> Iterator[Finished]:
        """Decodes until every row has finished."""
        while active := len(self._active()):
            yield from self._decode_until_free(active)

    def _active(self) -> list[Row]:
        return [row for row in self._rows if row is not None]

    def _decode_until_free(self, count: int) -> Iterator[Finished]:
        """Decodes until so many active rows have finished, or for the steps between two looks."""
        self._on_step()
        self._decode(len(self._active()) - count)
        yield from self._harvest()

    def _grow(self, shape: kv_cache.CacheShape) -> None:
        """Goes on in a cache that holds this shape too, with all that is on its way."""
        shape = self._shape.union(shape)
        if shape != self._shape:
            with self._span("prefill"):
                grow = self._compiler.get("grow", self._shape, shape)
                self._shelf, self._asked = grow(self._shelf, self._asked)
            self._shape = shape

    def _find_stretch(self, length: int) -> Generator[Finished, None, Stretch]:
        """Room on the shelf that no active row reads, decoding until there is."""
        while (start := self._first_gap(length)) is None:
            readers = collections.Counter(row.stretch for row in self._active())
            yield from self._decode_until_free(min(readers.values()))
        return Stretch(start, length)

    def _first_gap(self, length: int) -> int | None:
        start = 0
        for stretch in sorted({row.stretch for row in self._active()}, key=lambda x: x.start):
            if stretch.start - start >= length:
                break
            start = max(start, stretch.start + stretch.length)
        return start if start + length <= self._shape.shelf else None

    @contextlib.contextmanager
    def _span(self, name: str) -> Iterator[None]:
        """Counts the seconds of a part of the work, and names it in a profiler's trace."""
        start = time.perf_counter()
        with jax.profiler.TraceAnnotation(f"t2sql/{name}"):
            yield
        counter = f"{name}_seconds"
        seconds = getattr(self._counters, counter) + time.perf_counter() - start
        setattr(self._counters, counter, seconds)

    def _prefill_prefix(
        self, group: prompt_groups.PromptGroup, stretch: Stretch
    ) -> kv_cache.KeysValues:
        """Computes the keys and values of a group's prefix, and puts them on the shelf."""
        slots, kept = self._compiler.prefix_slots(group)
        length = self._put(np.int32(stretch.length))
        with self._span("prefill"):
            (tokens,) = prompt_groups.pad([group.prefix], slots)
            prefix = self._compiler.get("prefix", slots, kept)(
                self._compiler.params, self._put(tokens), length
            )
            shelve = self._compiler.get("shelve", kept, self._shape.shelf)
            self._shelf = shelve(self._shelf, prefix, self._put(np.int32(stretch.start)), length)
        self._counters.computed_prompt_tokens += stretch.length
        self._counters.padded_prompt_tokens += slots
        return prefix

    def _prefill(
        self, rows: list[Row], slots: int, prefix: kv_cache.KeysValues | None
    ) -> kv_cache.KeysValues:
        """Keys and values of the prompts' own parts, but for the last token of each."""
        count = self._compiler.rows_at_a_time(slots)
        texts = [row.group.suffixes[row.place][:-1] for row in rows]
        self._counters.computed_prompt_tokens += sum(map(len, texts))
        self._counters.padded_prompt_tokens += count * slots
        texts += [np.zeros(0, np.int32)] * (count - len(texts))
        before = kv_cache.slots_of(prefix) if prefix else 0
        return self._compiler.get("prefill", before, slots)(
            self._compiler.params,
            self._put(prompt_groups.pad(texts, slots), by_row=True),
            self._put(np.array([len(text) for text in texts], np.int32), by_row=True),
            prefix,
            self._put(np.int32(rows[0].stretch.length)),
        )

    def _begin(self, rows: list[Row], slots: int, prefix: kv_cache.KeysValues | None) -> None:
        """Prefills prompts and puts them into free rows."""
        with self._span("prefill"):
            suffix = self._prefill(rows, slots, prefix)
            begin = self._compiler.get("begin", slots, self._shape.suffix)
            prompts = self._place(rows, self._compiler.rows_at_a_time(slots))
            self._asked, self._answers = begin(self._asked, self._answers, suffix, prompts)
            jax.block_until_ready(self._answers.last_token)

    def _place(self, rows: list[Row], count: int) -> decode_lib.Prompts:
        """Gives prompts free rows of the batch."""
        free = [number for number, row in enumerate(self._rows) if row is None]
        taken = free[: len(rows)]
        for number, row in zip(taken, rows, strict=True):
            self._take_row(number, row)

        def column(values: Iterable[int], unused: int = 0, dtype=np.int32) -> jax.Array:
            padded = np.full(count, unused, dtype)
            padded[: len(rows)] = list(values)
            return self._put(padded)

        suffixes = [row.group.suffixes[row.place] for row in rows]
        return decode_lib.Prompts(
            rows=column(taken, unused=len(self._rows)),  # out of range: dropped
            lengths=column(len(suffix) - 1 for suffix in suffixes),
            last_token=column(suffix[-1] for suffix in suffixes),
            prefix_starts=column(row.stretch.start for row in rows),
            prefix_lengths=column(row.stretch.length for row in rows),
            limits=column(row.limit(self._shape.new) for row in rows),
            sample_ids=column((row.group.sample_ids[row.place] for row in rows), dtype=np.uint32),
        )

    def _take_row(self, number: int, row: Row) -> None:
        """Row `number` of the batch is this prompt's from now on."""
        self._rows[number] = row
        self._stopped[number] = False
        suffix = row.group.suffixes[row.place]
        self._counters.prompt_tokens += row.stretch.length + len(suffix)

    def _decode(self, max_active: int) -> None:
        with self._span("decode"):
            decode = self._compiler.get("decode", self._shape)
            self._answers = decode(
                self._compiler.params,
                self._shelf,
                self._asked,
                self._answers,
                self._put(self._stopped, by_row=True),
                self._ends,
                self._put(np.int32(max_active)),
                self._max_steps,
            )
            step = int(jax.device_get(self._answers.step))
        self._counters.decode_steps += step - self._step
        self._step = step

    def _harvest(self) -> Iterator[Finished]:
        """Takes finished answers off the device, frees their rows, yields finished groups."""
        with self._span("host"):
            finished = list(self._finished_groups())
        yield from finished

    def _finished_groups(self) -> Iterator[Finished]:
        written = self._written()
        for number, row in enumerate(self._rows):
            if row is None:
                continue
            generation = self._stops.generation(
                written[number], max_new_tokens=row.limit(self._shape.new)
            )
            if generation is None:
                continue
            self._rows[number] = None
            self._stopped[number] = True
            row.answers[row.place] = generation
            self._counters.output_tokens += len(generation.tokens)
            self._on_finished(generation)
            if all(answer is not None for answer in row.answers):
                yield row.group, row.answers

    def _written(self) -> Sequence[Sequence[int]]:
        """The tokens of each row so far."""
        generated, tokens = jax.device_get((self._answers.generated, self._answers.tokens))
        return [row[:count] for row, count in zip(tokens, generated, strict=True)]

    def _put(self, array: np.ndarray, *, by_row: bool = False) -> jax.Array:
        return jax.device_put(array, self._compiler.by_row if by_row else self._compiler.replicated)

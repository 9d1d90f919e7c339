"""Which prompt is in which row of the batch, and when.

A lane is a batch. Prompts wait for free rows; the batch decodes until enough rows are
free for the next ones, and they take their places while the others go on. Its cache
grows when longer prompts come. Only the end of a lane runs with rows that have nothing
left to do.
"""

import collections
import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from t2sql.sampling import cache as cache_lib
from t2sql.sampling import decode as decode_lib
from t2sql.sampling import groups as groups_lib
from t2sql.sampling import programs as programs_lib
from t2sql.sampling import stops as stops_lib

# Decode steps between two looks of the host: it finds stop strings that span tokens,
# shows progress, and can be asked to stop.
STEPS_PER_LOOK = 16


@dataclasses.dataclass
class Counters:
    """What a sampler has done.

    Attributes:
      prefill_seconds: wall time of this host in prefill.
      decode_seconds: wall time of this host in decode.
      host_seconds: wall time between them, in which this host reads answers.
      prompt_tokens: tokens of all prompts.
      computed_prompt_tokens: of those, what remains when shared prefixes count once.
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


@dataclasses.dataclass
class Row:
    """A prompt in a row of the batch: its group's answers, and its place among them."""

    group: groups_lib.PromptGroup
    answers: list[stops_lib.Generation | None]
    index: int
    shelf: int

    def limit(self, slots: int) -> int:
        """Tokens of the longest answer it may get, with `slots` of the ring for it."""
        limits = self.group.limits
        return slots if limits is None else min(slots, int(limits[self.index]))


class Lane:
    """A batch, from its first group until it is drained."""

    def __init__(
        self,
        compiler: programs_lib.Compiler,
        shape: cache_lib.CacheShape,
        stops: stops_lib.Stops,
        ends: jax.Array,
        counters: Counters,
        on_finished: Callable[[stops_lib.Generation], None],
        on_step: Callable[[], None],
    ):
        self.shape = shape
        self._compiler = compiler
        self._programs = compiler.get(shape)
        self._stops = stops
        self._ends = ends
        self._counters = counters
        self._on_finished = on_finished
        self._on_step = on_step
        self._shelf = 0
        self._shelf_is_empty = True
        self._rows: list[Row | None] = [None] * compiler.rows
        self._stopped = np.zeros(compiler.rows, bool)
        self._step = 0
        self._max_steps = self._put(np.int32(STEPS_PER_LOOK))
        self._begin()

    def _begin(self) -> None:
        """Makes an empty batch on the device."""
        self._shelves, self._asked, self._answers = self._programs.init()

    def feed(
        self, group: groups_lib.PromptGroup
    ) -> Iterator[tuple[groups_lib.PromptGroup, list[stops_lib.Generation]]]:
        """Prefills a group, decoding as needed to free rows; yields groups that finish."""
        yield from self._take_shelf(group)
        answers: list = [None] * len(group)
        waiting = collections.deque(
            Row(group=group, answers=answers, index=index, shelf=self._shelf)
            for index in range(len(group))
        )
        while waiting:
            count = min(len(waiting), self._programs.insert_rows)
            yield from self._decode_until(self._active, len(self._rows) - count)
            self._insert([waiting.popleft() for _ in range(count)])

    def grow(self, shape: cache_lib.CacheShape) -> None:
        """Goes on in a larger cache, with all that is on its way."""
        growth = self._compiler.get_growth(self.shape, shape)
        with self._span("prefill"):
            self._shelves, self._asked = growth(self._shelves, self._asked)
        self.shape, self._programs = shape, self._compiler.get(shape)

    def drain(self) -> Iterator[tuple[groups_lib.PromptGroup, list[stops_lib.Generation]]]:
        """Decodes until every row has finished."""
        yield from self._decode_until(self._active, 0)

    def _active(self) -> int:
        return sum(row is not None for row in self._rows)

    def _decode_until(
        self, count: Callable[[], int], limit: int
    ) -> Iterator[tuple[groups_lib.PromptGroup, list[stops_lib.Generation]]]:
        """Decodes until `count` of the active rows is `limit` at most."""
        while (excess := count() - limit) > 0:
            self._on_step()
            self._decode(self._active() - excess)
            yield from self._harvest()

    def _take_shelf(
        self, group: groups_lib.PromptGroup
    ) -> Iterator[tuple[groups_lib.PromptGroup, list[stops_lib.Generation]]]:
        """Puts the group's prefix on a shelf that no active row reads: any that comes free first.

        Groups that share nothing go on with the shelf that is empty already.
        """
        if group.prefix_length == 0 and self._shelf_is_empty:
            return
        yield from self._decode_until(lambda: self._readers(self._emptiest()), 0)
        self._shelf, self._shelf_is_empty = self._emptiest(), group.prefix_length == 0
        self._prefill_prefix(group)

    def _emptiest(self) -> int:
        return min(range(cache_lib.SHELVES), key=self._readers)

    def _readers(self, shelf: int) -> int:
        return sum(row is not None and row.shelf == shelf for row in self._rows)

    @contextlib.contextmanager
    def _span(self, name: str) -> Iterator[None]:
        """Counts the seconds of a part of the work, and names it in a profiler's trace."""
        start = time.perf_counter()
        with jax.profiler.TraceAnnotation(f"t2sql/{name}"):
            yield
        counter = f"{name}_seconds"
        seconds = getattr(self._counters, counter) + time.perf_counter() - start
        setattr(self._counters, counter, seconds)

    def _prefill_prefix(self, group: groups_lib.PromptGroup) -> None:
        with self._span("prefill"):
            self._shelves = self._programs.prefill_prefix(
                self._compiler.params,
                self._shelves,
                self._put(group.prefix[None]),
                self._put(np.int32(group.prefix_length)),
                self._put(np.int32(self._shelf)),
            )
        self._counters.computed_prompt_tokens += group.prefix_length
        self._counters.padded_prompt_tokens += self.shape.prefix

    def _insert(self, rows: list[Row]) -> None:
        """Prefills prompts into free rows, as many as there are programs' places for."""
        with self._span("prefill"):
            self._insert_prompts(rows)
        self._counters.padded_prompt_tokens += self._programs.insert_rows * self.shape.suffix

    def _insert_prompts(self, rows: list[Row]) -> None:
        self._asked, self._answers = self._programs.insert(
            self._compiler.params,
            self._shelves,
            self._asked,
            self._answers,
            self._place(rows),
            self._ends,
        )
        jax.block_until_ready(self._answers.last_token)

    def _free_places(self) -> list[int]:
        return [place for place, row in enumerate(self._rows) if row is None]

    def _place(self, rows: list[Row]) -> decode_lib.Prompts:
        """Gives prompts free rows, and puts them on the device."""
        size = self._programs.insert_rows
        free = self._free_places()
        tokens = np.zeros((size, self.shape.suffix), np.int32)
        lengths = np.zeros(size, np.int32)
        places = np.full(size, len(self._rows), np.int32)  # out of range: dropped
        limits = np.ones(size, np.int32)
        sample_ids = np.zeros(size, np.uint32)
        for entry, (row, place) in enumerate(zip(rows, free, strict=False)):
            tokens[entry] = row.group.suffixes[row.index]
            lengths[entry], places[entry] = row.group.lengths[row.index], place
            limits[entry] = row.limit(self.shape.new)
            sample_ids[entry] = row.group.sample_ids[row.index]
            self._rows[place] = row
            self._stopped[place] = False
            self._counters.prompt_tokens += row.group.prefix_length + int(lengths[entry])
            self._counters.computed_prompt_tokens += int(lengths[entry])
        return decode_lib.Prompts(
            tokens=self._put(tokens, by_row=True),
            lengths=self._put(lengths, by_row=True),
            rows=self._put(places),
            shelf=self._put(np.int32(self._shelf)),
            limits=self._put(limits, by_row=True),
            sample_ids=self._put(sample_ids, by_row=True),
        )

    def _decode(self, max_active: int) -> None:
        with self._span("decode"):
            self._answers = self._programs.decode(
                self._compiler.params,
                self._shelves,
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

    def _harvest(self) -> Iterator[tuple[groups_lib.PromptGroup, list[stops_lib.Generation]]]:
        """Takes finished answers off the device, frees their rows, yields finished groups."""
        with self._span("host"):
            finished = list(self._finished_groups())
        yield from finished

    def _finished_groups(
        self,
    ) -> Iterator[tuple[groups_lib.PromptGroup, list[stops_lib.Generation]]]:
        written = self._written()
        for place, row in enumerate(self._rows):
            if row is None:
                continue
            generation = self._stops.generation(
                written[place], max_new_tokens=row.limit(self.shape.new)
            )
            if generation is None:
                continue
            self._rows[place] = None
            self._stopped[place] = True
            row.answers[row.index] = generation
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

"""Which prompt is in which slot of the batch, and when.

Prompts wait for free slots, and for room in the prefix cache for what they share. The batch decodes
until there is enough for the next ones, and they take their places while the others go on. The
cache grows when longer prompts come. Only the end of a run decodes with slots that have nothing
left to do.
"""

import collections
import contextlib
import dataclasses
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

import jax
import numpy as np

from t2sql.sampling import batch as batch_lib
from t2sql.sampling import kv_cache, prompt_groups
from t2sql.sampling import programs as programs_lib
from t2sql.sampling import stops as stops_lib

# Decode steps after which the host looks at the answers: it finds stop strings that span tokens,
# shows progress, and can be asked to stop.
STEPS_PER_SYNC = 16
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
      computed_prompt_tokens: tokens prefilled: shared prefixes once, and no prompt's last token.
      padded_prompt_tokens: tokens prefilled, with padding: what the device computes.
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
class PrefixSpan:
    """Where a group's prefix lies in the prefix cache, in tokens; of length 0 for none."""

    start: int
    length: int


@dataclasses.dataclass
class Slot:
    """A prompt in a slot of the batch.

    Attributes:
      group: the prompt's group.
      answers: of the whole group, as far as they are finished.
      index: the prompt's in its group.
      span: where its prefix is.
    """

    group: prompt_groups.PromptGroup
    answers: list[stops_lib.Generation | None]
    index: int
    span: PrefixSpan

    @property
    def suffix(self) -> np.ndarray:
        """The prompt's own tokens."""
        return self.group.suffixes[self.index]

    def limit(self, longest: int) -> int:
        """Tokens of the longest answer it may get, where no answer is longer than `longest`."""
        limits = self.group.limits
        return longest if limits is None else min(longest, int(limits[self.index]))


def first_answers(
    group: prompt_groups.PromptGroup, on_finished: Callable[[stops_lib.Generation], None]
) -> list[stops_lib.Generation | None]:
    """A place for each answer of a group; filled where the prompt is too long."""
    answers = [None if len(suffix) else stops_lib.TOO_LONG for suffix in group.suffixes]
    for answer in filter(None, answers):
        on_finished(answer)
    return answers


class Scheduler:
    """A batch, from its first group until all answers are done."""

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
        self._slots: list[Slot | None] = [None] * compiler.batch_size
        self._stopped = np.zeros(compiler.batch_size, bool)
        self._step = 0
        self._max_steps = self._put(np.int32(STEPS_PER_SYNC))
        self._prefix_cache, self._device_slots, self._state = compiler.get("init", shape)()

    def add_group(self, group: prompt_groups.PromptGroup) -> Iterator[Finished]:
        """Prefills a group, decoding as needed to free slots; yields groups that finish."""
        self._grow(self._compiler.shape_of(group))
        span = yield from self._find_span(len(group.prefix))
        prefix = self._prefill_prefix(group, span) if span.length else None
        answers = first_answers(group, self._on_finished)
        for length, indices in self._compiler.chunks(group):
            while (lacking := len(indices) - self._slots.count(None)) > 0:
                yield from self._decode_until_free(lacking)
            prompts = [
                Slot(group=group, answers=answers, index=index, span=span) for index in indices
            ]
            self._insert(prompts, length, prefix)

    def run_until_done(self) -> Iterator[Finished]:
        """Decodes until every answer has finished."""
        while active := len(self._active()):
            yield from self._decode_until_free(active)

    def _active(self) -> list[Slot]:
        return [slot for slot in self._slots if slot is not None]

    def _decode_until_free(self, count: int) -> Iterator[Finished]:
        """Decodes until so many more slots are free, or for `STEPS_PER_SYNC` steps."""
        self._on_step()
        self._decode(len(self._active()) - count)
        yield from self._collect_finished()

    def _grow(self, shape: kv_cache.CacheShape) -> None:
        """Goes on in a cache that holds this shape too, with all that is on its way."""
        shape = self._shape.union(shape)
        if shape != self._shape:
            with self._span("prefill"):
                grow = self._compiler.get("grow", self._shape, shape)
                self._prefix_cache, self._device_slots = grow(
                    self._prefix_cache, self._device_slots
                )
            self._shape = shape

    def _find_span(self, length: int) -> Generator[Finished, None, PrefixSpan]:
        """Room in the prefix cache that no active slot reads, decoding until there is."""
        while (start := self._first_gap(length)) is None:
            readers = collections.Counter(slot.span for slot in self._active())
            yield from self._decode_until_free(min(readers.values()))
        return PrefixSpan(start, length)

    def _first_gap(self, length: int) -> int | None:
        start = 0
        for span in sorted({slot.span for slot in self._active()}, key=lambda span: span.start):
            if span.start - start >= length:
                break
            start = max(start, span.start + span.length)
        return start if start + length <= self._shape.prefix else None

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
        self, group: prompt_groups.PromptGroup, span: PrefixSpan
    ) -> kv_cache.KeysValues:
        """Computes the keys and values of a group's prefix, and puts them in the prefix cache."""
        padded, kept = self._compiler.prefix_lengths(group)
        length = self._put(np.int32(span.length))
        with self._span("prefill"):
            (tokens,) = prompt_groups.pad([group.prefix], padded)
            prefix = self._compiler.get("prefix", padded, kept)(
                self._compiler.params, self._put(tokens), length
            )
            write = self._compiler.get("write_prefix", kept, self._shape.prefix)
            start = self._put(np.int32(span.start))
            self._prefix_cache = write(self._prefix_cache, prefix, start, length)
        self._counters.computed_prompt_tokens += span.length
        self._counters.padded_prompt_tokens += padded
        return prefix

    def _insert(self, prompts: list[Slot], length: int, prefix: kv_cache.KeysValues | None) -> None:
        """Prefills prompts and puts them into free slots."""
        with self._span("prefill"):
            suffix = self._prefill(prompts, length, prefix)
            insert = self._compiler.get("insert", length, self._shape.suffix)
            placed = self._place(prompts, self._compiler.prompts_at_a_time(length))
            self._device_slots, self._state = insert(
                self._device_slots, self._state, suffix, placed
            )
            jax.block_until_ready(self._state.last_token)

    def _prefill(
        self, prompts: list[Slot], length: int, prefix: kv_cache.KeysValues | None
    ) -> kv_cache.KeysValues:
        """Keys and values of the prompts' own parts, but for the last token of each."""
        rows = self._compiler.prompts_at_a_time(length)
        texts = [prompt.suffix[:-1] for prompt in prompts]
        self._counters.computed_prompt_tokens += sum(map(len, texts))
        self._counters.padded_prompt_tokens += rows * length
        texts += [np.zeros(0, np.int32)] * (rows - len(texts))
        before = kv_cache.length_of(prefix) if prefix else 0
        return self._compiler.get("prefill", before, length)(
            self._compiler.params,
            self._put(prompt_groups.pad(texts, length), by_row=True),
            self._put(np.array([len(text) for text in texts], np.int32), by_row=True),
            prefix,
            self._put(np.int32(prompts[0].span.length)),
        )

    def _place(self, prompts: list[Slot], count: int) -> batch_lib.Prompts:
        """Gives prompts free slots of the batch."""
        free = [number for number, slot in enumerate(self._slots) if slot is None]
        taken = free[: len(prompts)]
        for number, prompt in zip(taken, prompts, strict=True):
            self._take_slot(number, prompt)

        def column(values: Iterable[int], unused: int = 0, dtype=np.int32) -> jax.Array:
            padded = np.full(count, unused, dtype)
            padded[: len(prompts)] = list(values)
            return self._put(padded)

        return batch_lib.Prompts(
            slots=column(taken, unused=len(self._slots)),  # out of range: dropped
            lengths=column(len(prompt.suffix) - 1 for prompt in prompts),
            last_token=column(prompt.suffix[-1] for prompt in prompts),
            prefix_starts=column(prompt.span.start for prompt in prompts),
            prefix_lengths=column(prompt.span.length for prompt in prompts),
            limits=column(prompt.limit(self._shape.new) for prompt in prompts),
            sample_ids=column(
                (prompt.group.sample_ids[prompt.index] for prompt in prompts), dtype=np.uint32
            ),
        )

    def _take_slot(self, number: int, prompt: Slot) -> None:
        """Slot `number` of the batch is this prompt's from now on."""
        self._slots[number] = prompt
        self._stopped[number] = False
        self._counters.prompt_tokens += prompt.span.length + len(prompt.suffix)

    def _decode(self, max_active: int) -> None:
        with self._span("decode"):
            decode = self._compiler.get("decode", self._shape)
            self._state = decode(
                self._compiler.params,
                self._prefix_cache,
                self._device_slots,
                self._state,
                self._put(self._stopped, by_row=True),
                self._ends,
                self._put(np.int32(max_active)),
                self._max_steps,
            )
            step = int(jax.device_get(self._state.step))
        self._counters.decode_steps += step - self._step
        self._step = step

    def _collect_finished(self) -> Iterator[Finished]:
        """Takes finished answers off the device, frees their slots, yields finished groups."""
        with self._span("host"):
            finished = list(self._finished_groups())
        yield from finished

    def _finished_groups(self) -> Iterator[Finished]:
        written = self._written()
        for number, slot in enumerate(self._slots):
            if slot is None:
                continue
            generation = self._stops.generation(
                written[number], max_new_tokens=slot.limit(self._shape.new)
            )
            if generation is None:
                continue
            self._slots[number] = None
            self._stopped[number] = True
            slot.answers[slot.index] = generation
            self._counters.output_tokens += len(generation.tokens)
            self._on_finished(generation)
            if all(answer is not None for answer in slot.answers):
                yield slot.group, slot.answers

    def _written(self) -> Sequence[Sequence[int]]:
        """The tokens of each slot so far."""
        generated, tokens = jax.device_get((self._state.generated, self._state.tokens))
        return [row[:count] for row, count in zip(tokens, generated, strict=True)]

    def _put(self, array: np.ndarray, *, by_row: bool = False) -> jax.Array:
        return jax.device_put(array, self._compiler.by_row if by_row else self._compiler.replicated)

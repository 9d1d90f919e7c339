"""Which prompt is in which slot of the batch, and when.

Prompts wait for free slots, and for room in the prefix cache for what they share. The batch decodes
until there is enough for the next ones, and they take their places while the others go on. The
cache grows when longer prompts come. Only the end of a run decodes with slots that have nothing
left to do.

Decoding goes in blocks of steps. The host takes each block's tokens: `constrained.py` says what it
does with tokens that an answer may not have.
"""

import collections
import contextlib
import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from t2sql.sampling import batch as batch_lib
from t2sql.sampling import branches, constrained, kv_cache, prompt_groups, scores
from t2sql.sampling import programs as programs_lib
from t2sql.sampling import stops as stops_lib

# Decode steps of a block without a constraint: then the host looks for stop strings that span
# tokens, shows progress, and can be asked to stop.
STEPS_PER_SYNC = 16
# The first block of a slot that waits to be put back.
_NOT_YET = sys.maxsize
_ALL = np.uint32(2**32 - 1)  # every token of a mask's word
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
      branch: the answers to it that are decoded.
      waiting: the branches that are decoded after it, the last one first.
      finished: its finished answers by their number.
      first_block: the first block of steps whose tokens go on from the branch's.
    """

    group: prompt_groups.PromptGroup
    answers: list[stops_lib.Generation | None]
    index: int
    span: PrefixSpan
    branch: branches.Branch
    waiting: list[branches.Branch] = dataclasses.field(default_factory=list)
    finished: dict[int, stops_lib.Generation] = dataclasses.field(default_factory=dict)
    first_block: int = 0

    @property
    def suffix(self) -> np.ndarray:
        """The prompt's own tokens."""
        return self.group.suffixes[self.index]

    def limit(self, longest: int) -> int:
        """Tokens of the longest answer it may get, where no answer is longer than `longest`."""
        limits = self.group.limits
        return longest if limits is None else min(longest, int(limits[self.index]))

    @property
    def last_token(self) -> int:
        """The newest token of its text."""
        return self.branch.tokens[-1] if self.branch.tokens else int(self.suffix[-1])

    def take_draws(self, steps: Sequence[scores.StepDraws]) -> bool:
        """Takes draws that follow, where answers are scored; whether all stand."""
        self.waiting += self.branch.take_draws(steps)
        return not self.branch.is_refused

    def finish(self, generation: stops_lib.Generation) -> bool:
        """Ends the branch with what its tokens say; whether another one goes on."""
        generation = dataclasses.replace(
            generation, **self.branch.logprobs_of(len(generation.tokens))
        )
        self.finished |= dict.fromkeys(self.branch.samples, generation)
        if self.waiting:
            self.branch = self.waiting.pop()
            return True
        first, *others = (self.finished[sample] for sample in sorted(self.finished))
        self.answers[self.index] = dataclasses.replace(first, others=tuple(others))
        return False


def first_answers(
    group: prompt_groups.PromptGroup, on_finished: Callable[[stops_lib.Generation], None]
) -> list[stops_lib.Generation | None]:
    """A place for each answer of a group; filled where the prompt is too long."""
    answers = [None if len(suffix) else stops_lib.TOO_LONG for suffix in group.suffixes]
    for answer in filter(None, answers):
        on_finished(answer)
    return answers


class Scheduler:
    """A batch, from its first group until all answers are done.

    Args:
      compiler: builds the programs, and holds the parameters.
      shape: of the cache to begin with; it grows.
      stops: where answers end.
      ends: token ids that end an answer at once, [V] bool: what the device knows.
      last_tokens: token ids that an ended answer may end with, [V] bool.
      counters: what is done is added to these.
      on_finished: called with each answer as it finishes.
      on_step: called with every block of steps; what it raises ends the sampling.
      blocks_in_flight: blocks that are started before the oldest is read.
    """

    def __init__(
        self,
        compiler: programs_lib.Compiler,
        shape: kv_cache.CacheShape,
        stops: stops_lib.Stops,
        ends: np.ndarray,
        last_tokens: np.ndarray,
        counters: Counters,
        on_finished: Callable[[stops_lib.Generation], None],
        on_step: Callable[[], None],
        *,
        blocks_in_flight: int = 1,
    ):
        self._shape = shape
        self._compiler = compiler
        self._stops = stops
        self._ends = self._put(ends)
        self._last_tokens = last_tokens
        self._counters = counters
        self._on_finished = on_finished
        self._on_step = on_step
        self._blocks_in_flight = blocks_in_flight
        self._slots: list[Slot | None] = [None] * compiler.batch_size
        self._stopped: set[int] = set()  # slots that end without the device's knowing
        self._may_have_ended: list[int] = []  # slots
        self._blocks = 0  # that were started
        self._in_flight: collections.deque[tuple[int, batch_lib.Decoded]] = collections.deque()
        self._to_put_back: collections.deque[tuple[int, Slot]] = collections.deque()
        self._none_stopped = self._put(np.zeros(compiler.batch_size, bool), by_row=True)
        self._no_corrections = self._put(compiler.no_corrections())
        self._number = functools.cache(lambda number: self._put(np.int32(number)))
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
                Slot(
                    group=group,
                    answers=answers,
                    index=index,
                    span=span,
                    branch=branches.Branch(samples=list(range(self._compiler.samples))),
                )
                for index in indices
            ]
            self._insert(prompts, length, prefix)

    def run_until_done(self) -> Iterator[Finished]:
        """Decodes until every answer has finished."""
        while active := len(self._active()):
            yield from self._decode_until_free(active)

    def _active(self) -> list[Slot]:
        return [slot for slot in self._slots if slot is not None]

    def _decode_until_free(self, count: int) -> Iterator[Finished]:
        """Decodes a block: until so many more slots are free, at most."""
        self._on_step()
        with self._timed("decode"):
            while len(self._in_flight) < self._blocks_in_flight:
                self._start_block(max_active=len(self._active()) - count)
            block, decoded = self._in_flight.popleft()
            self._take_block(block, jax.device_get(decoded))
        with self._timed("host"):
            finished = list(self._finished_groups())
        yield from finished

    def _start_block(self, max_active: int) -> None:
        """Has the device decode a block of steps, after those in flight."""
        self._blocks += 1
        decode = self._compiler.get("decode", self._shape)
        self._state, decoded = decode(
            self._compiler.params,
            self._prefix_cache,
            self._device_slots,
            self._state,
            self._newly_stopped(),
            self._ends,
            self._number(max_active),
            self._corrections(),
        )
        self._in_flight.append((self._blocks, decoded))

    def _newly_stopped(self) -> jax.Array:
        """The slots that the device is told to be done."""
        if not self._stopped:
            return self._none_stopped
        stopped = np.zeros(len(self._slots), bool)
        stopped[list(self._stopped)] = True
        self._stopped.clear()
        return self._put(stopped, by_row=True)

    def _corrections(self) -> constrained.Corrections | None:
        """The slots that the block to be started puts back: those that wait, as far as they fit."""
        if not self._to_put_back:
            return self._no_corrections
        corrections = self._compiler.no_corrections()
        for entry in range(min(len(self._to_put_back), len(corrections.slots))):
            number, slot = self._to_put_back.popleft()
            if self._slots[number] is not slot:
                continue  # a stop string has ended it
            branch = slot.branch
            corrections.slots[entry] = number
            corrections.generated[entry] = len(branch.tokens)
            corrections.last_token[entry] = slot.last_token
            corrections.leaders[entry] = branch.samples[0]
            if branch.is_refused:
                branch.guide.allowed().write(corrections.masks[entry])
            elif corrections.masks is not None:
                corrections.masks[entry] = _ALL
            branch.is_redrawn, branch.is_refused = branch.is_refused, False
            slot.first_block = self._blocks
        return self._put(corrections)

    def _take_block(self, block: int, decoded: batch_lib.Decoded) -> None:
        """Gives each slot the tokens that a block has written."""
        self._counters.decode_steps += int(decoded.steps)
        may_end = self._last_tokens[decoded.tokens].any(axis=1)
        # Tokens of other slots are an earlier answer's, or follow one that was refused.
        numbers = [
            number
            for number in np.flatnonzero(decoded.counts).tolist()
            if (slot := self._slots[number]) is not None and block >= slot.first_block
        ]
        take = self._take_draws if decoded.draws else self._take_tokens
        for number, all_stand in zip(numbers, take(numbers, decoded), strict=True):
            slot = self._slots[number]
            if not all_stand:
                self._put_back(number, slot)
                self._counters.refused_tokens += 1
            if may_end[number] or len(slot.branch.tokens) >= slot.limit(self._shape.new):
                self._may_have_ended.append(number)

    def _take_tokens(self, numbers: Sequence[int], decoded: batch_lib.Decoded) -> Iterator[bool]:
        """Gives slots their tokens; yields whether all stand. All are asked before one is told."""
        rows, counts = decoded.tokens.tolist(), decoded.counts.tolist()
        taken = [(self._slots[number].branch, rows[number][: counts[number]]) for number in numbers]
        checks = [branch.check(tokens) for branch, tokens in taken]
        for (branch, tokens), accepted in zip(taken, checks, strict=True):
            yield branch.take(tokens, accepted())

    def _take_draws(self, numbers: Sequence[int], decoded: batch_lib.Decoded) -> Iterator[bool]:
        """Gives slots the draws of scored answers; yields whether all stand."""
        for number in numbers:
            steps = scores.steps_of(decoded.draws, number, int(decoded.counts[number]))
            yield self._slots[number].take_draws(steps)

    def _put_back(self, number: int, slot: Slot) -> None:
        """Has a slot go on from its branch's tokens, once a block has room for it."""
        if slot.first_block != _NOT_YET:
            slot.first_block = _NOT_YET
            self._to_put_back.append((number, slot))

    def _grow(self, shape: kv_cache.CacheShape) -> None:
        """Goes on in a cache that holds this shape too, with all that is on its way."""
        shape = self._shape.union(shape)
        if shape != self._shape:
            with self._timed("prefill"):
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
    def _timed(self, part: str) -> Iterator[None]:
        """Counts the seconds of a part of the work, and names it in a profiler's trace."""
        start = time.perf_counter()
        with jax.profiler.TraceAnnotation(f"t2sql/{part}"):
            yield
        counter = f"{part}_seconds"
        seconds = getattr(self._counters, counter) + time.perf_counter() - start
        setattr(self._counters, counter, seconds)

    def _prefill_prefix(
        self, group: prompt_groups.PromptGroup, span: PrefixSpan
    ) -> kv_cache.KeysValues:
        """Computes the keys and values of a group's prefix, and puts them in the prefix cache."""
        padded, kept = self._compiler.prefix_lengths(group)
        with self._timed("prefill"):
            (tokens,) = prompt_groups.pad([group.prefix], padded)
            prefix = self._compiler.get("prefix", padded, kept)(
                self._compiler.params, self._put(tokens), self._number(span.length)
            )
            write = self._compiler.get("write_prefix", kept, self._shape.prefix)
            self._prefix_cache = write(
                self._prefix_cache, prefix, self._number(span.start), self._number(span.length)
            )
        self._counters.computed_prompt_tokens += span.length
        self._counters.padded_prompt_tokens += padded
        return prefix

    def _insert(self, prompts: list[Slot], length: int, prefix: kv_cache.KeysValues | None) -> None:
        """Prefills prompts and puts them into free slots."""
        with self._timed("prefill"):
            suffix = self._prefill(prompts, length, prefix)
            insert = self._compiler.get("insert", length, self._shape.suffix)
            placed = self._place(prompts, self._compiler.prompts_at_a_time(length))
            self._device_slots, self._state = insert(
                self._device_slots, self._state, suffix, placed
            )
            jax.block_until_ready(self._state)

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
            self._number(prompts[0].span.length),
        )

    def _place(self, prompts: list[Slot], count: int) -> batch_lib.Prompts:
        """Gives prompts free slots of the batch."""
        free = [number for number, slot in enumerate(self._slots) if slot is None]
        taken = free[: len(prompts)]
        for number, prompt in zip(taken, prompts, strict=True):
            if self._compiler.is_constrained:
                prompt.branch.guide = prompt.group.guide(prompt.limit(self._shape.new))
            prompt.first_block = self._blocks + 1
            self._slots[number] = prompt
            self._stopped.discard(number)
            self._counters.prompt_tokens += prompt.span.length + len(prompt.suffix)

        def column(values: Iterable[int], unused: int = 0, dtype=np.int32) -> np.ndarray:
            padded = np.full(count, unused, dtype)
            padded[: len(prompts)] = list(values)
            return padded

        placed = batch_lib.Prompts(
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
        return self._put(placed)

    def _finished_groups(self) -> Iterator[Finished]:
        numbers, self._may_have_ended = self._may_have_ended, []
        for number in numbers:
            slot = self._slots[number]
            while (generation := self._generation(slot)) is not None:
                self._stopped.add(number)
                self._counters.output_tokens += len(generation.tokens) * len(slot.branch.samples)
                if slot.finish(generation):
                    self._put_back(number, slot)
                    continue
                self._slots[number] = None
                self._on_finished(slot.answers[slot.index])
                if all(answer is not None for answer in slot.answers):
                    yield slot.group, slot.answers
                break

    def _generation(self, slot: Slot) -> stops_lib.Generation | None:
        """The answer of a slot's branch, if it has ended."""
        limit = slot.limit(self._shape.new)
        return self._stops.generation(slot.branch.tokens, max_new_tokens=limit)

    def _put(self, arrays: Any, *, by_row: bool = False) -> Any:
        """The arrays on the devices. They are read in place: not to be written to any more."""
        return jax.device_put(
            arrays, self._compiler.by_row if by_row else self._compiler.replicated
        )

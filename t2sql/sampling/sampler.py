"""Batch sampling: groups of prompts in, answers out, on the host's own devices.

Prompts come in groups that share a prefix (one schema, many questions). The prefix
is prefilled once. The rows of the batch are kept busy: as rows finish, prompts of
the same group, or of the next one of the same shape, take their place.
"""

import collections
import dataclasses
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from gemma import gm
import jax
import jax.numpy as jnp
import numpy as np

from t2sql import errors
from t2sql.sampling import cache as cache_lib
from t2sql.sampling import choose
from t2sql.sampling import decode as decode_lib
from t2sql.sampling import programs as programs_lib
from t2sql.sampling import stops as stops_lib

PROMPT_BUCKETS = (32, 64, 128, 256, 384, 512, 768, 1024, 1536, 2048)
# Decode steps between two looks of the host, where a stop string may span tokens.
STEPS_PER_LOOK = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """What decides the text. Two runs with equal values write equal answers.

    Attributes:
      max_new_tokens: tokens of the longest answer.
      temperature: 0 is greedy.
      top_k: keep the k most likely tokens; 0 keeps all.
      top_p: keep the nucleus of this probability; 1 keeps all.
      seed: with an example's id, the key of its draws.
      stop: strings that end an answer.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptGroup:
    """Prompts that are decoded together because they begin alike.

    Attributes:
      prefix: token ids that all of them begin with, [p] int32; may be empty.
      suffixes: the rest of each prompt, at least one token, [s_i] int32.
      sample_ids: a number per prompt for its sampling key, uint32.
      tag: the caller's, handed back with the answers.
    """

    prefix: np.ndarray
    suffixes: tuple[np.ndarray, ...]
    sample_ids: tuple[int, ...]
    tag: Any = None


def sample_id(example_id: str) -> int:
    """A number for an example that does not depend on batch, host or restart (crc32)."""
    return zlib.crc32(example_id.encode())


def group_prompts(
    prompts: Sequence[Sequence[int]], sample_ids: Sequence[int], tag: Any = None
) -> PromptGroup:
    """Splits the longest common beginning off; every prompt keeps one token at least."""
    if not prompts or not all(len(prompt) for prompt in prompts):
        raise ValueError("a group needs at least one prompt, and no empty one")
    first, last = min(prompts), max(prompts)  # lexicographic: these two differ the most
    shared = min(len(prompt) for prompt in prompts) - 1
    for place in range(shared):
        if first[place] != last[place]:
            shared = place
            break
    return PromptGroup(
        prefix=np.asarray(first[:shared], np.int32),
        suffixes=tuple(np.asarray(prompt[shared:], np.int32) for prompt in prompts),
        sample_ids=tuple(sample_ids),
        tag=tag,
    )


def bucket(length: int, buckets: Sequence[int]) -> int:
    """The smallest bucket that holds `length` tokens."""
    for size in buckets:
        if length <= size:
            return size
    raise ValueError(f"{length} tokens exceed the largest bucket, {buckets[-1]}")


@dataclasses.dataclass
class Counters:
    """What a sampler has done; seconds are wall time of this host."""

    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    prompt_tokens: int = 0
    padded_prompt_tokens: int = 0
    output_tokens: int = 0
    decode_steps: int = 0
    decode_row_steps: int = 0


class BatchSampler:
    """Samples from a Gemma model in padded batches of static shape.

    Args:
      model: gemma's transformer.
      params: its parameters, on `mesh`.
      tokenizer: gemma's tokenizer for it.
      mesh: devices of this host, axes `data` and `model`; default: the first device.
      config: what decides the text.
      batch_size: prompts decoded at a time, a multiple of the size of `data`.
      prompt_buckets: lengths that prefix and suffix are padded to, ascending; the
        last one is the longest prompt.
      prefill_tokens: prompt tokens prefilled at a time.

    Raises:
      InputError: batch size and devices, or the values of `config`, do not fit.
    """

    def __init__(
        self,
        *,
        model: gm.nn.Transformer,
        params: Any,
        tokenizer: Any,
        mesh: jax.sharding.Mesh | None = None,
        config: SamplingConfig = SamplingConfig(),
        batch_size: int = 32,
        prompt_buckets: Sequence[int] = PROMPT_BUCKETS,
        prefill_tokens: int = 1024,
    ):
        mesh = mesh or _single_device_mesh()
        _check(config, batch_size, prompt_buckets, mesh)
        self.tokenizer = tokenizer
        self.config = config
        self.batch_size = batch_size
        self.prompt_buckets = tuple(prompt_buckets)
        self.counters = Counters()
        self._params = params
        self._stops = stops_lib.Stops(tokenizer, config.stop)
        vocab_size = model.config.num_embed
        self._compiler = programs_lib.Compiler(
            decode_lib.Decoder(
                model=model,
                rows=batch_size,
                shape=cache_lib.CacheShape(prefix=0, suffix=0, new=config.max_new_tokens),
                choice=choose.Choice(
                    temperature=config.temperature, top_k=config.top_k, top_p=config.top_p
                ),
                seed=config.seed,
                forbidden=tuple(t for t in self._stops.forbidden if t < vocab_size),
            ),
            params,
            mesh=mesh,
            prefill_tokens=prefill_tokens,
        )
        self._ends = jax.device_put(self._stops.table(vocab_size), self._compiler.replicated)

    @property
    def compile_count(self) -> int:
        return self._compiler.count

    @property
    def compile_seconds(self) -> float:
        return self._compiler.seconds

    def fits(self, prompt_tokens: int) -> bool:
        """Whether a prompt of this length can be sampled from at all."""
        return 0 < prompt_tokens <= self.prompt_buckets[-1]

    def shape(self, group: PromptGroup) -> cache_lib.CacheShape:
        """The cache shape that a group is decoded in."""
        return cache_lib.CacheShape(
            prefix=bucket(len(group.prefix), self.prompt_buckets),
            suffix=bucket(max(map(len, group.suffixes)), self.prompt_buckets),
            new=self.config.max_new_tokens,
        )

    def compile(self, shapes: Iterable[cache_lib.CacheShape]) -> None:
        """Compiles ahead; `generate` compiles nothing for these shapes."""
        self._compiler.compile(shapes)

    def generate(
        self,
        groups: Iterable[PromptGroup],
        *,
        on_finished: Callable[[stops_lib.Generation], None] = lambda generation: None,
    ) -> Iterator[tuple[PromptGroup, list[stops_lib.Generation]]]:
        """Yields each group with its answers, in the order of its prompts.

        Groups come out as they finish, which need not be the order they came in.

        Args:
          groups: any number of groups; read one at a time, only when rows are free.
          on_finished: called with each answer as its row finishes.
        """
        lane: _Lane | None = None
        for group in groups:
            shape = self.shape(group)
            if lane is None or lane.shape != shape:
                if lane is not None:
                    yield from lane.drain()
                lane = _Lane(self, shape, on_finished)
            yield from lane.feed(group)
        if lane is not None:
            yield from lane.drain()

    def sample(self, prompt: str | Sequence[str]) -> str | list[str]:
        """Answers one prompt, or several: the article's `sampler.sample`.

        Raises:
          InputError: a prompt is empty or longer than the largest bucket.
        """
        if isinstance(prompt, str):
            return self.sample([prompt])[0]
        tokens = [self.tokenizer.encode(text, add_bos=True) for text in prompt]
        for index, ids in enumerate(tokens):
            if not self.fits(len(ids)):
                raise errors.InputError(
                    f"prompt {index} has {len(ids)} tokens; at most "
                    f"{self.prompt_buckets[-1]} fit (prompt_buckets)"
                )
        group = group_prompts(tokens, [sample_id(text) for text in prompt])
        ((_, generations),) = self.generate([group])
        return [generation.text for generation in generations]


@dataclasses.dataclass
class _Row:
    """A prompt in a row of the batch: its group's answers, and its place among them."""

    group: PromptGroup
    answers: list[stops_lib.Generation | None]
    index: int


class _Lane:
    """A batch of one cache shape, from its first group until it is drained."""

    def __init__(self, sampler: BatchSampler, shape: cache_lib.CacheShape, on_finished):
        self.shape = shape
        self._sampler = sampler
        self._compiler = sampler._compiler
        self._programs = sampler._compiler.get(shape)
        self._on_finished = on_finished
        self._state = self._programs.init()
        self._rows: list[_Row | None] = [None] * sampler.batch_size
        self._stopped = np.zeros(sampler.batch_size, bool)
        steps = STEPS_PER_LOOK if sampler.config.stop else shape.new
        self._max_steps = self._put(np.int32(steps))

    def feed(self, group: PromptGroup) -> Iterator[tuple[PromptGroup, list]]:
        """Prefills a group, decoding as needed to free rows; yields groups that finish."""
        prefix, prefix_length = self._prefill_prefix(group)
        answers: list = [None] * len(group.suffixes)
        waiting = collections.deque(
            _Row(group=group, answers=answers, index=i) for i in range(len(answers))
        )
        while waiting:
            count = min(len(waiting), self._programs.insert_rows)
            yield from self._decode_until(self._sampler.batch_size - count)
            self._insert([waiting.popleft() for _ in range(count)], prefix, prefix_length)

    def drain(self) -> Iterator[tuple[PromptGroup, list]]:
        """Decodes until every row has finished."""
        yield from self._decode_until(0)

    def _decode_until(self, max_active: int) -> Iterator[tuple[PromptGroup, list]]:
        while sum(row is not None for row in self._rows) > max_active:
            self._decode(max_active)
            yield from self._harvest()

    def _prefill_prefix(self, group: PromptGroup):
        start = time.perf_counter()
        tokens = np.zeros((1, self.shape.prefix), np.int32)
        tokens[0, : len(group.prefix)] = group.prefix
        length = self._put(np.int32(len(group.prefix)))
        prefix = self._programs.prefill_prefix(self._sampler._params, self._put(tokens), length)
        counters = self._sampler.counters
        counters.prompt_tokens += len(group.prefix) + sum(map(len, group.suffixes))
        counters.padded_prompt_tokens += self.shape.prefix
        counters.prefill_seconds += time.perf_counter() - start
        return prefix, length

    def _insert(self, rows: list[_Row], prefix, prefix_length) -> None:
        start = time.perf_counter()
        size = self._programs.insert_rows
        free = [place for place, row in enumerate(self._rows) if row is None]
        tokens = np.zeros((size, self.shape.suffix), np.int32)
        lengths = np.zeros(size, np.int32)
        places = np.full(size, len(self._rows), np.int32)  # out of range: dropped
        sample_ids = np.zeros(size, np.uint32)
        for entry, (row, place) in enumerate(zip(rows, free)):
            suffix = row.group.suffixes[row.index]
            tokens[entry, : len(suffix)] = suffix
            lengths[entry], places[entry] = len(suffix), place
            sample_ids[entry] = row.group.sample_ids[row.index]
            self._rows[place] = row
            self._stopped[place] = False
        prompts = decode_lib.Prompts(
            tokens=self._put(tokens, by_row=True),
            lengths=self._put(lengths, by_row=True),
            rows=self._put(places),
            sample_ids=self._put(sample_ids, by_row=True),
        )
        self._state = self._programs.insert(
            self._sampler._params, self._state, prefix, prefix_length, prompts, self._sampler._ends
        )
        jax.block_until_ready(self._state.last_token)
        self._sampler.counters.padded_prompt_tokens += tokens.size
        self._sampler.counters.prefill_seconds += time.perf_counter() - start

    def _decode(self, max_active: int) -> None:
        start = time.perf_counter()
        self._state = self._programs.decode(
            self._sampler._params,
            self._state,
            self._put(self._stopped, by_row=True),
            self._sampler._ends,
            self._put(np.int32(max_active)),
            self._max_steps,
        )
        jax.block_until_ready(self._state.last_token)
        self._sampler.counters.decode_seconds += time.perf_counter() - start

    def _harvest(self) -> Iterator[tuple[PromptGroup, list]]:
        """Takes finished answers off the device and frees their rows."""
        generated, tokens = jax.device_get((self._state.generated, self._state.tokens))
        for place, row in enumerate(self._rows):
            if row is None:
                continue
            generation = self._sampler._stops.generation(
                tokens[place, : generated[place]], max_new_tokens=self.shape.new
            )
            if generation is None:
                continue
            self._rows[place] = None
            self._stopped[place] = True
            row.answers[row.index] = generation
            self._sampler.counters.output_tokens += len(generation.tokens)
            self._on_finished(generation)
            if all(answer is not None for answer in row.answers):
                yield row.group, row.answers

    def _put(self, array: np.ndarray, *, by_row: bool = False) -> jax.Array:
        return jax.device_put(
            array, self._compiler.by_row if by_row else self._compiler.replicated
        )


def _single_device_mesh() -> jax.sharding.Mesh:
    return jax.sharding.Mesh(np.array(jax.local_devices()[:1]).reshape(1, 1), ("data", "model"))


def _check(config: SamplingConfig, batch_size: int, buckets: Sequence[int], mesh) -> None:
    """Refuses values that cannot be sampled with."""
    devices = mesh.shape["data"]
    if batch_size < 1 or batch_size % devices:
        raise errors.InputError(
            f"batch_size is {batch_size}; it has to be a positive multiple of the "
            f"{devices} devices on the mesh's data axis"
        )
    if not buckets or list(buckets) != sorted(set(buckets)) or buckets[0] < 1:
        raise errors.InputError(f"prompt_buckets {tuple(buckets)} are not ascending sizes")
    rules = {
        "max_new_tokens": (config.max_new_tokens >= 1, "at least 1"),
        "temperature": (config.temperature >= 0, "at least 0"),
        "top_k": (config.top_k >= 0, "at least 0"),
        "top_p": (0 < config.top_p <= 1, "above 0 and at most 1"),
        "stop": (all(config.stop), "strings that are not empty"),
    }
    for name, (holds, rule) in rules.items():
        if not holds:
            raise errors.InputError(
                f"sampling.{name} is {getattr(config, name)!r}; it has to be {rule}"
            )

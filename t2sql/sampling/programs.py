"""The compiled programs of a run, built ahead of the loop."""

import functools
import time
from collections.abc import Iterable, Iterator
from concurrent import futures
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from t2sql.model.mesh import DATA_AXIS, MODEL_AXIS
from t2sql.sampling import batch as batch_lib
from t2sql.sampling import beams, constrained, kv_cache, prompt_groups
from t2sql.sampling import decode as decode_lib
from t2sql.sampling import prefill as prefill_lib

# The part of the batch that is filled at a time. Slots wait, idle, until as many are free: with the
# answers of a Spider dev run and 32 slots, filling 8 at a time takes 4 % more steps than filling 4
# (docs/speed.md). Elsewhere a call takes as long for few prompts as for many, and more cost more.
_CPU_PART, _PART = 8, 4
# Tokens below which sizes are not told apart: attending to a few more takes less time than another
# program takes to compile.
_LEAST_PREFIX = 256
_LEAST_SUFFIX = 64
# The ring's length is a multiple of this, as a TPU lays it out anyway.
_RING_STEP = 8
# A program: its name, and the sizes it is compiled for.
Key = tuple[Any, ...]


class Compiler:
    """Builds programs on a mesh and keeps them.

    Each is called by its name and the sizes that it is compiled for (`batch.py`, `prefill.py` and
    `decode.py` say what they do):

        init          shape
        prefix        padded length of the prefix, of its keys and values
        write_prefix  length of the prefix's keys and values, of the prefix cache
        prefill       length of the prefix's keys and values (0 for none), of the prompts' own parts
        insert        length of the prompts' own parts, of the suffixes in the cache
        grow          old shape, new shape
        decode        shape

    Args:
      decoder: the fixed part of decoding.
      params: the model's parameters on the mesh, or their shapes and shardings.
      mesh: a data axis (slots) and a model axis (heads and features).
      batch_size: B, prompts decoded at a time.
      new_tokens: N, tokens of the longest answer.
      prompt_buckets: lengths that prefixes and prompts' own parts are padded to, ascending.
      prefill_tokens: tokens prefilled at a time, besides the prefix, at most.
    """

    def __init__(
        self,
        decoder,
        params,
        *,
        mesh,
        batch_size: int,
        new_tokens: int,
        prompt_buckets,
        prefill_tokens,
    ):
        self.params = params
        self.batch_size = batch_size
        self.prompt_buckets = prompt_buckets
        self._decoder = decoder
        self._mesh = mesh
        self._new_tokens = new_tokens
        self.prefill_tokens = prefill_tokens
        self._programs: dict[Key, Any] = {}
        self.seconds = 0.0

    @property
    def replicated(self) -> NamedSharding:
        return NamedSharding(self._mesh, PartitionSpec())

    @property
    def by_row(self) -> NamedSharding:
        return NamedSharding(self._mesh, PartitionSpec(DATA_AXIS))

    @property
    def count(self) -> int:
        """Programs compiled so far."""
        return len(self._programs)

    def shape_of(self, group: prompt_groups.PromptGroup) -> kv_cache.CacheShape:
        """The smallest cache for a group."""
        return kv_cache.CacheShape(
            prefix=kv_cache.prefix_cache_size(len(group.prefix), self.batch_size),
            suffix=max(_LEAST_SUFFIX, self._bucket(group.longest)),
            new=self._new_tokens,
        )

    def prefix_lengths(self, group: prompt_groups.PromptGroup) -> tuple[int, int]:
        """Padded length of a group's prefix, and of its keys and values; 0 for no prefix."""
        length = self._bucket(len(group.prefix)) if len(group.prefix) else 0
        return length, length and max(_LEAST_PREFIX, length)

    def _bucket(self, length: int) -> int:
        return prompt_groups.bucket(length, self.prompt_buckets)

    def chunks(self, group: prompt_groups.PromptGroup) -> Iterator[tuple[int, list[int]]]:
        """Padded length and indices of the prompts that are prefilled together."""
        return prompt_groups.chunks(group, self.prompt_buckets, self.prompts_at_a_time)

    def prompts_at_a_time(self, length: int) -> int:
        """R, prompts of so many tokens that are prefilled together.

        A part of the batch, and R * length is bounded by a token budget.
        """
        devices = self._mesh.shape[DATA_AXIS]
        within_budget = max(1, self.prefill_tokens // length)
        platform = self._mesh.devices.flat[0].platform
        part = max(1, self.batch_size // (_CPU_PART if platform == "cpu" else _PART))
        return max(devices, min(within_budget, part) // devices * devices)

    def get(self, *key) -> Any:
        """A program, compiled now if `compile` has not been told of a group that needs it."""
        if key not in self._programs:
            self._build([key])
        return self._programs[key]

    def compile(self, groups: Iterable[prompt_groups.PromptGroup]) -> None:
        """Compiles what is missing for groups in this order, several programs at a time."""
        self._build(self.keys(groups))

    def keys(self, groups: Iterable[prompt_groups.PromptGroup]) -> Iterator[Key]:
        """The programs for groups in this order: one a call, `decode` once a group."""
        shape: kv_cache.CacheShape | None = None
        for group in groups:
            if not group.answerable:
                continue
            needed = self.shape_of(group)
            if shape is None:
                shape = needed
                yield "init", shape
            elif shape != shape.union(needed):
                yield "grow", shape, shape.union(needed)
                shape = shape.union(needed)
            prefix, before = self.prefix_lengths(group)
            if prefix:
                yield "prefix", prefix, before
                yield "write_prefix", before, shape.prefix
            for length, _ in self.chunks(group):
                yield "prefill", before, length
                yield "insert", length, shape.suffix
            yield "decode", shape

    def _build(self, keys: Iterable[Key]) -> None:
        start = time.perf_counter()
        missing = [key for key in dict.fromkeys(keys) if key not in self._programs]
        with futures.ThreadPoolExecutor(max_workers=4) as pool:
            self._programs |= zip(missing, pool.map(self._compile, missing), strict=True)
        self.seconds += time.perf_counter() - start

    def lower(self, name: str, *sizes: Any) -> jax.stages.Lowered:
        """A program before it is compiled."""
        # A kernel of our own asks the mesh around it what chip it is for.
        with jax.sharding.use_abstract_mesh(self._mesh.abstract_mesh):
            return getattr(self, f"_{name}")(*sizes)

    def _compile(self, key: Key) -> Any:
        return self.lower(*key).compile()

    def _init(self, shape: kv_cache.CacheShape):
        init = functools.partial(
            batch_lib.init, self._decoder.model, self.batch_size, shape, self._spare
        )
        return jax.jit(init, out_shardings=shardings(self.batch(shape))).lower()

    def _prefix(self, length: int, kept: int):
        prefix = functools.partial(prefill_lib.prefix, self._decoder.model, kept=kept)
        compiled = jax.jit(prefix, out_shardings=shardings(self.kv(1, kept)))
        number = self.array((), jnp.int32)
        return compiled.lower(self.params, self.array((length,), jnp.int32), number)

    def _write_prefix(self, prefix: int, length: int):
        cache, number = self.kv(1, length), self.array((), jnp.int32)
        write = jax.jit(kv_cache.write_prefix, donate_argnums=0, out_shardings=shardings(cache))
        return write.lower(cache, self.kv(1, prefix), number, number)

    def _prefill(self, before: int, length: int):
        rows = self.prompts_at_a_time(length)
        prefill = jax.jit(
            functools.partial(prefill_lib.prefill, self._decoder.model),
            out_shardings=shardings(self.kv(rows, length)),
        )
        return prefill.lower(
            self.params,
            self.array((rows, length), jnp.int32, self.by_row),
            self.array((rows,), jnp.int32, self.by_row),
            self.kv(1, before) if before else None,
            self.array((), jnp.int32),
        )

    def _insert(self, length: int, suffix: int):
        shape = kv_cache.CacheShape(prefix=0, suffix=suffix, new=self._new_tokens)
        _, slots, state = self.batch(shape)
        count = self.prompts_at_a_time(length)
        number = self.array((count,), jnp.int32)
        prompts = batch_lib.Prompts(
            slots=number,
            lengths=number,
            last_token=number,
            prefix_starts=number,
            prefix_lengths=number,
            limits=number,
            sample_ids=self.array((count,), jnp.uint32),
        )
        args = (slots, state, self.kv(count, length), prompts)
        insert = prefill_lib.insert
        if (devices := self._mesh.shape[DATA_AXIS]) > 1:
            specs = jax.tree.map(lambda x: x.sharding.spec, args)
            insert = jax.shard_map(
                functools.partial(prefill_lib.insert_across, devices),
                mesh=self._mesh,
                in_specs=specs,
                out_specs=specs[:2],
                check_vma=False,
            )
        insert = jax.jit(insert, donate_argnums=(0, 1), out_shardings=shardings(args[:2]))
        return insert.lower(*args)

    def _grow(self, old: kv_cache.CacheShape, new: kv_cache.CacheShape):
        grow = jax.jit(
            functools.partial(batch_lib.grow, shape=new),
            out_shardings=shardings(self.batch(new)[:2]),
        )
        return grow.lower(*self.batch(old)[:2])

    def _decode(self, shape: kv_cache.CacheShape):
        if self._decoder.config.beams:
            return self._beams(shape)
        prefix_cache, slots, state = self.batch(shape)
        decoded = batch_lib.Decoded(
            steps=self.replicated,
            counts=self.by_row,
            tokens=self.by_row,
            draws=self.by_row if self.is_scored else None,
        )
        decode = jax.jit(
            functools.partial(decode_lib.decode, self._decoder),
            donate_argnums=(3,),
            out_shardings=(shardings(state), decoded),
        )
        corrections = self.no_corrections()
        if corrections is not None:
            corrections = jax.tree.map(lambda x: self.array(x.shape, x.dtype), corrections)
        stopped = self.array((self.batch_size,), bool, self.by_row)
        ends = self.array((self._decoder.model.config.num_embed,), bool)
        number = self.array((), jnp.int32)
        return decode.lower(
            self.params, prefix_cache, slots, state, stopped, ends, number, corrections
        )

    def _beams(self, shape: kv_cache.CacheShape):
        prefix_cache, slots, state = self.batch(shape)
        feed = jax.tree.map(
            lambda x: self.array(x.shape, x.dtype, self.by_row), beams.Feed.none(*state.fed.shape)
        )
        masks = jax.tree.map(
            lambda x: self.array(x.shape, x.dtype),
            beams.Masks.none(self.batch_size, self._decoder.model.config.num_embed),
        )
        step = jax.jit(
            functools.partial(beams.step, self._decoder),
            donate_argnums=(3,),
            out_shardings=(shardings(state), self.by_row),
        )
        return step.lower(self.params, prefix_cache, slots, state, feed, masks)

    @property
    def _spare(self) -> int:
        """Entries of the ring beyond the longest answer's: `make_room` needs those of a block."""
        if self._decoder.config.beams:
            return beams.spare(self._decoder.config)
        return -(-self.block_steps // _RING_STEP) * _RING_STEP if self.puts_back else 0

    @property
    def is_constrained(self) -> bool:
        return bool(self._decoder.config.constrain)

    @property
    def samples(self) -> int:
        """Answers to each prompt."""
        return self._decoder.config.samples

    @property
    def is_scored(self) -> bool:
        """Whether blocks come with `scores.Draws`."""
        return self._decoder.config.is_scored

    @property
    def puts_back(self) -> bool:
        """Whether slots may be put back: to draw a token again, or for another answer."""
        return self.is_constrained or self.samples > 1

    @property
    def block_steps(self) -> int:
        """K, decode steps of a block at most."""
        return self._decoder.steps

    def no_corrections(self) -> constrained.Corrections | None:
        """What `decode` takes when no slot is put back, in NumPy; None where none ever is."""
        if not self.puts_back:
            return None
        return constrained.Corrections.none(
            self.batch_size, self._decoder.model.config.num_embed, masked=self.is_constrained
        )

    def batch(self, shape: kv_cache.CacheShape):
        """Abstract prefix cache, slots and state: batch over data, heads over model axis."""
        init = functools.partial(
            batch_lib.init, self._decoder.model, self.batch_size, shape, self._spare
        )
        _, slots, state = jax.eval_shape(init)
        placed = jax.tree.map(lambda x: self._placed(x, DATA_AXIS), (slots, state))
        return (self.kv(1, shape.prefix), *placed)

    def kv(self, rows: int, length: int) -> kv_cache.KeysValues:
        """Abstract keys and values: several rows over the data axis, a single one everywhere."""
        init = functools.partial(kv_cache.init_kv, self._decoder.model, rows=rows, length=length)
        axis = DATA_AXIS if rows > 1 else None
        return jax.tree.map(lambda x: self._placed(x, axis), jax.eval_shape(init))

    def _placed(self, x: jax.ShapeDtypeStruct, rows: str | None) -> jax.ShapeDtypeStruct:
        axes = [rows] if x.ndim else []
        if x.ndim == 4:  # [B T K H]
            heads = MODEL_AXIS if x.shape[2] % self._mesh.shape[MODEL_AXIS] == 0 else None
            axes = [rows, None, heads]
        return self.array(x.shape, x.dtype, NamedSharding(self._mesh, PartitionSpec(*axes)))

    def array(self, shape, dtype, sharding=None) -> jax.ShapeDtypeStruct:
        """An abstract array, on every device unless its sharding says otherwise."""
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding or self.replicated)


def shardings(abstract):
    """The shardings of a tree of abstract arrays."""
    return jax.tree.map(lambda x: x.sharding, abstract)

"""The compiled programs of a run, built ahead of the loop."""

import functools
import time
from collections.abc import Iterable, Iterator
from concurrent import futures
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from t2sql.sampling import decode as decode_lib
from t2sql.sampling import kv_cache, prompt_groups

# The part of the rows that is filled at a time. Rows wait, idle, until as many are free: with the
# answers of a Spider dev run and 32 rows, filling 8 at a time takes 4 % more steps than filling 4
# (docs/speed.md). Elsewhere a call takes as long for few prompts as for many, and more cost more.
_CPU_PART, _PART = 8, 4
# Slots below which sizes are not told apart: attending to a few more takes less time than another
# program takes to compile.
_LEAST_PREFIX = 256
_LEAST_SUFFIX = 64
# A program: its name, and the sizes it is compiled for.
Key = tuple[Any, ...]


class Compiler:
    """Builds programs on a mesh and keeps them. See `decode.py` for what they do.

    Each is called by its name and the sizes that it is compiled for:

        init     shape
        prefix   slots of the prefix, slots of its keys and values
        prefill  slots of the keys and values of the prefix (0 for none), own slots
        shelve   slots of the keys and values of the prefix, slots of the shelf
        begin    own slots, those of the cache
        grow     old shape, new shape
        decode   shape

    Args:
      decoder: the fixed part of decoding.
      params: the model's parameters on the mesh, or their shapes and shardings.
      mesh: axes `data` (rows) and `model` (heads and features).
      rows: B, prompts decoded at a time.
      new_tokens: N, tokens of the longest answer.
      prompt_buckets: sizes that prefixes and prompts' own parts are padded to, ascending.
      prefill_tokens: tokens prefilled at a time, besides the prefix, at most.
    """

    decode_programs: tuple[str, ...] = ("decode",)

    def __init__(
        self, decoder, params, *, mesh, rows: int, new_tokens: int, prompt_buckets, prefill_tokens
    ):
        self.params = params
        self.rows = rows
        self.prompt_buckets = prompt_buckets
        self._decoder = decoder
        self._mesh = mesh
        self._new_tokens = new_tokens
        self._prefill_tokens = prefill_tokens
        self._programs: dict[Key, Any] = {}
        self.seconds = 0.0

    @property
    def replicated(self) -> NamedSharding:
        return NamedSharding(self._mesh, PartitionSpec())

    @property
    def by_row(self) -> NamedSharding:
        return NamedSharding(self._mesh, PartitionSpec("data"))

    @property
    def count(self) -> int:
        """Programs compiled so far."""
        return len(self._programs)

    def shape_of(self, group: prompt_groups.PromptGroup) -> kv_cache.CacheShape:
        """The smallest cache for a group."""
        return kv_cache.CacheShape(
            shelf=kv_cache.shelf_slots(len(group.prefix)),
            suffix=max(_LEAST_SUFFIX, self._bucket(group.longest)),
            new=self._new_tokens,
        )

    def prefix_slots(self, group: prompt_groups.PromptGroup) -> tuple[int, int]:
        """What a group's prefix is padded to, and what its keys and values are; 0 for none."""
        slots = self._bucket(len(group.prefix)) if len(group.prefix) else 0
        return slots, slots and max(_LEAST_PREFIX, slots)

    def _bucket(self, length: int) -> int:
        return prompt_groups.bucket(length, self.prompt_buckets)

    def chunks(self, group: prompt_groups.PromptGroup) -> Iterator[tuple[int, list[int]]]:
        """Own slots and places of the prompts that are prefilled together."""
        return prompt_groups.chunks(group, self.prompt_buckets, self.rows_at_a_time)

    def rows_at_a_time(self, slots: int) -> int:
        """R, prompts of so many slots that are prefilled together.

        A part of the rows, and R * slots is bounded by a token budget.
        """
        devices = self._mesh.shape["data"]
        wanted = max(1, self._prefill_tokens // slots)
        platform = self._mesh.devices.flat[0].platform
        most = max(1, self.rows // (_CPU_PART if platform == "cpu" else _PART))
        return max(devices, min(wanted, most) // devices * devices)

    def get(self, *key) -> Any:
        """A program, compiled now if `compile` has not been told of a group that needs it."""
        if key not in self._programs:
            self._build([key])
        return self._programs[key]

    def compile(self, groups: Iterable[prompt_groups.PromptGroup]) -> None:
        """Compiles what is missing for groups in this order, several programs at a time."""
        self._build(self.keys(groups))

    def keys(self, groups: Iterable[prompt_groups.PromptGroup]) -> Iterator[Key]:
        """The programs for groups in this order: one a call, those that decode once a group."""
        shape: kv_cache.CacheShape | None = None
        for group in groups:
            if not group.answerable:
                continue
            wanted = self.shape_of(group)
            if shape is None:
                shape = wanted
                yield "init", shape
            elif shape != shape.union(wanted):
                yield "grow", shape, shape.union(wanted)
                shape = shape.union(wanted)
            prefix, before = self.prefix_slots(group)
            if prefix:
                yield "prefix", prefix, before
                yield "shelve", before, shape.shelf
            for slots, _ in self.chunks(group):
                yield "prefill", before, slots
                yield "begin", slots, shape.suffix
            for name in self.decode_programs:
                yield name, shape

    def _build(self, keys: Iterable[Key]) -> None:
        start = time.perf_counter()
        missing = [key for key in dict.fromkeys(keys) if key not in self._programs]
        with futures.ThreadPoolExecutor(max_workers=4) as pool:
            self._programs |= zip(missing, pool.map(self._compile, missing), strict=True)
        self.seconds += time.perf_counter() - start

    def _compile(self, key: Key) -> Any:
        name, *sizes = key
        return getattr(self, f"_{name}")(*sizes).compile()

    def _init(self, shape: kv_cache.CacheShape):
        init = functools.partial(decode_lib.init, self._decoder.model, self.rows, shape)
        return jax.jit(init, out_shardings=shardings(self.batch(shape))).lower()

    def _prefix(self, slots: int, kept: int):
        prefix = functools.partial(decode_lib.prefix, self._decoder.model, kept=kept)
        compiled = jax.jit(prefix, out_shardings=shardings(self.kv(1, kept)))
        number = self.array((), jnp.int32)
        return compiled.lower(self.params, self.array((slots,), jnp.int32), number)

    def _prefill(self, before: int, slots: int):
        rows = self.rows_at_a_time(slots)
        prefill = jax.jit(
            functools.partial(decode_lib.prefill, self._decoder.model),
            out_shardings=shardings(self.kv(rows, slots)),
        )
        return prefill.lower(
            self.params,
            self.array((rows, slots), jnp.int32, self.by_row),
            self.array((rows,), jnp.int32, self.by_row),
            self.kv(1, before) if before else None,
            self.array((), jnp.int32),
        )

    def _shelve(self, prefix: int, slots: int):
        shelf, number = self.kv(1, slots), self.array((), jnp.int32)
        shelve = jax.jit(kv_cache.write_shelf, donate_argnums=0, out_shardings=shardings(shelf))
        return shelve.lower(shelf, self.kv(1, prefix), number, number)

    def _begin(self, slots: int, suffix: int):
        shape = kv_cache.CacheShape(shelf=0, suffix=suffix, new=self._new_tokens)
        _, rows, answers = self.batch(shape)
        count = self.rows_at_a_time(slots)
        number = self.array((count,), jnp.int32)
        prompts = decode_lib.Prompts(
            rows=number,
            lengths=number,
            last_token=number,
            prefix_starts=number,
            prefix_lengths=number,
            limits=number,
            sample_ids=self.array((count,), jnp.uint32),
        )
        args = (rows, answers, self.kv(count, slots), prompts)
        begin = jax.jit(
            self._begin_on_mesh(args), donate_argnums=(0, 1), out_shardings=shardings(args[:2])
        )
        return begin.lower(*args)

    def _begin_on_mesh(self, args):
        """`begin`, where the mesh has one row of devices or several."""
        devices = self._mesh.shape["data"]
        if devices == 1:
            return decode_lib.begin
        specs = jax.tree.map(lambda x: x.sharding.spec, args)
        begin = functools.partial(decode_lib.begin_across, devices)
        return jax.shard_map(
            begin, mesh=self._mesh, in_specs=specs, out_specs=specs[:2], check_vma=False
        )

    def _grow(self, old: kv_cache.CacheShape, new: kv_cache.CacheShape):
        grow = jax.jit(
            functools.partial(decode_lib.grow, shape=new),
            out_shardings=shardings(self.batch(new)[:2]),
        )
        return grow.lower(*self.batch(old)[:2])

    def _decode(self, shape: kv_cache.CacheShape):
        shelf, rows, answers = self.batch(shape)
        decode = jax.jit(
            functools.partial(decode_lib.decode, self._decoder),
            donate_argnums=(3,),
            out_shardings=shardings(answers),
        )
        stopped = self.array((self.rows,), bool, self.by_row)
        ends = self.array((self._decoder.model.config.num_embed,), bool)
        number = self.array((), jnp.int32)
        return decode.lower(self.params, shelf, rows, answers, stopped, ends, number, number)

    def batch(self, shape: kv_cache.CacheShape):
        """Abstract shelf, rows and answers: rows over `data`, heads over `model`."""
        init = functools.partial(decode_lib.init, self._decoder.model, self.rows, shape)
        _, rows, answers = jax.eval_shape(init)
        placed = jax.tree.map(lambda x: self._placed(x, "data"), (rows, answers))
        return (self.kv(1, shape.shelf), *placed)

    def kv(self, rows: int, slots: int) -> kv_cache.KeysValues:
        """Abstract keys and values: those of one row everywhere, else rows over `data`."""
        init = functools.partial(kv_cache.init_kv, self._decoder.model, rows=rows, slots=slots)
        axis = "data" if rows > 1 else None
        return jax.tree.map(lambda x: self._placed(x, axis), jax.eval_shape(init))

    def _placed(self, x: jax.ShapeDtypeStruct, rows: str | None) -> jax.ShapeDtypeStruct:
        axes = [rows] if x.ndim else []
        if x.ndim == 4:  # [rows slots K H]
            heads = "model" if x.shape[2] % self._mesh.shape["model"] == 0 else None
            axes = [rows, None, heads]
        return self.array(x.shape, x.dtype, NamedSharding(self._mesh, PartitionSpec(*axes)))

    def array(self, shape, dtype, sharding=None) -> jax.ShapeDtypeStruct:
        """An abstract array, on every device unless its sharding says otherwise."""
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding or self.replicated)


def shardings(abstract):
    """The shardings of a tree of abstract arrays."""
    return jax.tree.map(lambda x: x.sharding, abstract)

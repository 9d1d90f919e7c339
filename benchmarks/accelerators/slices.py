"""Which models fit the chips of one host, and how many chips have to share a copy of the weights.

    python -m benchmarks.accelerators.slices [--compile] [--targets=v5e] [--models=gemma3_12b]

Prints the table of docs/tpu.md. For each model and chip the fewest devices
(`config.model.parallel`) whose memory holds weights, cache and working memory of 64 prompts a copy:
weights and cache from their shapes; working memory from the compiled decode and prefill programs
with --compile, which takes a minute or two for each model and chip, and without it a tenth of the
memory.
"""

import datetime
import pathlib
import warnings
from typing import Any

from absl import flags, logging

from benchmarks.accelerators import targets
from t2sql import errors
from t2sql.runtime import cli

_MODELS = ("gemma3_270m", "gemma3_1b", "gemma3_4b", "gemma3_12b", "gemma3_27b")
_TARGETS = flags.DEFINE_list("targets", ["v5e", "v6e", "v4", "v5p", "h200"], "Chips.")
_CHOSEN = flags.DEFINE_list("models", list(_MODELS), "Names of models.")
_ROWS = flags.DEFINE_integer("rows", 64, "Prompts at a time on a copy of the weights.")
_COMPILE = flags.DEFINE_bool("compile", False, "Compile decode and prefill for each.")
_COMPILERS = flags.DEFINE_string("compilers", str(targets.COMPILERS), "Where the compilers are.")

_WORKING_SHARE = 0.1
_PARALLEL = (1, 2, 4, 8)


def main(argv: list[str]) -> None:
    del argv
    chips = [targets.find(name) for name in _TARGETS.value]
    targets.use_compilers(pathlib.Path(_COMPILERS.value))
    warnings.simplefilter("ignore")
    how = "compiled" if _COMPILE.value else "by the shapes of weights and cache"
    today = datetime.date.today().isoformat()
    print(f"{how}, {_ROWS.value} prompts a copy, printed {today}\n")
    print("| model | bf16 weights | " + " | ".join(chip.name for chip in chips) + " |")
    print("| --- | --- |" + " --- |" * len(chips))
    for model in _CHOSEN.value:
        cells = [_least_parallel(chip, model) for chip in chips]
        weights = next(size for size, _ in cells if size)
        print(f"| {model} | {weights / 1e9:.1f} GB | " + " | ".join(c for _, c in cells) + " |")


def _least_parallel(chip: targets.Target, model: str) -> tuple[int, str]:
    """Bytes of all weights; and how many devices share a copy, with what one of them holds."""
    from benchmarks.accelerators import programs  # after the compilers are on the path
    from t2sql.sampling import memory

    total = 0
    for parallel in _PARALLEL:
        case = programs.Case(target=chip, model=model, parallel=parallel, rows=_ROWS.value)
        try:
            made = programs.Programs(case)
        except errors.InputError:  # no host has as many devices
            break
        total = total or memory.device_bytes(made.params)
        held = memory.device_bytes((made.params, made.compiler.batch(programs.SHAPE)))
        if held > (programs.USABLE - _WORKING_SHARE) * chip.memory:
            continue
        if _COMPILE.value:
            needed = _compiled_bytes(programs, made)
            if needed is None or needed > programs.USABLE * chip.memory:
                continue
            held = needed
        return total, f"`parallel={parallel}`, {held / 1e9:.1f} of {chip.memory / 1e9:.1f} GB"
    return total, "no host holds it"


def _compiled_bytes(programs: Any, made: Any) -> int | None:
    """Arguments and working memory of decode or prefill; None where one does not compile."""
    lowering = made.all()
    figures = [programs.measure_one(made, name, lowering[name]) for name in ("decode", "prefill")]
    if not all(one.compiles for one in figures):
        return None
    return max(one.argument_bytes + one.temporary_bytes for one in figures)


if __name__ == "__main__":
    logging.set_verbosity(logging.WARNING)
    cli.run(main)

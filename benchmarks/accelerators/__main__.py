"""What the programs of a run need on chips that are not at hand: XLA's own compilers tell.

    benchmarks/compilers_setup.sh
    python -m benchmarks.accelerators --targets=v5e,h200 --models=gemma3_270m --output=FILE

No device is needed and none is used. For each program: whether it compiles and fits the chip's
memory; bytes to and from HBM in a decode step against the least (weights and cache once); the
kernels or fusions that it launches; relayouts over 1 MB by source line; exchanges between
devices; and the least time that the chip's figures allow, with what bounds it. The loop of
`gm.text.Sampler` over the same rows stands beside it. What has to be measured on a card, such as
autotuning, falls back to the compiler's defaults.
"""

import dataclasses
import json
import pathlib

import rich.console
import rich.table
from absl import flags, logging

from benchmarks.accelerators import targets
from t2sql import errors
from t2sql.runtime import cli

_TARGETS = flags.DEFINE_list("targets", ["v5e", "v6e", "h200"], "Chips to compile for.")
_MODELS = flags.DEFINE_list("models", ["gemma3_270m"], "Names of models.")
_PARALLEL = flags.DEFINE_integer("parallel", 1, "Devices that share one copy of the weights.")
_DEVICES = flags.DEFINE_integer("data", 1, "Copies of the weights on the host.")
_LAYERS = flags.DEFINE_integer("layers", 0, "Only so many layers, to compile in seconds; 0: all.")
_ROWS = flags.DEFINE_integer("rows", 0, "Prompts at a time; 0: 64 on a TPU chip, 128 on a GPU.")
_DTYPE = flags.DEFINE_string("dtype", "bfloat16", "Of weights and computation.")
_PROGRAMS = flags.DEFINE_list("programs", [], "Some programs only, such as decode; default: all.")
_COMPILERS = flags.DEFINE_string("compilers", str(targets.COMPILERS), "Where the compilers are.")
_HLO = flags.DEFINE_string("hlo", "", "Folder to keep the optimised HLO in; empty for none.")
_OUTPUT = flags.DEFINE_string("output", "", "JSON file for the figures.")


def main(argv: list[str]) -> None:
    del argv
    chips = [targets.find(name) for name in _TARGETS.value]
    targets.use_compilers(pathlib.Path(_COMPILERS.value))
    from benchmarks.accelerators import programs  # gemma takes seconds to import

    console = rich.console.Console(width=150)
    table = _table()
    rows = []
    for chip in chips:
        for model in _MODELS.value:
            case = programs.Case(
                target=chip,
                model=model,
                parallel=_PARALLEL.value,
                data=_DEVICES.value,
                layers=_LAYERS.value,
                rows=_ROWS.value or chip.rows,
                dtype=_DTYPE.value,
            )
            keep = pathlib.Path(_HLO.value) if _HLO.value else None
            for figures in programs.measure(case, _PROGRAMS.value, keep):
                rows.append(dataclasses.asdict(figures))
                _add(table, figures)
                console.print(f"{chip.name} {model} {figures.program}: done", style="dim")
    console.print(table)
    _print_copies(rows, console)
    if _OUTPUT.value:
        try:
            pathlib.Path(_OUTPUT.value).write_text(json.dumps(rows, indent=1) + "\n")
        except OSError as error:
            raise errors.InputError(f"--output={_OUTPUT.value}: {error.strerror}") from error


def _table() -> rich.table.Table:
    table = rich.table.Table(title="One step (decode) or call, on one device")
    for heading in ("target", "model", "program"):
        table.add_column(heading)
    headings = (
        "devices rows compile_s arguments_GB temporary_GB fits GFLOP HBM_GB of_least launches "
        "exchanges least_ms"
    )
    for heading in headings.split():
        table.add_column(heading.replace("_", " "), justify="right")
    table.add_column("bound by")
    return table


def _add(table: rich.table.Table, figures) -> None:
    start = figures.target, figures.model, figures.program, f"{figures.data} x {figures.parallel}"
    if not figures.compiles:
        table.add_row(*start, str(figures.rows), f"[red]{figures.error}")
        return
    least = figures.least_bytes
    table.add_row(
        *start,
        str(figures.rows),
        f"{figures.compile_seconds:.0f}",
        f"{figures.argument_bytes / 1e9:.2f}",
        f"{figures.temporary_bytes / 1e9:.2f}",
        "yes" if figures.fits else "[red]no",
        f"{figures.flops / 1e9:.1f}",
        f"{figures.step_bytes / 1e9:.2f}",
        f"{figures.step_bytes / least:.2f}" if least else "",
        str(figures.launches),
        str(len(figures.collectives)),
        f"{1e3 * figures.seconds:.3f}",
        figures.bound,
    )


def _print_copies(rows: list[dict], console: rich.console.Console) -> None:
    for row in rows:
        for size, opcode, source in row["copies"]:
            console.print(
                f"{row['target']} {row['model']} {row['program']}: {opcode} of "
                f"{size / 1e6:.0f} MB at {source or 'no line of ours'}",
                highlight=False,
            )


if __name__ == "__main__":
    logging.set_verbosity(logging.WARNING)
    cli.run(main)

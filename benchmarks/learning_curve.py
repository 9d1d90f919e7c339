"""How a training went: loss by step, and execution accuracy on its held-out databases.

python -m benchmarks.learning_curve --training=runs/ten,runs/twenty --plot=curve.png

Several trainings are drawn side by side, under the names of their folders.
"""

import itertools
import json
import pathlib

from absl import flags

from t2sql import errors
from t2sql.runtime import cli

_TRAINING = flags.DEFINE_list("training", None, "Outputs of t2sql.train.", required=True)
_PLOT = flags.DEFINE_string("plot", None, "PNG file for the plot.", required=True)

_SMOOTHING = 0.95


def _read(path: pathlib.Path) -> list[dict]:
    if not path.is_file():
        raise errors.InputError(f"--training: {path} is missing")
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except ValueError as error:
        raise errors.InputError(f"--training: {path} is damaged: {error}") from error


def _with_tokens(lines: list[dict]) -> list[dict]:
    """The lines, each with `read`: the tokens read so far, in millions."""
    read = itertools.accumulate(line.get("tokens", 0) / 1e6 for line in lines)
    return [line | {"read": millions} for line, millions in zip(lines, read, strict=True)]


def _smoothed(values: list[float]) -> list[float]:
    """The running mean, weighted towards the newest, unbiased at the beginning (as Adam's)."""
    mean, smoothed = 0.0, []
    for count, value in enumerate(values, start=1):
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * value
        smoothed.append(mean / (1 - _SMOOTHING**count))
    return smoothed


def main(argv) -> None:
    del argv
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.2))
    for number, folder in enumerate(map(pathlib.Path, _TRAINING.value)):
        lines = _with_tokens(_read(folder / "metrics.jsonl"))
        learnt = [line for line in lines if "loss" in line]
        judged = [line for line in lines if "held_out_execution" in line]
        losses = _smoothed([line["loss"] for line in learnt])
        left.semilogy([line["read"] for line in learnt], losses, label=folder.name)
        for name, marker in (("execution", "o"), ("exact_match", "x")):
            shares = [100 * line[f"held_out_{name}"] for line in judged]
            read = [line["read"] for line in judged]
            right.plot(read, shares, marker=marker, color=f"C{number}")
    left.set_ylabel("loss (nats per token of SQL)")
    left.legend(frameon=False)
    right.set_ylabel("% of held-out questions")
    right.set_title("o execution, x exact match", fontsize="medium", loc="left")
    right.set_ylim(0, 100)
    for panel in (left, right):
        panel.set_xlabel("million tokens read")
        panel.set_xlim(left=0)
        panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    try:
        figure.savefig(_PLOT.value, dpi=144)
    except (OSError, ValueError) as error:
        raise errors.InputError(f"--plot={_PLOT.value} cannot be written: {error}") from error


if __name__ == "__main__":
    cli.run(main)

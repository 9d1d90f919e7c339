"""How a training went: loss by step, and execution accuracy on its held-out databases.

python -m benchmarks.learning_curve --training=runs/lora,runs/lora2 --plot=curve.png

Of several trainings each went on with the adapter of the one before.
"""

import json
import pathlib

from absl import flags

from t2sql import cli, errors

_TRAINING = flags.DEFINE_list("training", None, "Outputs of t2sql.train.", required=True)
_PLOT = flags.DEFINE_string("plot", None, "PNG file for the plot.", required=True)

_SMOOTHING = 0.95


def _read(path: pathlib.Path) -> list[dict]:
    if not path.is_file():
        raise errors.InputError(f"--training: {path} is missing")
    return [json.loads(line) for line in path.read_text().splitlines()]


def _read_all(folders: list[str]) -> list[dict]:
    """The lines of all metrics, each with `read`: the tokens read so far, in millions."""
    lines, read = [], 0.0
    for folder in folders:
        for line in _read(pathlib.Path(folder) / "metrics.jsonl"):
            read += line.get("tokens", 0) / 1e6
            lines.append(line | {"read": read})
    return lines


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

    lines = _read_all(_TRAINING.value)
    learnt = [line for line in lines if "loss" in line]
    judged = [line for line in lines if "held_out_execution" in line]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.2))
    left.plot([line["read"] for line in learnt], _smoothed([line["loss"] for line in learnt]))
    left.set_ylabel("loss (nats per token of SQL)")
    read = [line["read"] for line in judged]
    for name in ("execution", "exact_match", "valid"):
        shares = [100 * line[f"held_out_{name}"] for line in judged]
        right.plot(read, shares, marker="o", label=name.replace("_", " "))
    right.set_ylabel("% of held-out questions")
    right.set_ylim(0, 100)
    right.legend(frameon=False)
    for panel in (left, right):
        panel.set_xlabel("million tokens read")
        panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(_PLOT.value, dpi=144)


if __name__ == "__main__":
    cli.run(main)

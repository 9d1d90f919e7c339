"""The metrics of a training: lines of progress, TensorBoard, and a file of numbers."""

import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import rich.console
import tensorboardX

from t2sql.training import step as step_lib
from t2sql.training import validation

SECONDS_PER_LINE = 30.0
# The time left is estimated from the last steps, this many.
_RECENT = 50


class Writer:
    """Writes each step's metrics to `output` and, now and then, a line to the console.

    Args:
      output: folder. One JSON object a step goes to `metrics.jsonl` in it, and TensorBoard's
        files to `tensorboard`.
      console: where to print.
      done: steps done before. Lines of later steps, done after the checkpoint, are removed.
      total: steps of the whole training.
    """

    def __init__(self, output: Path, console: rich.console.Console, *, done: int, total: int):
        self._console = console
        self._total = total
        path = output / "metrics.jsonl"
        _keep_steps(path, done)
        self._file = path.open("a")
        self._board = tensorboardX.SummaryWriter(str(output / "tensorboard"))
        self._last_line = -SECONDS_PER_LINE
        self._times = [time.monotonic()]

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        self._board.close()

    def step(
        self, step: int, metrics: step_lib.Metrics, learning_rate: float, batch: step_lib.Batch
    ) -> None:
        """Writes the metrics of one step.

        Args:
          step: its number, from 1.
          metrics: on the host.
          learning_rate: of the step.
          batch: of the step.
        """
        self._times = [*self._times[-_RECENT:], time.monotonic()]
        seconds = self._times[-1] - self._times[-2]
        values = {
            "loss": float(metrics.loss),
            "gradient_norm": float(metrics.gradient_norm),
            "learning_rate": learning_rate,
            "tokens": int(np.count_nonzero(batch.segments)),
            "seconds": round(seconds, 3),
        }
        self._write(step, values)
        if self._times[-1] - self._last_line > SECONDS_PER_LINE:
            self._last_line = self._times[-1]
            self._console.print(self._line(step, values), highlight=False)

    def validation(self, step: int, score: validation.Score) -> None:
        """Writes the score after a step."""
        values = dataclasses.asdict(score)
        self._write(step, {f"held_out_{name}": value for name, value in values.items()})
        self._console.print(
            f"step {step}/{self._total}  held out: execution {score.execution:.1%}, "
            f"exact match {score.exact_match:.1%}, valid {score.valid:.1%} of {score.questions}",
            highlight=False,
        )
        self._times = [time.monotonic()]

    def _write(self, step: int, values: dict[str, float]) -> None:
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def _line(self, step: int, values: dict[str, float]) -> str:
        per_step = (self._times[-1] - self._times[0]) / (len(self._times) - 1)
        left = per_step * (self._total - step) / 60
        return (
            f"step {step}/{self._total}  loss {values['loss']:.4f}  "
            f"learning rate {values['learning_rate']:.2e}  {per_step:.1f} s/step  "
            f"{values['tokens'] / per_step:.0f} tokens/s  {left:.0f} min left"
        )


def _keep_steps(path: Path, done: int) -> None:
    if path.exists():
        lines = path.read_text().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        path.write_text("".join(line for line in whole if json.loads(line)["step"] <= done))

"""What a training says of itself: lines of progress, TensorBoard, and a file of numbers."""

import json
import time
from pathlib import Path

import numpy as np
import rich.console
import tensorboardX

from t2sql.training import step as step_lib

SECONDS_PER_LINE = 30.0
# Time left is told by the speed of so many steps.
_RECENT = 50


class Writer:
    """Writes each step's metrics to `output` and, now and then, a line to the console.

    Args:
      output: folder; TensorBoard's files go to `tensorboard` in it, and one JSON object a
        step to `metrics.jsonl`.
      console: where to print.
      total: steps of the whole training.
    """

    def __init__(self, output: Path, console: rich.console.Console, *, total: int):
        self._console = console
        self._total = total
        self._file = (output / "metrics.jsonl").open("a")
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
        """Notes one step.

        Args:
          step: its number, from 1.
          metrics: on the host.
          learning_rate: that it was done with.
          batch: what it was done on.
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
        self.note(step, values)
        if self._times[-1] - self._last_line > SECONDS_PER_LINE:
            self._last_line = self._times[-1]
            self._console.print(self._line(step, values), highlight=False)

    def note(self, step: int, values: dict[str, float]) -> None:
        """Notes numbers of a step."""
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

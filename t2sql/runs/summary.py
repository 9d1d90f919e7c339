"""What a run prints about its rows and its time."""

import collections
import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence

import ml_collections
import rich.console
import rich.table
import rich.text

from t2sql.runs import manifest
from t2sql.runs.predictions import Prediction
from t2sql.runtime.progress import counted
from t2sql.runtime.statuses import PROMPT_TOO_LONG

STAGES = ("data", "load", "compile", "prefill", "decode", "choose", "write")


@dataclasses.dataclass
class Totals:
    """What this host has done in this call.

    Attributes:
      statuses: rows by status.
      output_tokens: tokens generated.
      counters: the sampler's own, None if it was not needed.
    """

    statuses: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    output_tokens: int = 0
    counters: object | None = None

    def add(self, rows: Sequence[Prediction]) -> None:
        self.statuses.update(row.status for row in rows)
        self.output_tokens += sum(row.output_tokens for row in rows)


class Stopwatch:
    """Seconds of wall time by stage of a job."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def time(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def show_predictions(rows: Sequence[Prediction], console: rich.console.Console) -> None:
    """Prints question, gold and prediction of each row, in the order of the data."""
    for row in sorted(rows, key=lambda row: (len(row.example_id), row.example_id)):
        console.print(rich.text.Text(f"\n{row.example_id}  {row.db_id}", style="bold"))
        for label, text in (
            ("question", row.question),
            ("gold", row.gold if row.gold is not None else "(none given)"),
            ("predicted", row.sql or f"(no SQL: {row.status})"),
        ):
            line = rich.text.Text(f"  {label:<10}", style="dim")
            line.append(_printable(" ".join(text.split())), style="not dim")
            console.print(line)


def _printable(text: str) -> str:
    """The text without what a terminal would obey, such as the beginning of an escape sequence."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def print_summary(
    totals: Totals,
    run: manifest.Run,
    complete: bool,
    config: ml_collections.ConfigDict,
    seconds: dict[str, float],
    console: rich.console.Console,
) -> None:
    """Prints examples by status, padding, time by stage, and where the output is."""
    table = rich.table.Table(box=None, show_header=False, padding=(0, 2))
    total = sum(totals.statuses.values())
    statuses = ", ".join(f"{count} {status}" for status, count in totals.statuses.most_common())
    rest = ", all done before" if run.units else ""
    table.add_row("examples", f"{total}" + (f" ({statuses})" if statuses else rest))
    if totals.counters and totals.counters.padded_prompt_tokens:
        table.add_row("speed", _speed(total, totals))
        table.add_row("padding", _padding(totals.counters))
    if totals.counters:
        seconds = seconds | {
            "prefill": totals.counters.prefill_seconds,
            "decode": totals.counters.decode_seconds,
        }
    table.add_row("time", _times(seconds))
    table.add_row("output", config.output)
    console.print()
    console.print(table)
    if too_long := totals.statuses[PROMPT_TOO_LONG]:
        console.print(
            f"Without an answer: {counted(too_long, 'prompt')} of more than "
            f"{config.prompt_buckets[-1]:,} tokens, the largest of --config.prompt_buckets. A run "
            "with a larger one, in another --config.output, answers them.",
            highlight=False,
        )
    if run.taken:
        console.print(
            f"Computed twice: another process wrote {counted(len(run.taken), 'unit')} while "
            "this one computed them. Is this run launched twice, or are several processes the same "
            "host? Each has to say 'process i of k' with its own i.",
            highlight=False,
        )
    if not complete:
        missing = len(run.units) - len(run.finished())
        what = f"not there yet: {missing} of {len(run.units)}" if missing else "broken, see above"
        console.print(
            f"Units that are {what}. Another host is still at work, or the same command is to be "
            "run again.",
            highlight=False,
        )


def _speed(total: int, totals: Totals) -> str:
    seconds = totals.counters.prefill_seconds + totals.counters.decode_seconds
    return (
        f"{total / max(seconds, 1e-9):.2f} examples/s, "
        f"{totals.output_tokens / max(seconds, 1e-9):.0f} output tokens/s"
    )


def _padding(counters) -> str:
    share = 1 - counters.computed_prompt_tokens / max(counters.padded_prompt_tokens, 1)
    return (
        f"{share:.0%} of prefill; of {counters.prompt_tokens} prompt tokens "
        f"{counters.computed_prompt_tokens} were computed, the others shared"
    )


def _times(seconds: dict[str, float]) -> str:
    return ", ".join(f"{stage} {seconds[stage]:.1f} s" for stage in STAGES if stage in seconds)

"""Progress of a run: a live line on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import rich.console
import rich.progress

SECONDS_PER_LINE = 10.0
# The first answers come late, after the prompts of a whole batch: until a tenth is there, no
# time left is shown (a run of 100 s would begin with "931 s left").
SHARE_TO_JUDGE_BY = 0.1


def counted(number: int, noun: str) -> str:
    """A number of things, such as "1 unit" or "1,034 units"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class Progress:
    """Counts finished examples and shows how fast they come.

    Args:
      total: examples this host has to do.
      console: where to print.
    """

    def __init__(self, total: int, console: rich.console.Console):
        self._console = console
        self._total = total
        self._examples = 0
        self._tokens = 0
        self._printed = 0
        self._started = self._last_line = time.monotonic()
        self._bar = rich.progress.Progress(
            "{task.description}",
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            "examples",
            "{task.fields[rates]}",
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("predicting", total=total, rates="")

    @contextmanager
    def shown(self) -> Iterator["Progress"]:
        with self._bar:
            yield self
        if not self._console.is_terminal and self._examples > self._printed:
            self._print_line()

    def advance(self, output_tokens: int) -> None:
        """Counts one finished example."""
        self._examples += 1
        self._tokens += output_tokens
        self._bar.update(self._task, advance=1, rates=self._rates())
        if not self._console.is_terminal and time.monotonic() - self._last_line > SECONDS_PER_LINE:
            self._print_line()

    def _print_line(self) -> None:
        self._last_line, self._printed = time.monotonic(), self._examples
        self._console.print(
            f"{self._examples}/{self._total} examples  {self._rates()}", highlight=False
        )

    def _rates(self) -> str:
        seconds = max(time.monotonic() - self._started, 1e-9)
        rate = self._examples / seconds
        rates = f"{rate:.2f} examples/s  {self._tokens / seconds:.0f} tokens/s"
        if self._examples < self._total * SHARE_TO_JUDGE_BY:
            return rates
        return f"{rates}  {(self._total - self._examples) / rate:.0f} s left"


class Console(rich.console.Console):
    """rich's, which would end the process where the output's reader has gone."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def make_console() -> Console:
    """Standard output, wide enough elsewhere than on a terminal not to wrap lines."""
    width = None if sys.stdout.isatty() else 200
    return Console(file=sys.stdout, width=width, soft_wrap=not sys.stdout.isatty())


def track[T](items: Collection[T], console: rich.console.Console, doing: str) -> Iterator[T]:
    """Yields the items, and says how many are done where they take more than a second.

    Args:
      items: what is worked through.
      console: a bar that goes when it is full on a terminal, a line now and then elsewhere.
      doing: what is done with them, as "planning epochs".
    """
    bar = rich.progress.Progress(console=console, transient=True, disable=not console.is_terminal)
    next_line = time.monotonic() + 1
    with bar:
        task = bar.add_task(doing, total=len(items))
        for done, item in enumerate(items):
            if not console.is_terminal and time.monotonic() > next_line:
                next_line = time.monotonic() + SECONDS_PER_LINE
                console.print(f"{doing}: {done} of {len(items)}", highlight=False)
            yield item
            bar.advance(task)

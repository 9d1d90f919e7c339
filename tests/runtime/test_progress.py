"""Progress: a live line on a terminal, plain lines elsewhere."""

import io
import re
import types

import pytest
import rich.console

from t2sql.runtime import progress

RATES = r"[0-9.]+ examples/s  \d+ tokens/s"


class Clock:
    """`time.monotonic`, moved by hand."""

    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr(progress, "time", types.SimpleNamespace(monotonic=fake))
    return fake


def _shown(clock, seconds: list[float], *, total: int, terminal: bool = False) -> str:
    """What is shown when an example of 10 tokens ends after each of these `seconds`."""
    console = rich.console.Console(file=io.StringIO(), width=120, force_terminal=terminal)
    with progress.Progress(total, console).shown() as shown:
        for pause in seconds:
            clock.now += pause
            shown.advance(10)
    return console.file.getvalue()


def test_a_plain_line_every_ten_seconds_and_at_the_end(clock):
    lines = _shown(clock, [4.0] * 8, total=8).splitlines()
    assert [line.split()[0] for line in lines] == ["3/8", "6/8", "8/8"]
    assert lines[0] == "3/8 examples  0.25 examples/s  2 tokens/s  20 s left"
    assert lines[-1] == "8/8 examples  0.25 examples/s  2 tokens/s  0 s left"


def test_the_first_answers_tell_no_time_left(clock):
    first, *_, last = _shown(clock, [20.0] + [1.0] * 29, total=30).splitlines()
    assert first == "1/30 examples  0.05 examples/s  0 tokens/s"
    assert last.endswith("  0 s left")


def test_a_terminal_has_one_line_that_changes(clock):
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", _shown(clock, [1.0] * 4, total=4, terminal=True))
    line = re.split(r"[\r\n]+", shown.strip())[-1]
    assert re.fullmatch(rf"predicting .*4/4 examples {RATES}  0 s left\s*", line)
    assert "\n4/4" not in shown


def test_nothing_done_says_nothing(clock):
    assert _shown(clock, [], total=4) == ""


@pytest.mark.parametrize(("number", "said"), [(0, "0 units"), (1, "1 unit"), (1034, "1,034 units")])
def test_one_of_a_kind_is_no_plural(number, said):
    assert progress.counted(number, "unit") == said


@pytest.mark.parametrize(("pause", "done"), [(0.2, []), (1.1, [1]), (11.0, [1, 2, 3])])
def test_work_of_more_than_a_second_says_how_far_it_is(clock, pause, done):
    console = rich.console.Console(file=io.StringIO(), width=120)
    for _ in progress.track(range(4), console, "planning"):
        clock.now += pause
    assert console.file.getvalue().splitlines() == [f"planning: {count} of 4" for count in done]


def test_tracked_work_leaves_a_terminal_as_it_was():
    console = rich.console.Console(file=io.StringIO(), width=120, force_terminal=True)
    assert list(progress.track(["a", "b"], console, "planning")) == ["a", "b"]
    shown = console.file.getvalue()
    assert "planning" in shown
    assert shown.endswith("\x1b[2K")  # the bar's line is erased

"""What a run prints about its rows."""

import io

import rich.console

from t2sql.runs import summary
from t2sql.runs.predictions import Prediction


def _row(example_id: str, **values) -> Prediction:
    fields = {"db_id": "shop", "question": "How\nmany?", "gold": None, "text": "", "sql": ""}
    fields |= {"status": "max_tokens", "prompt_tokens": 9, "output_tokens": 1}
    return Prediction(example_id=example_id, **fields | values)


def _shown(*rows: Prediction) -> str:
    console = rich.console.Console(file=io.StringIO(), width=200)
    summary.show_predictions(rows, console)
    return console.file.getvalue()


def test_predictions_are_shown_in_the_order_of_the_data():
    shown = _shown(*map(_row, ("dev/10000", "dev/0007", "dev/9999", "dev/0001")))
    titles = [line.split()[0] for line in shown.splitlines() if line.startswith("dev/")]
    assert titles == ["dev/0001", "dev/0007", "dev/9999", "dev/10000"]


def test_what_is_not_there_is_said_and_markup_is_text():
    shown = _shown(_row("dev/0001"), _row("dev/0002", gold="SELECT [a]", sql="SELECT [red]x[/red]"))
    for part in ("How many?", "(none given)", "(no SQL: max_tokens)", "[a]", "[red]x[/red]"):
        assert part in shown


def test_a_question_cannot_command_the_terminal():
    shown = _shown(_row("dev/0001", question="Wie groß\x1b[2J ist\x07 東京?"))
    assert "Wie groß\ufffd[2J ist\ufffd 東京?" in shown

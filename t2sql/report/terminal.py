"""What the command prints: a summary table and the most frequent errors."""

from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from t2sql.report import wording
from t2sql.runtime.progress import Console

_MOST_ERRORS = 10


def show(report: dict[str, Any], console: Console | None = None) -> None:
    """Prints the report to the terminal, or plainly where the output is none."""
    console = console or Console(soft_wrap=True)
    console.print(Text(wording.title(report), style="bold"))
    # What was left out of the data stands on stderr already.
    told = {f"{line}." for line in report["data"]["notices"]}
    for notice in wording.notices(report):
        if notice.text in told:
            continue
        console.print(Text(notice.text, style="bold red" if notice.alarm else "yellow"))
    console.print(_summary(report))
    for line in wording.means(report):
        console.print(Text(line))
    if report["errors"]:
        console.print(_errors(report))
    if report["baseline"]:
        console.print(_baseline(report["baseline"]))


def _summary(report: dict[str, Any]) -> Table:
    split = bool(report["data"]["empty_databases"])
    heads = ["examples", "execution %", "95 %", "exact %", "valid %"]
    table = _table("", *heads[:3], *["with rows %"] * split, *heads[3:])
    _add_scores(table, "all", report["accuracy"]["all"], split)
    if split:
        _add_scores(table, "with rows", report["accuracy"]["with_rows"], split)
    levels = report["by"]["feature"].get("difficulty", {})
    for name, scores in (report["by"]["hardness"] | levels).items():
        _add_scores(table, name, scores, split)
    return table


def _add_scores(table: Table, name: str, scores: dict[str, Any], split: bool) -> None:
    """Adds a row; `split`: with the accuracy on databases that hold rows."""
    execution, with_rows = scores["execution"], scores["execution_with_rows"]
    table.add_row(
        name,
        wording.count(scores["examples"]),
        wording.percent(execution["share"]),
        wording.interval(execution),
        *[wording.percent(with_rows["share"])] * split,
        wording.percent(scores["exact_match"]["share"]),
        wording.percent(scores["valid"]["share"]),
    )


def _errors(report: dict[str, Any]) -> Table:
    table = _table("most frequent errors", "examples", "% of diagnosed")
    for error, share in list(report["errors"].items())[:_MOST_ERRORS]:
        table.add_row(error, wording.count(share["count"]), wording.percent(share["share"]))
    return table


def _baseline(baseline: dict[str, Any]) -> Table:
    table = _table("against the baseline", "points", "better", "worse", "McNemar")
    for name in ("execution", "exact_match"):
        change = baseline[name]
        table.add_row(
            wording.words(name),
            wording.signed(change["points"]),
            wording.count(change["better"]),
            wording.count(change["worse"]),
            wording.p_value(change["p_value"]),
        )
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table

"""`report.md`: the report for a pull request or a wiki."""

from collections.abc import Iterable, Iterator
from typing import Any

from t2sql.report import wording
from t2sql.runtime.progress import counted

_MOST_ERRORS = 15


def render(report: dict[str, Any]) -> str:
    """The whole file."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: dict[str, Any]) -> Iterator[str]:
    yield f"# {_cell(wording.title(report))}"
    yield ""
    yield _cell(" · ".join(wording.facts(report)))
    for notice in wording.notices(report):
        yield ""
        yield f"> {'**Warning.** ' if notice.alarm else ''}{_cell(notice.text)}"
    yield from _measures(report)
    for line in wording.means(report):
        yield from ["", line]
    if report["baseline"]:
        yield from _baseline(report["baseline"])
    split = bool(report["data"]["empty_databases"])
    yield from _groups("Hardness", report["by"]["hardness"], split=split)
    for feature, groups in report["by"]["feature"].items():
        yield from _groups(wording.words(feature).capitalize(), groups, split=split)
    yield from _groups("Database", report["by"]["database"])
    yield from _errors(report)
    yield from ["", "## How this was made", ""]
    yield from _table(("", ""), wording.provenance(report))


def _measures(report: dict[str, Any]) -> Iterator[str]:
    rows = []
    for scope, measure, name, note in wording.MEASURES:
        share = report["accuracy"][scope][measure]
        rows.append((f"{name}, {note}", *_share(share), wording.count(share["total"])))
    yield ""
    yield from _table(("Measure", "%", "95 % interval", "Examples"), rows)


def _groups(name: str, groups: dict[str, Any], *, split: bool = False) -> Iterator[str]:
    """A table of groups; `split`: with the accuracy on databases that hold rows."""
    if not groups:
        return
    yield from ["", f"## {name}", ""]
    rows = [
        (
            group + (" (no rows)" if scores.get("empty") else ""),
            *_share(scores["execution"]),
            *[wording.percent(scores["execution_with_rows"]["share"])] * split,
            wording.percent(scores["exact_match"]["share"]),
            wording.percent(scores["valid"]["share"]),
            wording.count(scores["examples"]),
        )
        for group, scores in groups.items()
    ]
    heads = [name, "Execution %", "95 % interval", "Exact match %", "Valid %", "Examples"]
    yield from _table([*heads[:3], *["With rows %"] * split, *heads[3:]], rows)


def _errors(report: dict[str, Any]) -> Iterator[str]:
    shares = report["errors"]
    if not shares:
        return
    shown = list(shares.items())[:_MOST_ERRORS]
    yield from ["", "## What went wrong", ""]
    diagnosed = counted(report["diagnosed"], "diagnosed example")
    yield f"Of {diagnosed}; one may show several."
    if len(shares) > len(shown):
        yield f"The {len(shown)} most frequent of {len(shares)} classes; report.json has all."
    yield ""
    rows = [(error, wording.count(share["count"]), *_share(share)) for error, share in shown]
    yield from _table(("Class", "Examples", "%", "95 % interval"), rows)


def _baseline(baseline: dict[str, Any]) -> Iterator[str]:
    yield from ["", "## Against the baseline", ""]
    system = baseline["system"]
    data = baseline["data"]
    yield f"Baseline: {_cell(system['name'])} ({_cell(system['source'])}), on " + _cell(
        f"{data['path']}, split {data['split']}"
    )
    yield ""
    rows = [
        (
            name,
            wording.percent(baseline["accuracy"][scope][measure]["share"]),
            wording.signed(change["points"]),
            wording.count(change["better"]),
            wording.count(change["worse"]),
            wording.p_value(change["p_value"]),
        )
        for name, scope, measure, change in (
            ("Execution accuracy", "all", "execution", baseline["execution"]),
            ("on databases that hold rows", "with_rows", "execution", baseline["with_rows"]),
            ("Exact set match", "all", "exact_match", baseline["exact_match"]),
        )
    ]
    heads = ("Measure", "Baseline %", "Points", "Better", "Worse", "McNemar's exact test")
    yield from _table(heads, rows)
    yield ""
    yield from _table(
        ("Error class", "Baseline", "Now", "Gone", "New", "McNemar's exact test"),
        [
            (
                error,
                *(wording.count(change[key]) for key in ("baseline", "now", "gone", "new")),
                wording.p_value(change["p_value"]),
            )
            for error, change in baseline["errors"].items()
        ],
    )


def _share(share: dict[str, Any]) -> tuple[str, str]:
    return wording.percent(share["share"]), wording.interval(share)


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    heads = list(heads)
    yield f"| {' | '.join(heads)} |"
    yield f"| {' | '.join(['---'] + ['---:'] * (len(heads) - 1))} |"
    for row in rows:
        yield f"| {' | '.join(_cell(cell) for cell in row)} |"


def _cell(text: str) -> str:
    """Text that cannot end its cell, its line or open markup."""
    text = " ".join(text.split())
    for mark in "\\|`<*_[":
        text = text.replace(mark, f"\\{mark}" if mark != "<" else "&lt;")
    return text

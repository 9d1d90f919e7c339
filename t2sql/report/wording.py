"""What the report says in words, from `report.json` alone, wherever it is shown."""

import dataclasses
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from t2sql.report import formats

MEASURES = (
    ("all", "execution", "Execution accuracy", "all examples"),
    ("with_rows", "execution", "Execution accuracy", "on databases that hold rows"),
    ("all", "exact_match", "Exact set match", "the same clauses as gold, values aside"),
    ("all", "valid", "Valid SQL", "SQLite runs it"),
)


@dataclasses.dataclass(frozen=True)
class Notice:
    """A sentence that a reader must see before any number; `alarm` if numbers are affected."""

    text: str
    alarm: bool = False


def title(report: dict[str, Any]) -> str:
    """What was judged on what."""
    data = report["data"]
    if data["split"]:
        asked = f"{PurePath(data['path']).name} {data['split']}"
    else:
        asked = PurePath(data["gold"]).name
    return f"{report['system']['name']} on {asked}"


def facts(report: dict[str, Any]) -> list[str]:
    """The setting in a few words each."""
    data, provenance = report["data"], report["system"]["provenance"]
    found = [
        formats.counted(data["examples"], "example"),
        formats.counted(data["databases"], "database"),
    ]
    found += [
        f"{name} {provenance[name]}"
        for name in ("adapter", "prompt", "dtype")
        if provenance.get(name)
    ]
    return [*found, report["created"][:10]]


def notices(report: dict[str, Any]) -> list[Notice]:
    """What a reader has to know, the worst first."""
    return [*_source_notices(report), *_data_notices(report)]


def _source_notices(report: dict[str, Any]) -> Iterator[Notice]:
    sources = [("run", "", report["system"])]
    if report["baseline"]:
        sources.append(("baseline", " of the baseline", report["baseline"]["system"]))
    for kind, owner, system in sources:
        if not system["complete"]:
            said = "; ".join(problem["message"] for problem in system["problems"])
            yield Notice(f"Incomplete {kind}: {said}.", alarm=True)
        for note in system["notes"]:
            yield Notice(f"{note}.")
        cut = system["statuses"].get("max_tokens", 0)
        if cut:
            were = "was" if cut == 1 else "were"
            yield Notice(f"{formats.counted(cut, 'answer')}{owner} {were} cut at the token limit.")
        long = system["statuses"].get("prompt_too_long", 0)
        if long:
            yield Notice(
                f"Too long for the model, so without an answer: {formats.counted(long, 'prompt')}"
                f"{owner}."
            )


def _data_notices(report: dict[str, Any]) -> Iterator[Notice]:
    data = report["data"]
    if data["gold_failures"]:
        ids = [failure["example_id"] for failure in data["gold_failures"]]
        yield Notice(
            f"Gold queries that fail, so that no prediction is right there "
            f"({formats.count(len(ids))}): "
            f"{formats.some(ids)}.",
            alarm=True,
        )
    if data["unjudged"]:
        yield Notice(
            f"Without a gold query, so shown and not judged: "
            f"{formats.counted(data['unjudged'], 'example')}."
        )
    if data["empty_databases"]:
        names = ", ".join(data["empty_databases"])
        examples = formats.counted(sum(data["empty_databases"].values()), "example")
        yield Notice(
            f"No rows in {names} ({examples}): nearly any query is right there by "
            "execution, so accuracy is also given without them."
        )
    if data["several_files"]:
        yield Notice(
            f"There are several SQLite files of {formats.some(list(data['several_files']))}: "
            "an answer is right if it agrees with gold on all of them."
        )


def provenance(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and value of everything needed to make the report again."""
    system = report["system"]
    rows = [
        ("Predictions", system["source"]),
        ("Judged as", "cleaned SQL" if system["cleaned"] else "written, nothing cleaned"),
        ("Data", report["data"]["path"]),
        ("Gold", report["data"]["gold"] or f"split {report['data']['split']}"),
    ]
    rows += [
        (formats.words(name).capitalize(), _plain(value))
        for name, value in system["provenance"].items()
        if value is not None
    ]
    if report["baseline"]:
        rows.append(("Baseline", report["baseline"]["system"]["source"]))
    versions = report["versions"]
    return [
        *rows,
        ("Report command", report["command"]),
        ("Report versions", _plain(versions)),
        ("Report created", report["created"]),
    ]


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return " ".join(str(item) for item in value)
    return str(value)

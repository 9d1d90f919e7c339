"""What the report says, from `report.json` alone, and how numbers and names are written."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any

from t2sql.runtime.progress import counted

MEASURES = (
    ("all", "execution", "Execution accuracy", "all examples"),
    ("with_rows", "execution", "Execution accuracy", "on databases that hold rows"),
    ("all", "exact_match", "Exact set match", "the same clauses as gold, values aside"),
    ("all", "valid", "Valid SQL", "SQLite runs it"),
)
_MOST_DATA_NOTICES = 20
_HASH_DIGITS = 8
_RUN_LABELS = {name: f"Run {name}" for name in ("data", "command", "versions", "created")}


@dataclasses.dataclass(frozen=True)
class Notice:
    """A sentence that a reader must see before any number; `alarm` if numbers are affected."""

    text: str
    alarm: bool = False


def title(report: dict[str, Any]) -> str:
    """What was evaluated on what."""
    data = report["data"]
    if data["split"]:
        asked = f"{PurePath(data['path']).name} {data['split']}"
    else:
        asked = PurePath(data["gold"]).name
    return f"{report['system']['name']} on {asked}"


def facts(report: dict[str, Any]) -> list[str]:
    """The setting in a few words each."""
    data, provenance = report["data"], report["system"]["provenance"]
    return [
        counted(data["examples"], "example"),
        counted(data["databases"], "database"),
        *([f"adapter {_adapter(provenance)}"] if provenance.get("adapter") else []),
        *(f"{name} {provenance[name]}" for name in ("prompt", "dtype") if provenance.get(name)),
        report["created"][:10],
    ]


def _adapter(provenance: dict[str, Any]) -> str:
    """The end of its path, or of the name of its package; else the beginning of its hash."""
    source = provenance.get("adapter_source")
    if not source:
        return str(provenance["adapter"])[:_HASH_DIGITS]
    return "/".join(PurePath(source.rpartition(":")[2]).parts[-2:])


def notices(report: dict[str, Any]) -> list[Notice]:
    """What a reader has to know, the worst first."""
    told = [*_source_notices(report), *_data_notices(report)]
    return sorted(told, key=lambda notice: not notice.alarm)


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
            yield Notice(f"{counted(cut, 'answer')}{owner} {were} cut at the token limit.")
        long = system["statuses"].get("prompt_too_long", 0)
        if long:
            buckets = system["provenance"].get("prompt_buckets")
            limit = f" (at most {count(buckets[-1])} tokens fit)" if buckets else ""
            yield Notice(
                f"Too long for the model{limit}, so without an answer: {counted(long, 'prompt')}"
                f"{owner}. A run with a larger last value of --config.prompt_buckets, or with a "
                "shorter --config.prompt, answers them."
            )


def _data_notices(report: dict[str, Any]) -> Iterator[Notice]:
    data = report["data"]
    for db_id, counts in data["unusable_gold"].items():
        files = (
            f"on {count(counts['failed_files'])} of its {count(counts['files'])} SQLite files"
            if counts["files"] > 1
            else "on its database"
        )
        yield Notice(
            f"The database {db_id} does not fit its gold queries: {count(counts['failed'])} of "
            f"{count(counts['queries'])} fail {files}. The numbers below say nothing about it.",
            alarm=True,
        )
    for line in data["notices"][:_MOST_DATA_NOTICES]:
        yield Notice(f"{line}.")
    more = len(data["notices"]) - _MOST_DATA_NOTICES
    if more > 0:
        yield Notice(f"And {count(more)} more of the data; report.json lists them (data.notices).")
    if data["gold_failures"]:
        ids = [failure["example_id"] for failure in data["gold_failures"]]
        yield Notice(
            f"Gold queries that fail, so that no prediction is right there "
            f"({count(len(ids))}): "
            f"{some(ids)}.",
            alarm=True,
        )
    if data["unjudged"]:
        yield Notice(
            f"Without a gold query, so shown and not evaluated: "
            f"{counted(data['unjudged'], 'example')}."
        )
    if data["empty_databases"]:
        names = ", ".join(data["empty_databases"])
        examples = counted(sum(data["empty_databases"].values()), "example")
        yield Notice(
            f"No rows in {names} ({examples}): nearly any query is right there by "
            "execution, so accuracy is also given without them."
        )
    if data["several_files"]:
        yield Notice(
            f"There are several SQLite files of {some(list(data['several_files']))}: "
            "an answer is right if it agrees with gold on all of them."
        )


def provenance(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and value of everything needed to make the report again."""
    system = report["system"]
    rows = [
        ("Predictions", system["source"]),
        ("Evaluated as", "cleaned SQL" if system["cleaned"] else "written, nothing cleaned"),
        ("Data", report["data"]["path"]),
        ("Gold", report["data"]["gold"] or f"split {report['data']['split']}"),
    ]
    rows += [
        (_RUN_LABELS.get(name) or words(name).capitalize(), _plain(value))
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


def percent(value: float | None, digits: int = 1) -> str:
    """A share in [0, 1] as a percentage without its sign; a dash for none."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def count(number: int) -> str:
    """A number with thousands separated."""
    return f"{number:,}"


def interval(share: dict[str, Any]) -> str:
    """The two ends of a share's interval in per cent, such as "47.2–53.3"."""
    return f"{percent(share['low'])}–{percent(share['high'])}" if share["total"] else ""


def signed(points: float) -> str:
    """Percentage points with their sign, such as "+4.1"."""
    return f"{points:+.1f}".replace("-", "−")


def p_value(value: float) -> str:
    """A p-value to two digits, never as 0."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def words(name: str) -> str:
    """An error class or a feature in plain words."""
    return name.replace("_", " ")


def some(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def means(report: dict[str, Any]) -> list[str]:
    """BIRD's Soft-F1 and R-VES, where they were measured; all examples, then each level."""
    groups = {"all": report["accuracy"]["all"]} | report["by"]["feature"].get("difficulty", {})
    lines = []
    for measure, title in (("soft_f1", "Soft-F1"), ("ves", "R-VES")):
        values = [
            f"{name} {percent(scores[measure])}"
            for name, scores in groups.items()
            if measure in scores
        ]
        if values:
            lines.append(f"{title} %: {', '.join(values)}")
    return lines

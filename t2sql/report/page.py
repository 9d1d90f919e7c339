"""`report.html`: one self-contained page, its examples packed inside it."""

import base64
import gzip
import hashlib
import importlib.resources
import json
import random
from collections.abc import Mapping
from typing import Any

import jinja2
import markupsafe

from t2sql.evaluation.hardness import HARDNESS
from t2sql.report import wording
from t2sql.report.case import Case
from t2sql.runtime.progress import counted

MOST_EXAMPLES = 10_000
SAMPLE_SEED = 0
_BLOCK = 100
_LIST_CHARS = 1_000
_MOST_ERRORS = 12
_ASSETS = importlib.resources.files("t2sql.report") / "assets"


def sample(examples: int) -> frozenset[int] | range:
    """The positions that the page shows: all, or above `MOST_EXAMPLES` a fixed sample."""
    if examples <= MOST_EXAMPLES:
        return range(examples)
    return frozenset(random.Random(SAMPLE_SEED).sample(range(examples), MOST_EXAMPLES))


class Page:
    """Takes cases one by one, packs their details as they come, and writes the page."""

    def __init__(self) -> None:
        self._databases: dict[str, dict[str, Any]] = {}
        self._errors: dict[str, int] = {}
        self._rows: list[list[Any]] = []
        self._block: list[dict[str, Any]] = []
        self._blocks: list[str] = []

    @property
    def examples(self) -> int:
        """How many examples it shows."""
        return len(self._rows)

    def add(self, case: Case) -> None:
        """Takes a case that has details."""
        db_id, index = case.example.db_id, len(self._databases)
        entry = {"index": index, "name": db_id, "empty": case.answer.verdict.db_empty}
        database = self._databases.setdefault(db_id, entry)
        errors = [self._errors.setdefault(e, len(self._errors)) for e in case.answer.errors]
        self._rows.append(_index_row(case, database["index"], errors))
        self._block.append(case.details)
        if len(self._block) == _BLOCK:
            self._close_block()

    def render(
        self, report: dict[str, Any], schemas: Mapping[str, str], meanings: Mapping[str, str]
    ) -> str:
        """The page.

        Args:
          report: `report.json`.
          schemas: CREATE TABLE statements by db_id.
          meanings: what each error class means, in a few words.
        """
        if self._block:
            self._close_block()
        index = {
            "block": _BLOCK,
            "databases": list(self._databases.values()),
            "hardness": HARDNESS,
            "errors": list(self._errors),
            "rows": self._rows,
            "schemas": {name: schemas[name] for name in self._databases},
        }
        style = _asset("page.css")
        script = "'use strict';\n" + "\n".join(_asset(name) for name in _script_names())
        return _template().render(
            report=report,
            title=wording.title(report),
            facts=[*wording.facts(report), *wording.means(report)],
            notices=wording.notices(report),
            provenance=wording.provenance(report),
            **_charts(report, meanings),
            style=style,
            style_hash=_hash(style),
            script=script,
            script_hash=_hash(script),
            index=_pack(index),
            blocks=self._blocks,
        )

    def _close_block(self) -> None:
        self._blocks.append(_pack(self._block))
        self._block = []


def _index_row(case: Case, database: int, errors: list[int]) -> list[Any]:
    """What the page's script reads of a case before it is opened (`assets/1_data.js`)."""
    example, verdict = case.example, case.answer.verdict
    flags = [verdict.execution, verdict.exact_match, verdict.valid]
    if case.baseline is not None:
        flags.append(case.baseline.verdict.execution)
    execution, exact_match, valid, *before = (None if flag is None else int(flag) for flag in flags)
    return [
        example.example_id,
        database,
        HARDNESS.index(verdict.hardness) if verdict.hardness else -1,
        execution,
        exact_match,
        valid,
        errors,
        example.question,
        _one_line(example.query or ""),
        _one_line(case.answer.sql),
        *before,
    ]


def _one_line(sql: str) -> str:
    return " ".join(sql.split())[:_LIST_CHARS]


def _pack(value: Any) -> str:
    """JSON, gzipped, in base64: no character of it means anything to HTML."""
    text = json.dumps(value, separators=(",", ":")).encode("ascii")
    return base64.b64encode(gzip.compress(text, mtime=0)).decode("ascii")


def _charts(report: dict[str, Any], meanings: Mapping[str, str]) -> dict[str, Any]:
    before = report["baseline"]
    scale = max((share["high"] for share in report["errors"].values()), default=1.0)
    errors = [
        {"name": name, "share": share, "meaning": meanings.get(name, ""), "scale": scale}
        for name, share in report["errors"].items()
    ]
    return {
        "measures": [
            (
                name,
                note,
                {
                    "now": report["accuracy"][scope][measure],
                    "before": before["accuracy"][scope][measure] if before else None,
                },
            )
            for scope, measure, name, note in wording.MEASURES[1:]
        ],
        "databases": sorted(
            report["by"]["database"].items(), key=lambda item: _worst_first(item[1])
        ),
        "befores": _befores(before["by"] if before else {}),
        "errors": errors,
        "most_errors": _MOST_ERRORS,
        "diagnosed": report["diagnosed"],
        "sample_note": _sample_note(report),
    }


def _befores(by: dict[str, Any]) -> dict[str, Any]:
    """The baseline's execution accuracy by hardness and database, and by feature and group."""

    def shares(groups: dict[str, Any]) -> dict[str, Any]:
        return {name: scores["execution"] for name, scores in groups.items()}

    return {
        "hardness": shares(by.get("hardness", {})),
        "database": shares(by.get("database", {})),
        "feature": {feature: shares(groups) for feature, groups in by.get("feature", {}).items()},
    }


def _worst_first(scores: dict[str, Any]) -> tuple[bool, float]:
    """Databases without rows last: their accuracy says nothing."""
    share = scores["execution"]["share"]
    return scores["empty"], -1.0 if share is None else -share


def _sample_note(report: dict[str, Any]) -> str:
    shown, total = report["page"]["examples"], report["data"]["examples"]
    if shown == total:
        return "All examples, in the order of the data. Open one for its queries and results."
    changes = " and all that changed against the baseline" if report["baseline"] else ""
    return (
        f"{wording.count(shown)} of {wording.count(total)} examples: a uniform sample of "
        f"{wording.count(MOST_EXAMPLES)} (seed {SAMPLE_SEED}){changes}. The charts count all "
        "examples; verdicts.jsonl beside this page lists all of them."
    )


def _script_names() -> list[str]:
    return sorted(entry.name for entry in _ASSETS.iterdir() if entry.name.endswith(".js"))


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters.update(
        percent=wording.percent,
        count=wording.count,
        counted=counted,
        signed=wording.signed,
        p_value=wording.p_value,
        words=wording.words,
        breakable=_breakable,
    )
    return environment.from_string(_asset("page.html.j2"))


def _breakable(name: str) -> markupsafe.Markup:
    """The name, escaped, where a line may also end after an underscore."""
    return markupsafe.Markup("_<wbr>").join(name.split("_"))

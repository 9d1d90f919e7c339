"""A run over made-up examples, for the tests that need one."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from t2sql import storage
from t2sql.runs import manifest, predictions, units

FINGERPRINT = {
    "data": {"split": "dev", "limit": None, "sha256": "d1"},
    "model": {"name": "gemma3_270m", "weights_sha256": "w1"},
    "sampling": {"temperature": 0.0, "stop": ("\n\n",)},
    "buckets": [256, 512],
    "unit_size": 8,
}


@dataclasses.dataclass(frozen=True)
class Example:
    example_id: str
    db_id: str


EXAMPLES = [Example(f"dev/{i:04d}", f"db{i % 3}") for i in range(50)]


def make_plan(examples=EXAMPLES, unit_size: int = 8) -> list[units.Unit[Example]]:
    """Plans them with a cost that differs between the databases."""
    return units.plan_units(
        examples, unit_size=unit_size, length=lambda example: int(example.db_id[2:]) + 1
    )


PLAN = make_plan()


def open_run(
    url: str,
    *,
    plan: list[units.Unit[Example]] = PLAN,
    fingerprint: Mapping[str, Any] = FINGERPRINT,
    config: storage.StorageConfig | None = None,
    index: int = 0,
    count: int = 1,
    redo: bool = False,
    **recorded,
) -> manifest.Run:
    """Opens the run at the URL."""
    return manifest.Run.open(
        storage.open_storage(url, config),
        units=plan,
        fingerprint=fingerprint,
        recorded=recorded,
        config=config,
        index=index,
        count=count,
        redo=redo,
    )


def make_rows(unit: units.Unit[Example], text: str = "SELECT 1") -> list[predictions.Prediction]:
    """Answers every question of a unit with the same text."""
    return [
        predictions.Prediction(
            example_id=example.example_id,
            db_id=example.db_id,
            question="How many?",
            gold=None,
            text=text,
            sql=text,
            status="ok",
            prompt_tokens=1,
            output_tokens=1,
        )
        for example in unit.examples
    ]


def write(run: manifest.Run, some_units: Iterable[units.Unit[Example]]) -> None:
    """Writes the units and waits until they are there."""
    for unit in some_units:
        run.write_unit(unit, make_rows(unit))
    run.flush()

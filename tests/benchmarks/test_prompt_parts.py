"""The parts of the prompt that can be left out."""

import pytest

from benchmarks import prompt_parts
from t2sql.data import compact, database, examples, sources


def _prompts() -> list[tuple[str, tuple[str, ...]]]:
    """Schema and values of each question of the sample."""
    for db_id in ("mountain_railway", "corner_bakery"):
        yield compact.CompactDatabase(database.database_path(sources.SAMPLE, db_id)).text, ()
    for example in examples.read_examples(sources.SAMPLE, "dev", compact=True):
        yield example.db_definitions, example.values


@pytest.mark.parametrize("part", prompt_parts.WITHOUT)
def test_a_prompt_without_a_part_is_shorter(monkeypatch, part):
    whole = list(_prompts())
    for name, value in prompt_parts.WITHOUT[part].items():
        monkeypatch.setattr(compact, name, value)  # refuses a name that is not there
    without = list(_prompts())
    assert (without == whole) == (part == "none")
    assert len(str(without)) <= len(str(whole))

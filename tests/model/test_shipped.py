"""The adapter that ships: small, described, and of the prompt as it is today."""

import json
import pathlib

from t2sql.data import prompts
from t2sql.model import adapters

FOLDER = pathlib.Path(adapters.__file__).parent / "shipped" / "gemma3_270m_spider"


def test_it_is_small_and_comes_with_its_terms():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 20e6
    assert "Gemma Terms of Use" in (FOLDER / "NOTICE").read_text()
    card = (FOLDER / "README.md").read_text()
    for word in ("CC BY-SA 4.0", "python -m t2sql.train", "Limits"):
        assert word in card


def test_its_prompt_is_that_of_today():
    about = json.loads((FOLDER / "adapter.json").read_text())
    prompt = prompts.make_prompt(about["prompt"]["name"])
    assert about["prompt"]["sha256"] == prompt.digest

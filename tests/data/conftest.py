"""Small data directories."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from t2sql.data import notices


@pytest.fixture
def make_database() -> Callable[[Path, str], Path]:
    """A function that runs a script in a new SQLite file and returns the file's path."""

    def make(path: Path, script: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path)
        connection.executescript(script)
        connection.close()
        return path

    return make


@pytest.fixture
def data_root(tmp_path, make_database) -> Path:
    """Two dev questions over one database, in the Spider layout, without tables.json."""
    make_database(
        tmp_path / "database/fleet/fleet.sqlite",
        "CREATE TABLE ship (id INT, name TEXT); INSERT INTO ship VALUES (1, 'Fram')",
    )
    questions = [
        {"db_id": "fleet", "question": "How many ships?", "query": "SELECT count(*) FROM ship"},
        {"db_id": "fleet", "question": "Which ships?"},
    ]
    (tmp_path / "dev.json").write_text(json.dumps(questions))
    return tmp_path


@pytest.fixture(autouse=True)
def nothing_told():
    """Each test begins as a command does, with nothing told."""
    notices.forget()

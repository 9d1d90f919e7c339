"""docs/diagnosis.md says what the code does: the classes, their meaning, and each message."""

import re
import sqlite3
from pathlib import Path

import pytest

from t2sql.data.read_schema import schema_from_sqlite
from t2sql.data.schema import Schema
from t2sql.diagnosis.diagnose import ERROR_CLASSES, diagnose

DOCS = Path(__file__).parents[2] / "docs" / "diagnosis.md"
SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^###|\Z)", DOCS.read_text(), re.M | re.S))
OF_THE_RUN = {"timeout", "truncated", "empty"}


@pytest.fixture(scope="module")
def schema(tmp_path_factory) -> Schema:
    path = tmp_path_factory.mktemp("docs") / "music.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(re.search(r"```sql\n(CREATE.*?)```", DOCS.read_text(), re.S)[1])
    return schema_from_sqlite(path)


def test_every_class_has_its_section_in_order():
    assert list(SECTIONS) == list(ERROR_CLASSES)


@pytest.mark.parametrize("error", ERROR_CLASSES)
def test_the_section_says_what_the_class_is(error):
    assert ERROR_CLASSES[error] in " ".join(SECTIONS[error].split())


@pytest.mark.parametrize("error", sorted(set(ERROR_CLASSES) - OF_THE_RUN))
def test_the_example_gives_the_message(error, schema):
    pattern = r"-- gold\n(.*?);\n-- predicted\n(.*?);\n```\n\n> (.*)"
    gold, predicted, message = re.search(pattern, SECTIONS[error], re.S).groups()
    findings = [f.message for f in diagnose(gold, predicted, schema) if f.error == error]
    assert findings == [message.strip()]

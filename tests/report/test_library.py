"""Evaluation as a library call."""

import sqlite3
import subprocess
import sys

import pytest

from t2sql import errors, report


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "music.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "CREATE TABLE singer (name, age); INSERT INTO singer VALUES (1, 2)"
        )
    return path


def test_each_question_has_a_verdict(database):
    verdicts = report.evaluate(
        ["SELECT age, name FROM singer", "SELECT age FROM singer", ""],
        ["SELECT name, age FROM singer", ["SELECT 1", "SELECT age FROM singer"], "SELECT 1"],
        [database, str(database), database],
        workers=1,
    )
    assert [verdict.execution for verdict in verdicts] == [True, True, False]
    assert [verdict.exact_match for verdict in verdicts] == [True, True, False]
    (verdict,) = report.evaluate(
        ["SELECT age, name FROM singer"],
        ["SELECT name, age FROM singer"],
        [database],
        metric="bird",
        workers=1,
    )
    assert (verdict.execution, verdict.soft_f1) == (False, 1.0)


def test_what_is_wrong_is_named(database, tmp_path):
    with pytest.raises(errors.InputError, match="1 predictions, 2 gold queries and 1 databases"):
        report.evaluate(["SELECT 1"], ["SELECT 1"] * 2, [database])
    with pytest.raises(errors.InputError, match=r"absent\.sqlite: no such database"):
        report.evaluate(["SELECT 1"], ["SELECT 1"], [tmp_path / "absent.sqlite"])
    with pytest.raises(errors.InputError, match="metric 'em': there are bird, spider"):
        report.evaluate([], [], [], metric="em")
    with pytest.raises(errors.InputError, match="question 0: prediction and gold"):
        report.evaluate([None], ["SELECT 1"], [database], workers=1)


def test_a_report_needs_only_what_its_requirements_name():
    """No JAX, TensorFlow, or other package of a run, not even one that is imported lazily."""
    program = (
        "import sys\n"
        "for name in ('jax', 'tensorflow', 'gemma', 'grain', 'flax', 'numpy', 'ml_collections',\n"
        "             'kagglehub', 'google.cloud.storage', 'orbax'):\n"
        "    sys.modules[name] = None\n"
        "import t2sql.report, t2sql.report.command\n"
        "print(t2sql.report.evaluate.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("evaluate\n", "")

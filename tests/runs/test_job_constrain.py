"""The main job with `sampling.constrain`: random weights write queries over the schema."""

import sqlite3

import jobs
import pytest

from t2sql import errors
from t2sql.data import sources
from t2sql.data.database import database_path

VALUES = {"sampling.max_new_tokens": 110, "data.limit": 12}


@pytest.fixture(scope="module", params=["schema", "keys"])
def constrained(request, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "constrained"
    jobs.run(output, **VALUES | {"sampling.constrain": request.param})
    return output


def test_every_answer_is_a_query_over_its_schema(constrained):
    for row in jobs.read_rows(constrained).values():
        assert row.status == "ok"
        database = sqlite3.connect(database_path(sources.SAMPLE, row.db_id))
        database.execute(f"EXPLAIN {row.sql}")


def test_a_run_is_either_constrained_or_not(constrained):
    fingerprint = jobs.read_json(constrained, "run.json")["fingerprint"]
    assert fingerprint["sampling"]["constrain"] in ("schema", "keys")
    with pytest.raises(errors.RefusedError, match="sampling.constrain"):
        jobs.run(constrained, **VALUES)


def test_processes_that_check_change_nothing(constrained, tmp_path):
    constrain = jobs.read_json(constrained, "run.json")["fingerprint"]["sampling"]["constrain"]
    workers = {"sampling.constrain": constrain, "constraint_workers": 2}
    jobs.run(tmp_path / "run", **VALUES | workers)
    assert jobs.objects(tmp_path / "run") == jobs.objects(constrained)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sampling.constrain": "grammar"}, "sampling.constrain is 'grammar'"),
        ({"sampling.constrain": "schema", "sampling.max_new_tokens": 4}, "max_new_tokens=4"),
    ],
)
def test_what_cannot_be_is_said(tmp_path, values, message):
    with pytest.raises(errors.InputError, match=message):
        jobs.run(tmp_path, **values)

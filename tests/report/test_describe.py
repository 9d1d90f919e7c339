import dataclasses

import pytest
import report_world as world

from t2sql.data import database, examples, read_schema
from t2sql.evaluation.evaluate import evaluate
from t2sql.evaluation.sandbox.executor import Executor
from t2sql.evaluation.verdict import QueryPair
from t2sql.report import bounds
from t2sql.report import describe as describe_lib
from t2sql.report.predictions import MISSING, Answer


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """Judges and describes answers to the example at an index of `world.RECORDS`."""
    root = world.make_data(tmp_path_factory.mktemp("describing"))
    asked = examples.read_examples(root, "dev", with_schema=False)
    schemas = read_schema.read_schemas(root, ["school", "shop"])
    with Executor(workers=1) as executor:

        def describe(index, *answers, shown=True, gold=...):
            example = asked[index]
            if gold is not ...:
                example = dataclasses.replace(example, query=gold)
            databases = tuple(database.database_paths(root, example.db_id))
            verdicts = tuple(
                evaluate(
                    QueryPair(
                        gold=example.query,
                        predicted=answer.sql,
                        databases=databases,
                        schema=schemas[example.db_id],
                    ),
                    executor,
                )
                for answer in answers
            )
            case = describe_lib.Case(
                position=index, example=example, answers=answers, verdicts=verdicts, shown=shown
            )
            return describe_lib.describe(case, schemas)

        yield describe


def test_a_right_answer_has_no_findings(described):
    found = described(0, Answer(sql="select COUNT(*) from student"))
    assert found.verdict.execution and found.verdict.findings == ()
    assert found.details["predicted"] == "SELECT\n  COUNT(*)\nFROM student"
    assert found.details["goldResult"]["rows"] == [[4]]


def test_a_wrong_answer_is_diagnosed_and_both_results_are_shown(described):
    found = described(0, Answer(sql="SELECT max(age) FROM student"))
    assert "wrong_aggregate" in found.verdict.errors
    assert found.details["predictedResult"]["rows"] == [[41]]


def test_an_inexact_answer_on_an_empty_database_is_diagnosed(described):
    found = described(4, Answer(sql="SELECT id FROM item"))
    assert found.verdict.execution is True
    assert found.verdict.errors == ("wrong_columns",)


def test_a_missing_answer_is_empty_and_says_why(described):
    found = described(0, Answer(sql="", status=MISSING))
    assert (found.verdict.execution, found.verdict.errors) == (False, ("empty",))
    assert "holds no answer" in found.details["note"]


def test_details_are_made_only_where_wanted_or_changed(described):
    right, wrong = Answer(sql=world.golds()[0]), Answer(sql="SELECT 1")
    assert described(0, right, shown=False).details is None
    assert described(0, right, right, shown=False).details is None
    changed = described(0, right, wrong, shown=False)
    assert changed.change == "better"
    assert changed.details["baseline"]["predicted"] == "SELECT\n  1"


def test_without_gold_nothing_is_counted_and_inventions_are_told(described):
    found = described(0, Answer(sql="SELECT salary FROM student"), gold=None)
    assert found.verdict.execution is None and found.verdict.errors == ()
    assert "invented_column" in [error for error, _ in found.details["findings"]]


def test_a_diagnosis_beyond_its_bounds_is_told_as_such(described, monkeypatch):
    def endless(*_, **__):
        while True:
            pass

    monkeypatch.setattr(describe_lib, "diagnose", endless)
    bounded = bounds.bounded
    monkeypatch.setattr(bounds, "bounded", lambda: bounded(0.2))
    found = described(0, Answer(sql="SELECT 1"))
    assert found.verdict.findings == (
        ("wrong_nesting", "cannot be compared with gold: it takes more than 0.2 s"),
    )


def test_running_out_of_memory_is_told_as_such():
    with pytest.raises(bounds.ExceededError, match="memory"), bounds.bounded():
        raise MemoryError


def test_bounds_leave_no_alarm_behind():
    with bounds.bounded(0.05):
        pass
    with pytest.raises(bounds.ExceededError), bounds.bounded(0.05):
        while True:
            pass

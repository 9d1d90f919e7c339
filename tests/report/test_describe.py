import dataclasses
import json
import math

import pytest
import report_world as world
from hypothesis import given
from hypothesis import strategies as st

from t2sql.data import database, examples, read_schema
from t2sql.diagnosis.findings import Finding
from t2sql.evaluation.evaluate import evaluate
from t2sql.evaluation.sandbox.executor import Executor
from t2sql.evaluation.sandbox.results import ExecutionResult
from t2sql.evaluation.verdict import QueryPair
from t2sql.report import describe as describe_lib
from t2sql.report.case import MISSING, Answer, Case


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """Evaluates and describes answers to the example at an index of `world.RECORDS`."""
    root = world.make_data(tmp_path_factory.mktemp("describing"))
    asked = examples.read_examples(root, "dev", with_schema=False)
    schemas = read_schema.read_schemas(root, ["school", "shop"])
    with Executor(workers=1) as executor:

        def describe(index, answer, baseline=None, *, shown=True, gold=...):
            example = asked[index]
            if gold is not ...:
                example = dataclasses.replace(example, query=gold)
            databases = tuple(database.database_paths(root, example.db_id))
            evaluated = [
                dataclasses.replace(
                    answer,
                    verdict=evaluate(
                        QueryPair(
                            gold=example.query,
                            predicted=answer.sql,
                            databases=databases,
                            schema=schemas[example.db_id],
                        ),
                        executor,
                    ),
                )
                for answer in (answer, baseline)
                if answer is not None
            ]
            case = Case(
                position=index,
                example=example,
                answer=evaluated[0],
                baseline=evaluated[1] if baseline is not None else None,
            )
            return describe_lib.describe(case, schemas[example.db_id], shown=shown)

        yield describe


def test_a_right_answer_has_no_findings(described):
    case = described(0, Answer(sql="select COUNT(*) from student"))
    assert case.answer.verdict.execution and case.answer.findings == ()
    assert case.details["predicted"] == "SELECT\n  COUNT(*)\nFROM student"
    assert case.details["goldResult"]["rows"] == [[4]]


def test_a_wrong_answer_is_diagnosed_and_both_results_are_shown(described):
    case = described(0, Answer(sql="SELECT max(age) FROM student"))
    assert "wrong_aggregate" in case.answer.errors
    assert case.details["predictedResult"]["rows"] == [[41]]


def test_an_inexact_answer_on_an_empty_database_is_diagnosed(described):
    case = described(4, Answer(sql="SELECT id FROM item"))
    assert case.answer.verdict.execution is True
    assert case.answer.errors == ("wrong_columns",)


def test_a_missing_answer_is_empty_and_says_why(described):
    case = described(0, Answer(sql="", status=MISSING))
    assert (case.answer.verdict.execution, case.answer.errors) == (False, ("empty",))
    assert "holds no answer" in case.details["note"]


def test_details_are_made_only_where_wanted_or_changed(described):
    right, wrong = Answer(sql=world.golds()[0]), Answer(sql="SELECT 1")
    assert described(0, right, shown=False).details is None
    assert described(0, right, right, shown=False).details is None
    changed = described(0, right, wrong, shown=False)
    assert changed.change == "better"
    assert changed.details["baseline"]["predicted"] == "SELECT\n  1"


def test_without_gold_nothing_is_counted_and_inventions_are_told(described):
    case = described(0, Answer(sql="SELECT salary FROM student"), gold=None)
    assert case.answer.verdict.execution is None and case.answer.errors == ()
    assert "invented_column" in [error for error, _ in case.details["findings"]]


def test_a_diagnosis_beyond_its_bounds_is_told_as_such(described, monkeypatch):
    def endless(*_, **__):
        while True:
            pass

    monkeypatch.setattr(describe_lib, "diagnose", endless)
    monkeypatch.setattr(describe_lib, "SECONDS", 0.2)
    case = described(0, Answer(sql="SELECT 1"))
    assert case.answer.findings == (
        Finding("wrong_nesting", "cannot be compared with gold: it takes more than 0.2 s"),
    )


def test_running_out_of_memory_is_told_as_such():
    with pytest.raises(describe_lib.ExceededError, match="memory"), describe_lib.bounded(10):
        raise MemoryError


def test_bounds_leave_no_alarm_behind():
    with describe_lib.bounded(0.05):
        pass
    with pytest.raises(describe_lib.ExceededError), describe_lib.bounded(0.05):
        while True:
            pass


def test_a_query_is_laid_out_by_clause():
    expected = "SELECT\n  name\nFROM singer\nWHERE\n  age > 3"
    assert describe_lib.laid_out("select name from singer where age>3") == expected


def test_of_two_statements_none_is_hidden():
    assert "DROP TABLE x" in describe_lib.laid_out("SELECT 1; DROP TABLE x")


def test_what_is_no_query_keeps_all_of_its_text():
    assert describe_lib.laid_out("I do not know") == "I do not know"


@given(st.text(alphabet="SELECT FROM'\"(),*x1 -/\u2019", max_size=200))
def test_broken_up_text_changes_in_white_space_only(text):
    assert "".join(describe_lib.broken_up(text).split()) == "".join(text.split())


def test_broken_up_text_has_a_line_per_clause():
    sql = "select name frm singer where 'a from b' order by"
    assert describe_lib.broken_up(sql) == "select name frm singer \nwhere 'a from b' \norder by"


def test_long_text_says_how_much_is_left_out():
    shown = describe_lib.shortened("x" * 20_007)
    assert shown.endswith("… 7 more characters")


def test_cells_survive_json_and_javascript():
    values = (None, 1, 1.5, "text", b"\x00\xff", math.inf, 2**60, "x" * 300, "\ud800")
    result = ExecutionResult(status="ok", columns=("a",) * 9, rows=(values,), row_count=1)
    shown = json.loads(json.dumps(describe_lib.shown_result(result), allow_nan=False))
    [row] = shown["rows"]
    assert row[:7] == [None, 1, 1.5, "text", "x'00ff'", "inf", str(2**60)]
    assert row[7] == "x" * 200 + "…"


def test_only_the_first_rows_are_shown_and_all_are_counted():
    rows = tuple((i,) for i in range(20))
    result = ExecutionResult(status="ok", columns=("a",), rows=rows, row_count=5000)
    shown = describe_lib.shown_result(result)
    assert (len(shown["rows"]), shown["total"]) == (10, 5000)

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from t2sql.evaluation.sandbox.sqlite_sandbox import ExecutionResult
from t2sql.report import details


def test_a_query_is_laid_out_by_clause():
    expected = "SELECT\n  name\nFROM singer\nWHERE\n  age > 3"
    assert details.laid_out("select name from singer where age>3") == expected


def test_of_two_statements_none_is_hidden():
    assert "DROP TABLE x" in details.laid_out("SELECT 1; DROP TABLE x")


def test_what_is_no_query_keeps_all_of_its_text():
    assert details.laid_out("I do not know") == "I do not know"


@given(st.text(alphabet="SELECT FROM'\"(),*x1 -/\u2019", max_size=200))
def test_broken_up_text_changes_in_white_space_only(text):
    assert "".join(details.broken_up(text).split()) == "".join(text.split())


def test_broken_up_text_has_a_line_per_clause():
    sql = "select name frm singer where 'a from b' order by"
    assert details.broken_up(sql) == "select name frm singer \nwhere 'a from b' \norder by"


def test_long_text_says_how_much_is_left_out():
    shown = details.shortened("x" * 20_007)
    assert shown.endswith("… 7 more characters")


def test_cells_survive_json_and_javascript():
    values = (None, 1, 1.5, "text", b"\x00\xff", math.inf, 2**60, "x" * 300, "\ud800")
    result = ExecutionResult(status="ok", columns=("a",) * 9, rows=(values,), row_count=1)
    shown = json.loads(json.dumps(details.shown_result(result), allow_nan=False))
    [row] = shown["rows"]
    assert row[:7] == [None, 1, 1.5, "text", "x'00ff'", "inf", str(2**60)]
    assert row[7] == "x" * 200 + "…"


def test_only_the_first_rows_are_shown_and_all_are_counted():
    rows = tuple((i,) for i in range(20))
    result = ExecutionResult(status="ok", columns=("a",), rows=rows, row_count=5000)
    shown = details.shown_result(result)
    assert (len(shown["rows"]), shown["total"]) == (10, 5000)

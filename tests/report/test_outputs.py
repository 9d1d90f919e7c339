import json
import resource
import sqlite3

import pytest
import report_pages as pages

from t2sql import errors
from t2sql.report import outputs


@pytest.mark.parametrize(
    "sql, expected",
    [
        ("SELECT 1", "SELECT 1"),
        ("SELECT 1 -- one", "SELECT 1 -- one"),
        ("SELECT 1 -- one\nFROM t", "SELECT 1   FROM t"),
        ("SELECT\n\tname\r\nFROM t", "SELECT name FROM t"),
        ("SELECT '-- no comment'\nFROM t", "SELECT '-- no comment' FROM t"),
        ("SELECT 'two\nlines'", "SELECT 'two lines'"),
        ("SELECT /* a\nb */ 1", "SELECT   1"),
        ("", "SELECT"),
        (" \n ", "SELECT"),
    ],
)
def test_one_line(sql, expected):
    assert outputs.one_line(sql) == expected


def test_a_query_on_one_line_gives_the_same_rows():
    sql = "SELECT 1, -- the first; not\n 'it''s', /* x\n */ 2\nWHERE 1\n"
    with sqlite3.connect(":memory:") as connection:
        rows = connection.execute(sql).fetchall()
        assert connection.execute(outputs.one_line(sql)).fetchall() == rows


def test_official_files_leave_out_examples_without_gold(tmp_path):
    with outputs.open_outputs(str(tmp_path)) as files:
        files.add(pages.judged(0, gold="SELECT 1", sql=""))
        files.add(pages.judged(1, gold=None, sql="SELECT 2"))
        files.add(pages.judged(2, gold="SELECT\n3", sql="SELECT\t3"))
        files.publish()
    assert (tmp_path / "predict.txt").read_text() == "SELECT\nSELECT 3\n"
    assert (tmp_path / "gold.txt").read_text() == "SELECT 1\tschool\nSELECT 3\tschool\n"
    rows = [json.loads(line) for line in (tmp_path / "verdicts.jsonl").read_text().splitlines()]
    assert [row["example_id"] for row in rows] == ["dev/0000", "dev/0001", "dev/0002"]


def test_nothing_is_left_behind_by_a_report_that_fails(tmp_path):
    (tmp_path / "report.md").write_text("an earlier report")
    with pytest.raises(ZeroDivisionError), outputs.open_outputs(str(tmp_path)) as files:
        files.write("report.md", "half of a new one")
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]
    assert (tmp_path / "report.md").read_text() == "an earlier report"


def test_a_lone_surrogate_does_not_stop_the_report(tmp_path):
    with outputs.open_outputs(str(tmp_path)) as files:
        files.add(pages.judged(0, gold="SELECT 1", sql="SELECT '\ud800'"))
        files.publish()
    assert (tmp_path / "predict.txt").read_text() == "SELECT '\\ud800'\n"


def test_an_unwritable_output_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(errors.InputError, match="--output=.*file/report: cannot be written: Not a"),
        outputs.open_outputs(str(tmp_path / "file" / "report")),
    ):
        pass


def test_a_bucket_is_no_output():
    with (
        pytest.raises(errors.InputError, match="local directory"),
        outputs.open_outputs("gs://bucket/report"),
    ):
        pass


def test_a_disk_that_takes_no_more_is_told_as_such(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))
    try:
        with (
            pytest.raises(errors.InputError, match="cannot be written: File too large"),
            outputs.open_outputs(str(tmp_path)) as files,
        ):
            files.write("report.md", "x" * 1_000_000)
            files.publish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []

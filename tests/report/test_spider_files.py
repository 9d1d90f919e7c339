import sqlite3
from pathlib import Path

import pytest

from t2sql import errors
from t2sql.report.spider_files import LineFile, cut_at_tab, query_line, split_gold


def write(tmp_path, data: bytes):
    path = tmp_path / "lines.txt"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_line_ends_and_a_byte_order_mark_are_no_part_of_a_line(tmp_path, end):
    file = LineFile(write(tmp_path, b"\xef\xbb\xbfSELECT 1" + end + b"SELECT 2" + end))
    assert list(file) == ["SELECT 1", "SELECT 2"]
    assert len(file) == 2


def test_only_a_newline_ends_a_line(tmp_path):
    text = "SELECT '\u2028\x0b\x85\r'"
    assert list(LineFile(write(tmp_path, text.encode() + b"\nSELECT 2"))) == [text, "SELECT 2"]


def test_blank_lines_inside_count_and_at_the_end_do_not(tmp_path):
    file = LineFile(write(tmp_path, b"SELECT 1\n\nSELECT 3\n\n\n"))
    assert len(file) == 3


def test_can_be_read_twice(tmp_path):
    file = LineFile(write(tmp_path, b"a\nb\n"))
    assert list(file) == list(file)


def test_other_encodings_are_refused_by_line_and_byte(tmp_path):
    path = write(tmp_path, "SELECT 1\nSELECT 'café'\n".encode("latin-1"))
    with pytest.raises(errors.InputError, match=r"lines.txt, line 2: not UTF-8 \(byte 12 .* 0xe9"):
        LineFile(path)


@pytest.mark.parametrize("name, reason", [("nothing.txt", "No such file"), (".", "Is a directory")])
def test_what_cannot_be_read_is_named(tmp_path, name, reason):
    with pytest.raises(errors.InputError, match=reason):
        LineFile(tmp_path / name)


def test_gold_line():
    assert split_gold("SELECT 1\tschool", where="g:1") == ("SELECT 1", "school")
    assert split_gold("SELECT\t1\tschool", where="g:1") == ("SELECT\t1", "school")


@pytest.mark.parametrize("line", ["SELECT 1", "\tschool", "SELECT 1\t", ""])
def test_gold_line_without_one_half_is_refused(line):
    with pytest.raises(errors.InputError, match="gold.sql, line 7: a gold line is SQL, a tab"):
        split_gold(line, where="gold.sql, line 7")


def test_a_stream_is_refused(tmp_path):
    with pytest.raises(errors.InputError, match="/dev/null: not a regular file"):
        LineFile(Path("/dev/null"))


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
def test_query_line(sql, expected):
    assert query_line(sql) == expected


def test_a_query_on_one_line_gives_the_same_rows():
    sql = "SELECT 1, -- the first; not\n 'it''s', /* x\n */ 2\nWHERE 1\n"
    with sqlite3.connect(":memory:") as connection:
        rows = connection.execute(sql).fetchall()
        assert connection.execute(query_line(sql)).fetchall() == rows


@pytest.mark.parametrize(
    "text, name",
    [
        ('["SELECT 1",\n "SELECT 2"]', "JSON"),
        ('{\n "0": "SELECT 1\\t----- bird -----\\tschool"\n}', "BIRD's format"),
        ('{"sql": "SELECT 1"}\n{"sql": "SELECT 2"}\n', "JSON lines"),
        ("question_id,predicted_sql\n0,SELECT 1\n", "CSV"),
        ('"db_id","query"\n"school","SELECT 1"\n', "CSV"),
        ("id;sql\n1;SELECT 1\n", "CSV"),
        ("question\tsql\nHow many?\tSELECT 1\n", "TSV"),
        ('0,SELECT 1\n1,"SELECT ""a"", 2"\n2,nothing\n', "CSV, each query behind another column"),
        ("0;SELECT 1\n1;SELECT 2\n", "CSV, each query behind another column"),
        ("school\tSELECT 1\nschool\tSELECT 2\n", "TSV, each query behind another column"),
        ('"SELECT 1"\n"WITH a AS (SELECT 1) SELECT 2"\n', "CSV, each query in quotes"),
        ("SELECT 1\n".encode("utf-16-le").decode(), "UTF-16"),
    ],
)
def test_another_format_is_named(tmp_path, text, name):
    with pytest.raises(errors.InputError, match=f"lines.txt: this is {name}.*one query a line"):
        LineFile(write(tmp_path, text.encode()))


@pytest.mark.parametrize(
    "text",
    [
        "[SELECT 1]\nSELECT 2",
        "SELECT id, query\n2",
        "{ 1\n2",
        "SELECT\tstudent_query\n2",
        'SELECT 1\n"SELECT 2"',
        "SELECT 1\n\tschool",
        "SELECT a\n0,SELECT 1",
    ],
)
def test_a_query_that_only_begins_like_another_format_is_a_query(tmp_path, text):
    assert list(LineFile(write(tmp_path, text.encode()))) == text.split("\n")


@pytest.mark.parametrize(
    "line, sql, dropped",
    [
        ("SELECT 1", "SELECT 1", ""),
        ("SELECT 1\tschool", "SELECT 1", "school"),
        ("SELECT 1 \t+ 2\tschool\r", "SELECT 1", "+ 2\tschool"),
        ("\tSELECT 1", "SELECT 1", ""),
        ("", "", ""),
    ],
)
def test_a_line_is_cut_at_its_first_tab_as_by_the_official_script(line, sql, dropped):
    official = line.strip().split("\t")[0]
    assert cut_at_tab(line) == (sql, dropped)
    assert official.strip() == sql


def test_some_lines_of_a_file_keep_their_numbers(tmp_path):
    part = LineFile(write(tmp_path, b"a\nb\nc\n\n")).only([3, 1])
    assert list(part.numbered()) == [(2, "b"), (4, "")]
    assert len(part) == 2

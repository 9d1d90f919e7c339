"""JSON record files: what is wrong is named by file, line, index and field."""

import pytest

from t2sql import errors
from t2sql.data import records


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"a": 1},\n {"a": }]', r"r\.json, line 2, column 8: not valid JSON"),
        (b"", r"r\.json, line 1, column 1: not valid JSON"),
        (b'[{"a": 1}', r"r\.json, line 1, column 10: not valid JSON"),
        (b'{"a": 1}', r"r\.json: expected a JSON list of records, found an object"),
        (b"null", r"r\.json: expected a JSON list of records, found null"),
        (b'[{"a": 1}, "b"]', r"r\.json: record 1 is a string, expected an object"),
        (b"[[]]", r"r\.json: record 0 is a list"),
        (b"[1.5]", r"r\.json: record 0 is a number"),
        ('[{"a": "é"}]'.encode("latin-1"), r"r\.json: not UTF-8 \(byte 8"),
        ('[{"a": "é"}]'.encode("utf-16"), r"r\.json: not UTF-8 \(byte 0"),
        (b"[" + b"1" * 5000 + b"]", r"r\.json: Exceeds the limit"),
        (b"[" * 100_000, r"r\.json: JSON nested too deeply"),
    ],
)
def test_broken_files(tmp_path, content, message):
    path = tmp_path / "r.json"
    path.write_bytes(content)
    with pytest.raises(errors.InputError, match=message):
        records.read_records(path)


def test_json_lines_are_read_whatever_the_name(tmp_path):
    path = tmp_path / "r.json"
    path.write_text('{"a": "{"}\n\n{"a": []}\n')
    assert records.read_records(path) == [{"a": "{"}, {"a": []}]
    path.write_text('{"a": 1}\n{"a": 2}\n{"a"')
    with pytest.raises(errors.InputError, match=r"r\.json, line 3: not valid JSON"):
        records.read_records(path)


def test_a_byte_order_mark_is_no_harm(tmp_path):
    path = tmp_path / "r.json"
    path.write_bytes(b'\xef\xbb\xbf[{"a": "\xc3\xa9"}]')
    assert records.read_records(path) == [{"a": "é"}]


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(errors.InputError, match=r"r\.json: no such file"):
        records.read_records(tmp_path / "r.json")
    with pytest.raises(errors.InputError, match="cannot be read: Is a directory"):
        records.read_records(tmp_path)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"b": 1, "c": 2}, r"record 3 has no field 'a' \(its fields: b, c\)"),
        ({}, r"record 3 has no field 'a' \(its fields: none\)"),
        ({"a": 1}, r"record 3: field 'a' is a number, expected a string"),
        ({"a": True}, r"record 3: field 'a' is true, expected a string"),
        ({"a": None}, r"record 3: field 'a' is null, expected a string"),
        ({"a": ["x"]}, r"record 3: field 'a' is a list, expected a string"),
        ({"a": "x\ud800"}, r"record 3: field 'a' holds half a Unicode character .* at 1\)"),
    ],
)
def test_wrong_fields(tmp_path, record, message):
    with pytest.raises(errors.InputError, match=message):
        records.field(tmp_path / "r.json", 3, record, "a", str)


@pytest.mark.parametrize(
    ("content", "format_name"),
    [
        ('{"db_id": "a",\n "question": "b"}\n{"db_id": "a"', None),
        ("db_id,question,query\nfleet,How many?,SELECT 1\n", "CSV"),
        ('"db_id"\t"question"\nfleet\tHow many?\n', "TSV"),
        ('[{"question": "a, b"', None),
    ],
)
def test_a_known_format_is_named(tmp_path, content, format_name):
    path = tmp_path / "dev.json"
    path.write_text(content)
    with pytest.raises(errors.InputError, match="not valid JSON") as raised:
        records.read_records(path)
    message = str(raised.value)
    assert f"This is {format_name}" in message if format_name else "This is" not in message

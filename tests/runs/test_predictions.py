"""Prediction rows: what is written is what is read, and nothing else is taken."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2sql import errors
from t2sql.runs import predictions as predictions_lib

ROW = predictions_lib.Prediction(
    example_id="dev/0007",
    db_id="concerts",
    question="How many?",
    gold="SELECT count(*) FROM t",
    text="```sql\nSELECT 1\n```",
    sql="SELECT 1",
    status="ok",
    prompt_tokens=320,
    output_tokens=12,
)

CANDIDATE = predictions_lib.Candidate(
    text="SELECT 1", sql="SELECT 1", status="ok", output_tokens=4, logprob=-0.5, masked_logprob=None
)

# Lone surrogates included: JSON files may hold them, and a model may be asked about them.
TEXT = st.text(st.characters(exclude_categories=()))
PREDICTIONS = st.builds(
    predictions_lib.Prediction,
    example_id=TEXT,
    db_id=TEXT,
    question=TEXT,
    gold=st.none() | TEXT,
    text=TEXT,
    sql=TEXT,
    status=st.sampled_from(predictions_lib.STATUSES),
    prompt_tokens=st.integers(0, 10**9),
    output_tokens=st.integers(0, 10**9),
)


@given(st.lists(PREDICTIONS, max_size=5))
def test_any_rows_survive_the_round_trip_one_a_line(predictions):
    data = predictions_lib.encode_rows(predictions)
    assert data.count(b"\n") == len(predictions)
    assert predictions_lib.decode_rows(data, name="unit") == predictions


def test_candidates_come_with_their_likelihood():
    likelier = dataclasses.replace(CANDIDATE, logprob=-0.25, masked_logprob=-0.125)
    row = dataclasses.replace(ROW, candidates=(CANDIDATE, likelier))
    assert predictions_lib.decode_rows(predictions_lib.encode_rows([row]), name="unit") == [row]
    first, second = json.loads(row.to_json())["candidates"]
    assert first["mean_logprob"] == -0.125 and first["mean_masked_logprob"] is None
    assert second["masked_logprob"] == -0.125


@pytest.mark.parametrize("candidates", [7, [7], [{"sql": "SELECT 1"}]])
def test_candidates_that_are_none_are_refused(candidates):
    line = json.dumps(json.loads(ROW.to_json()) | {"candidates": candidates})
    with pytest.raises(errors.InputError, match="candidate"):
        predictions_lib.Prediction.from_json(line, where="unit, line 1")


def test_fields_keep_the_contracts_order_and_text_stays_readable():
    line = dataclasses.replace(ROW, question="Wie viele Sänger?").to_json()
    assert list(json.loads(line)) == [
        "example_id",
        "db_id",
        "question",
        "gold",
        "text",
        "sql",
        "status",
        "prompt_tokens",
        "output_tokens",
    ]
    assert "Sänger" in line


def test_separators_inside_a_text_do_not_end_a_row():
    row = dataclasses.replace(ROW, text="a\u2028b\u0085c\rd\n")
    assert predictions_lib.decode_rows(predictions_lib.encode_rows([row]), name="unit") == [row]


def _with(**changes) -> bytes:
    return json.dumps(json.loads(ROW.to_json()) | changes).encode() + b"\n"


def _without(field) -> bytes:
    values = json.loads(ROW.to_json())
    del values[field]
    return json.dumps(values).encode() + b"\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (_without("db_id"), "unit-x, line 2: the field 'db_id' is missing"),
        (_with(db_id=3), "unit-x, line 2: the field 'db_id' must be str, found 3"),
        (_with(gold=[]), r"'gold' must be str or null, found \[\]"),
        (_with(prompt_tokens="3"), "'prompt_tokens' must be int, found \"3\""),
        (_with(prompt_tokens=True), "'prompt_tokens' must be int, found true"),
        (_with(output_tokens=-1), "'output_tokens' is negative"),
        (_with(status="great"), "'status' must be one of ok, max_tokens, prompt_too_long"),
        (_with(more=1), "unknown field 'more'"),
        (b"SELECT 1\n", "line 2: not a JSON row"),
        (b'"text"\n', "a prediction row is a JSON object, found str"),
        (b'{"example_id": "\xff"}\n', "line 2: not UTF-8 at byte 16"),
        (b"[" * 100_000 + b"\n", "nested too deeply"),
        (b"\n", "line 2: not a JSON row"),
        (ROW.to_json().encode()[:-5], "line 2: the row does not end in a newline"),
    ],
)
def test_a_wrong_row_is_named_by_file_line_and_field(line, message):
    with pytest.raises(errors.InputError, match=message):
        predictions_lib.decode_rows(predictions_lib.encode_rows([ROW]) + line, name="unit-x")


def test_an_unknown_status_cannot_be_made():
    with pytest.raises(ValueError, match="max_tokens"):
        dataclasses.replace(ROW, status="great")

"""The choice within a run, on the sample data."""

from t2sql import config as config_lib
from t2sql.choose import within_run
from t2sql.data import examples, sources
from t2sql.runs.predictions import Candidate, Prediction


def _candidate(sql: str, logprob: float) -> Candidate:
    return Candidate(
        text=sql, sql=sql, status="ok", output_tokens=5, logprob=logprob, masked_logprob=None
    )


def test_a_row_keeps_the_answer_that_the_database_speaks_for():
    example = examples.read_examples(sources.SAMPLE, "dev", limit=1)[0]
    wrong, right = _candidate("SELECT nothing FROM nowhere", -0.1), _candidate("SELECT 1", -3.0)
    row = Prediction(
        example_id=example.example_id,
        db_id=example.db_id,
        question=example.question,
        gold=None,
        text=wrong.text,
        sql=wrong.sql,
        status="ok",
        prompt_tokens=10,
        output_tokens=9,
        candidates=(wrong, right),
    )
    alone = Prediction(**{**vars(row), "example_id": "dev/0001", "candidates": ()})
    config = config_lib.default_config()
    config.data.path = "sample"
    with within_run.Chooser(config) as choose:
        chosen, as_it_was = choose([row, alone])
    assert (chosen.sql, chosen.output_tokens) == ("SELECT 1", 5)
    assert chosen.candidates == row.candidates
    assert as_it_was == alone

"""BIRD's measures on made pairs, whose values its own scripts gave."""

import sqlite3

import pytest

from t2sql.data.read_schema import schema_from_sqlite
from t2sql.evaluation import bird
from t2sql.evaluation.evaluate import evaluate_all
from t2sql.evaluation.sandbox.executor import Executor, Limits
from t2sql.evaluation.sandbox.results import ExecutionResult
from t2sql.evaluation.verdict import QueryPair

# Gold, prediction, EX and Soft-F1 as evaluation_ex.py and evaluation_f1.py say.
PAIRS = (
    ("SELECT name, age FROM singer", "SELECT name, age FROM singer ORDER BY age DESC", True, 1 / 3),
    ("SELECT name FROM singer", "SELECT name FROM singer UNION ALL SELECT 'Ada'", True, 1.0),
    ("SELECT name, age FROM singer", "SELECT age, name FROM singer", False, 1.0),
    ("SELECT name FROM singer", "SELECT name, age FROM singer", False, 2 / 3),
    ("SELECT name FROM singer", "SELECT name FROM singer LIMIT 1", False, 0.5),
    ("SELECT name FROM singer WHERE age > 99", "SELECT age FROM singer WHERE age > 99", True, 1.0),
    ("SELECT name FROM singer", "SELECT title FROM singer", False, 0.0),
    ("SELECT count(*) FROM singer", "SELECT 3.0", True, 1.0),
)


@pytest.fixture(scope="module")
def evaluate(tmp_path_factory):
    path = tmp_path_factory.mktemp("bird") / "music.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "CREATE TABLE singer (name TEXT, age INT);"
            "INSERT INTO singer VALUES ('Ada', 20), ('Bo', 30), ('Cy', 40)"
        )
    schema = schema_from_sqlite(path)
    with Executor(Limits(seconds=bird.SECONDS), workers=1) as executor:

        def run(*pairs, **changes):
            return list(
                evaluate_all(
                    [
                        QueryPair(
                            **{
                                "gold": gold,
                                "predicted": predicted,
                                "databases": (path,),
                                "schema": schema,
                                "metric": "bird",
                            }
                            | changes
                        )
                        for gold, predicted in pairs
                    ],
                    executor,
                )
            )

        yield run


def test_ex_and_soft_f1_are_those_of_birds_scripts(evaluate):
    verdicts = evaluate(*((gold, predicted) for gold, predicted, *_ in PAIRS))
    for verdict, (gold, predicted, agree, soft_f1) in zip(verdicts, PAIRS, strict=True):
        assert verdict.execution is agree, (gold, predicted)
        assert verdict.soft_f1 == pytest.approx(soft_f1), (gold, predicted)
        assert (verdict.reason is None) is agree


def test_thirty_seconds_are_for_both_queries():
    gold, slow = (ExecutionResult(status="ok", rows=((1,),), seconds=each) for each in (16, 15))
    assert not bird.results_agree(gold, slow, bird.SECONDS)
    assert bird.results_agree(gold, slow, 31)


def test_r_ves_is_measured_where_it_is_asked_for(evaluate, monkeypatch):
    right, wrong = "SELECT age FROM singer", "SELECT 1"
    (without,) = evaluate((right, right))
    timed = evaluate((right, right), (right, wrong), timed=True)
    assert without.ves is None
    assert timed[0].ves > 0 and timed[1].ves == 0


@pytest.mark.parametrize(
    ("ratios", "square"),
    [([2.0] * 3, 1.25), ([1.0], 1.0), ([0.6, 0.8], 0.75), ([0.3], 0.5), ([0.1], 0.25)],
)
def test_the_reward_grows_with_speed(ratios, square):
    assert bird.reward(ratios) ** 2 == pytest.approx(square)


def test_a_timing_that_stands_far_out_is_left_out():
    assert bird.reward([1.0, 1.01] * 50 + [1000.0]) == 1.0


@pytest.mark.parametrize("metric", ["spider", "bird"])
def test_any_of_several_gold_queries_makes_an_answer_right(evaluate, metric):
    verdicts = evaluate(
        ("SELECT 1", "SELECT name FROM singer"),
        ("SELECT 1", "SELECT age FROM singer"),
        metric=metric,
        other_golds=("SELECT 2", "SELECT name FROM singer"),
    )
    assert [verdict.execution for verdict in verdicts] == [True, False]

"""The choice among candidates by their results."""

import sqlite3

import pytest

from t2sql.choose.vote import ChooseQuery
from t2sql.evaluation.sandbox.executor import Executor, Limits

ADA = "SELECT name FROM student WHERE age = 36"
ADA_TOO = "SELECT name FROM student WHERE age < 40 AND age > 30"
GRACE = "SELECT name FROM student ORDER BY age LIMIT 1"
NOBODY = "SELECT name FROM student WHERE age = 99"
BROKEN = "SELECT naem FROM student"
ENDLESS = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t"


@pytest.fixture(scope="module")
def choose(tmp_path_factory):
    database = tmp_path_factory.mktemp("choosing") / "school.sqlite"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE student (name TEXT, age INTEGER)")
        rows = [("Ada", 36), ("Edgar", 41), ("Grace", 30)]
        connection.executemany("INSERT INTO student VALUES (?, ?)", rows)
    connection.close()

    with Executor(Limits(seconds=0.5), workers=1) as executor:

        def choose_among(*candidates, named=(), logprobs=()):
            (choice,) = executor.map([ChooseQuery(database, candidates, named, logprobs)])
            return choice.index, choice.votes, choice.ran

        yield choose_among


def test_the_first_one_that_runs_and_returns_rows_wins(choose):
    assert choose(BROKEN, NOBODY, ADA) == (2, 1, 2)


def test_most_votes_win(choose):
    assert choose(GRACE, ADA, ADA_TOO) == (1, 2, 3)


def test_the_first_result_wins_a_tie(choose):
    assert choose(GRACE, ADA, BROKEN) == (0, 1, 2)


def test_at_a_tie_the_most_likely_query_wins_where_likelihoods_are_known(choose):
    assert choose(GRACE, ADA, BROKEN, logprobs=(-2.0, -1.0, -0.1)) == (1, 1, 2)
    assert choose(ADA, ADA_TOO, GRACE, logprobs=(-2.0, -1.5, -0.1)) == (1, 2, 3)


def test_a_query_that_is_repeated_votes_each_time(choose):
    assert choose(GRACE, ADA, ADA) == (1, 2, 3)


def test_without_rows_anywhere_what_runs_wins(choose):
    assert choose(BROKEN, NOBODY, "") == (1, 1, 1)


@pytest.mark.parametrize("none_runs", [(BROKEN, ""), ("", BROKEN), ("DROP TABLE student",)])
def test_where_none_runs_the_first_one_stays(choose, none_runs):
    assert choose(*none_runs) == (0, 0, 0)


def test_what_asks_for_no_rows_is_no_candidate(choose):
    assert choose("EXPLAIN SELECT 1", "PRAGMA table_info(student)", ADA) == (2, 1, 1)


def test_a_query_that_hangs_loses_only_itself(choose):
    assert choose(ENDLESS, ADA) == (1, 1, 1)


def test_the_order_of_rows_and_columns_does_not_divide_votes(choose):
    assert choose(
        ADA,
        "SELECT name, age FROM student ORDER BY age",
        "SELECT age, name FROM student ORDER BY name",
    ) == (1, 2, 3)


def test_a_text_that_is_not_in_its_column_loses_against_one_that_is(choose):
    misplaced = "SELECT count(*) FROM student WHERE age = 'Ada'"
    assert choose(misplaced, misplaced, "SELECT count(*) FROM student WHERE name = 'Ada'") == (
        2,
        1,
        3,
    )


def test_a_query_that_leaves_out_a_named_value_loses_against_one_that_does_not(choose):
    everyone = "SELECT age FROM student"
    ada = "SELECT age FROM student WHERE name = 'Ada'"
    assert choose(everyone, everyone, ada) == (0, 2, 3)
    assert choose(everyone, everyone, ada, named=(("ADA", "Ada"),)) == (2, 1, 3)
    both = "SELECT age FROM student WHERE name = 'Ada' OR name = 'Grace'"
    assert choose(everyone, ada, both, named=(("Ada",), ("Grace",))) == (2, 1, 3)


def test_where_all_leave_it_out_most_votes_win(choose):
    assert choose(GRACE, ADA, ADA_TOO, named=(("Edgar",),)) == (1, 2, 3)


def test_what_cannot_be_read_is_taken_as_it_runs(choose):
    deep = "SELECT name FROM student WHERE age = " + "(" * 40 + "36" + ")" * 40
    assert choose(deep, ADA) == (0, 2, 2)

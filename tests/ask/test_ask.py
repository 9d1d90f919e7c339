"""Questions about one's own SQLite file, whatever it holds."""

import io
import sqlite3

import pytest
import rich.console

from t2sql import errors
from t2sql.ask import command
from t2sql.data.compact import CompactDatabase
from t2sql.evaluation.sandbox.executor import Executor, Limits
from t2sql.runs.predictions import Candidate, Prediction

ODD = {
    "no_keys": "CREATE TABLE a (x, y); INSERT INTO a VALUES (1, 2)",
    "names": 'CREATE TABLE "two words" ("Größe" INT, "客户" TEXT); '
    "INSERT INTO \"two words\" VALUES (1, '李')",
    "view": "CREATE TABLE a (x INT); INSERT INTO a VALUES (1); CREATE VIEW b AS SELECT x y FROM a",
    "strict": "CREATE TABLE a (x INTEGER PRIMARY KEY, y TEXT) STRICT;INSERT INTO a VALUES (1, 'y')",
    "without_rowid": "CREATE TABLE a (x TEXT PRIMARY KEY) WITHOUT ROWID;INSERT INTO a VALUES ('k')",
    "generated": "CREATE TABLE a (x INT, y INT AS (x + 1)); INSERT INTO a VALUES (1)",
    "many": ";".join(f"CREATE TABLE t{n} (id INT, v{n} TEXT)" for n in range(300)),
}
QUERIES = {"names": 'SELECT "客户" FROM "two words"', "view": "SELECT y FROM b"}
QUERIES |= {"generated": "SELECT y FROM a", "many": "SELECT count(*) FROM t299"}
SHOWN = {"names": "李", "strict": "y", "without_rowid": "k", "generated": "2", "many": "0"}


def make(path, script):
    with sqlite3.connect(path) as connection:
        connection.executescript(script)
    connection.close()
    return path


def row(sql, **changes):
    values = {"example_id": "ask/0000", "db_id": "d", "question": "q", "gold": None, "text": sql}
    values |= {"sql": sql, "status": "ok", "prompt_tokens": 5, "output_tokens": 5}
    return Prediction(**(values | changes))


def answer(path, prediction):
    out = io.StringIO()
    console = rich.console.Console(file=out, width=100)
    with Executor(Limits(seconds=5, shown_rows=2), workers=1) as executor:
        runs = command.answer("q", path, lambda question: prediction, executor, console)
    return runs, out.getvalue()


@pytest.mark.parametrize("name", ODD)
def test_an_odd_database_is_described_and_asked(tmp_path, name):
    path = make(tmp_path / f"{name}.sqlite", ODD[name])
    assert CompactDatabase(path).text
    runs, shown = answer(path, row(QUERIES.get(name, "SELECT * FROM a")))
    assert runs and "1 row" in shown and SHOWN.get(name, "1") in shown


def test_changes_in_a_wal_beside_it_are_told(tmp_path):
    path = make(tmp_path / "a.sqlite", "PRAGMA journal_mode = WAL; CREATE TABLE a (x)")
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO a VALUES (1)")
        connection.commit()
        options = {"adapter": "", "source": "", "model": "", "prompt": "compact"}
        asked = command.AskOptions(database=str(path), question="q", **options)
        with pytest.raises(errors.InputError, match="a.sqlite-wal beside it holds changes"):
            command.ask(asked)
    connection.close()


def test_what_does_not_run_is_told_and_nothing_is_written(tmp_path):
    path = make(tmp_path / "a.sqlite", ODD["no_keys"])
    before = path.read_bytes()
    for sql, message in (("SELECT z FROM a", "no such column: z"), ("DELETE FROM a", "not auth")):
        runs, shown = answer(path, row(sql))
        assert not runs and message in shown
    assert path.read_bytes() == before


def test_rows_beyond_those_shown_are_counted_and_the_likelihood_told(tmp_path):
    path = make(tmp_path / "a.sqlite", "CREATE TABLE a (x)" + ";INSERT INTO a VALUES (7)" * 5)
    scored = Candidate(
        text="", sql="", status="ok", output_tokens=3, logprob=-0.5, masked_logprob=None
    )
    _, shown = answer(path, row("SELECT x FROM a", candidates=(scored,)))
    assert "5 rows, 2 shown; the model gives this answer a likelihood of 61%" in shown


def test_a_schema_that_is_too_long_is_told(tmp_path):
    path = make(tmp_path / "a.sqlite", ODD["no_keys"])
    prediction = row("", status="prompt_too_long", prompt_tokens=9000)
    assert "take 9,000 tokens, and 8,192 are the most" in answer(path, prediction)[1]


def test_questions_are_read_line_by_line(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("How many?\n\nWhich?"))
    assert list(command._questions(None)) == ["How many?", "Which?"]
    assert list(command._questions("One?")) == ["One?"]
    with pytest.raises(errors.InputError, match="the question is empty"):
        list(command._questions(" "))

"""The command that chooses among runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import report_world as world

from t2sql import errors
from t2sql.choose import command


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return world.make_data(tmp_path_factory.mktemp("world") / "data")


def _run(path, data, changes=None, **options) -> str:
    sqls = world.golds()
    for position, sql in (changes or {}).items():
        sqls[position] = sql
    world.make_run(str(path), data, sqls, **options)
    return str(path)


def test_what_runs_and_what_most_say_is_written(tmp_path, data, capsys):
    greedy = _run(tmp_path / "a", data, {0: "SELECT naem FROM student", 2: "SELECT 1"})
    others = [_run(tmp_path / name, data) for name in "bc"]
    command.choose([greedy, *others], data=str(data), output=str(tmp_path / "out"))
    lines = (tmp_path / "out" / "predict.txt").read_text().splitlines()
    assert lines == world.golds()
    choices = [json.loads(line) for line in (tmp_path / "out" / "choices.jsonl").open()]
    assert [choice["example_id"] for choice in choices] == [f"dev/{i:04d}" for i in range(6)]
    assert [choice["chosen"] for choice in choices] == [
        others[0], greedy, others[0], greedy, greedy, greedy
    ]  # fmt: skip
    assert [choice["votes"] for choice in choices] == [2, 3, 2, 3, 3, 3]
    said = capsys.readouterr().out
    assert f"     4 from {greedy}" in said and f"     2 from {others[0]}" in said


def test_the_command(tmp_path, data):
    runs = [_run(tmp_path / name, data) for name in "ab"]
    program = [sys.executable, "-m", "t2sql.choose", f"--candidates={','.join(runs)}"]
    flags = [f"--data={data}", f"--output={tmp_path / 'out'}"]
    done = subprocess.run([*program, *flags], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert f"predictions: {tmp_path / 'out' / 'predict.txt'}" in done.stdout


def test_one_run_is_no_choice_but_its_doubtful_answers_are_listed(tmp_path, data, capsys):
    wrong = {
        0: "SELECT naem FROM student",
        1: "SELECT name FROM student WHERE name = 'Nobody'",
        2: "SELECT count(*) FROM student WHERE name = 'Nobody'",
    }
    run = _run(tmp_path / "a", data, wrong)
    command.choose([run], data=str(data), output=str(tmp_path / "out"))
    assert (tmp_path / "out" / "predict.txt").read_text().splitlines()[:3] == list(wrong.values())
    # The database of dev/0004 is empty: it cannot tell.
    listed = (tmp_path / "out" / "doubtful.txt").read_text().split()
    assert listed == ["dev/0000", "dev/0001", "dev/0002"]
    assert f"doubtful: 3, listed in {tmp_path / 'out' / 'doubtful.txt'}" in capsys.readouterr().out


def test_a_run_over_some_of_the_questions_has_a_say_on_these(tmp_path, data):
    greedy = _run(tmp_path / "a", data, {0: "SELECT naem FROM student", 3: "SELECT 1"})
    ids = ["dev/0000", "dev/0003"]
    sqls = [world.golds()[0], world.golds()[3]]
    for name in "bc":
        world.make_run(str(tmp_path / name), data, sqls, only=ids)
    again = [str(tmp_path / "b"), str(tmp_path / "c")]
    command.choose([greedy, *again], data=str(data), output=str(tmp_path / "out"))
    assert (tmp_path / "out" / "predict.txt").read_text().splitlines() == world.golds()
    choices = [json.loads(line) for line in (tmp_path / "out" / "choices.jsonl").open()]
    assert [choice["candidates"] for choice in choices] == [3, 1, 1, 3, 1, 1]
    assert [choice["chosen"] for choice in choices] == [
        again[0], greedy, greedy, again[0], greedy, greedy
    ]  # fmt: skip
    with pytest.raises(errors.InputError, match="b answers 2 examples of the split only"):
        command.choose([again[0], greedy], data=str(data), output=str(tmp_path / "out2"))


def test_a_run_over_no_question_has_no_say(tmp_path, data):
    """As one that was begun with an empty `doubtful.txt`."""
    greedy, again = _run(tmp_path / "a", data), str(tmp_path / "b")
    world.make_run(again, data, [], only=[])
    command.choose([greedy, again], data=str(data), output=str(tmp_path / "out"))
    assert (tmp_path / "out" / "predict.txt").read_text().splitlines() == world.golds()
    with pytest.raises(errors.InputError, match="no question is answered"):
        command.choose([again], data=str(data), output=str(tmp_path / "out2"))


def test_no_run_and_the_same_run_twice_are_refused(tmp_path, data):
    run = _run(tmp_path / "a", data)
    for candidates in ([], [""], [run, run], [run, f"{run}/"]):
        with pytest.raises(errors.InputError, match="one run or several different ones"):
            command.choose(candidates, data=str(data), output=str(tmp_path / "out"))


def test_an_incomplete_run_is_refused(tmp_path, data):
    runs = [_run(tmp_path / "a", data), _run(tmp_path / "b", data, without_units=1)]
    with pytest.raises(errors.RefusedError, match="b is incomplete .*1 unit missing") as raised:
        command.choose(runs, data=str(data), output=str(tmp_path / "out"))
    assert "counted as wrong" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_a_part_of_the_split_is_refused(tmp_path, data):
    whole = _run(tmp_path / "a", data)
    world.make_run(str(tmp_path / "b"), data, world.golds()[:2], limit=2)
    with pytest.raises(errors.InputError, match="b holds the first 2 examples only"):
        command.choose([whole, str(tmp_path / "b")], data=str(data), output=str(tmp_path / "out"))


def test_runs_over_different_splits_are_refused(tmp_path, data):
    whole = _run(tmp_path / "a", data)
    world.make_data(data, split="test")
    other = _run(tmp_path / "b", data, split="test")
    with pytest.raises(errors.InputError, match="the split 'dev'.*over 'test'"):
        command.choose([whole, other], data=str(data), output=str(tmp_path / "out"))


def test_a_run_that_lost_an_answer_is_refused_and_nothing_is_counted(tmp_path, data):
    run = Path(_run(tmp_path / "a", data))
    (run / "done.json").unlink()
    unit = min((run / "predictions").iterdir())
    unit.write_bytes(unit.read_bytes().partition(b"\n")[2])
    with pytest.raises(errors.RefusedError, match="a is incomplete") as raised:
        command.choose([str(run)], data=str(data), output=str(tmp_path / "out"))
    assert "counted as wrong" not in str(raised.value)

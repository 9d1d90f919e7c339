"""The pool of workers: order, bounds, and what becomes of workers that are killed or die."""

import itertools
import os
import pathlib
import sqlite3
import time

import pytest
import worker_tasks as tasks

from t2sql.evaluation.sandbox.executor import Executor, Limits, Query


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("pool") / "odd name ?#%.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (a INTEGER, b TEXT)")
    connection.executemany("INSERT INTO t VALUES (?, ?)", [(1, "x"), (2, None), (3, "z")])
    connection.commit()
    connection.close()
    return path


@pytest.fixture(scope="module")
def executor():
    with Executor(Limits(seconds=0.5, grace=1.0, memory=400 << 20), workers=2) as shared:
        yield shared


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_runs_a_query(executor, database):
    result = executor.run(database, "SELECT a, b AS name FROM t ORDER BY a DESC")
    assert result.ok
    assert result.columns == ("a", "name")
    assert result.rows == ((3, "z"), (2, None), (1, "x"))
    assert result.row_count == 3


def test_a_missing_database_is_an_error_of_the_query(executor, tmp_path):
    result = executor.run(tmp_path / "none.sqlite", "SELECT 1")
    assert (result.status, result.message) == ("error", "unable to open database file")
    assert not (tmp_path / "none.sqlite").exists()


def test_a_file_that_is_no_database_is_an_error_of_the_query(executor, tmp_path):
    (tmp_path / "no.sqlite").write_text("hello" * 1000)
    result = executor.run(tmp_path / "no.sqlite", "SELECT * FROM t")
    assert (result.status, result.message) == ("error", "file is not a database")


def test_results_come_in_order_from_all_processes(executor):
    work = [tasks.Double(number, seconds=0.002 * (number % 7)) for number in range(200)]
    assert list(executor.map(work)) == [2 * number for number in range(200)]
    assert len(set(executor.map(tasks.ProcessId() for _ in range(100)))) == 2


def test_tasks_are_taken_as_results_are_yielded(executor):
    taken = itertools.count()
    work = (tasks.Double(next(taken)) for _ in range(100_000))
    results = executor.map(work)
    for _ in range(500):
        next(results)
    results.close()
    assert 500 < next(taken) < 1_000


def test_one_map_at_a_time(executor):
    results = executor.map(tasks.Double(number) for number in range(100))
    next(results)
    with pytest.raises(RuntimeError, match="not finished"):
        list(executor.map([tasks.Double(1)]))
    results.close()
    assert list(executor.map([tasks.Double(1)])) == [2]


@pytest.mark.parametrize(
    "deed, status, words",
    [
        ("exit", "crashed", "exit 9"),
        ("abort", "crashed", "SIGABRT"),
        ("hang", "timeout", "stopped after 0.5 s"),
        ("hoard", "out_of_memory", "memory"),
    ],
)
def test_the_step_that_ends_a_process_is_reported_and_the_others_go_on(
    executor, deed, status, words
):
    work = [tasks.Double(number) for number in range(40)]
    work[20] = tasks.Harm(deed)
    results = list(executor.map(work))
    reported, message = results.pop(20)
    assert reported == status
    assert words in message
    assert results == [2 * number for number in range(40) if number != 20]


def test_a_killed_process_is_gone_and_another_takes_its_place(executor):
    before = set(executor.map(tasks.ProcessId() for _ in range(100)))
    list(executor.map([tasks.Harm("hang")]))
    after = set(executor.map(tasks.ProcessId() for _ in range(100)))
    assert len(after) == 2
    assert not any(_exists(process) for process in before - after)


def test_a_bug_in_a_task_is_raised_with_its_traceback(executor):
    with pytest.raises(RuntimeError, match="a bug"):
        list(executor.map([tasks.Harm("fail")]))
    assert list(executor.map([tasks.Double(1)])) == [2]


def test_a_process_that_keeps_dying_for_no_reason_is_given_up(executor):
    with pytest.raises(RuntimeError, match="keep ending"):
        list(executor.map([tasks.DieSilently()]))


def test_a_worker_cannot_write_files(executor, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Executor(Limits(), workers=1) as here, pytest.raises(RuntimeError, match="OSError"):
        list(here.map([tasks.Harm("write")]))
    assert not any(path.stat().st_size for path in tmp_path.iterdir())


def test_processes_end_with_the_executor():
    with Executor(Limits(), workers=2) as executor:
        processes = set(executor.map(tasks.ProcessId() for _ in range(50)))
    assert not any(_exists(process) for process in processes)


def test_a_worker_ends_when_its_parent_is_gone():
    executor = Executor(Limits(), workers=1)
    (process,) = set(executor.map([tasks.ProcessId()]))
    # What the kernel does to the sockets of a parent that was killed.
    executor._pool[0].connection.close()
    executor._pool[0]._process.wait(timeout=10)
    assert not _exists(process)


def test_too_little_memory_is_refused():
    with pytest.raises(ValueError, match="67,108,864 are the least"):
        Limits(memory=5 << 20)
    with Executor(Limits(memory=64 << 20), workers=1) as executor:
        assert list(executor.map([tasks.Double(1)])) == [2]


def test_only_the_first_rows_come_back_cut(database):
    limits = Limits(shown_rows=2, shown_characters=5)
    with Executor(limits, workers=1) as executor:
        result = executor.run(database, "SELECT a, 'abcdefghi', x'00112233445566' FROM t")
    cut = ("abcde", b"\x00\x11\x22\x33\x44")
    assert result.rows == ((1, *cut), (2, *cut))
    assert result.row_count == 3


def test_all_rows_come_back_on_demand(database):
    with Executor(Limits(shown_rows=None), workers=1) as executor:
        result = executor.run(database, "SELECT a.a FROM t a, t b, t c, t d, t e")
    assert len(result.rows) == result.row_count == 3**5


def test_many_small_queries_take_little_time(executor, database):
    start = time.monotonic()
    results = executor.map(Query(database, f"SELECT a + {i} FROM t") for i in range(3_000))
    assert sum(result.ok for result in results) == 3_000
    assert time.monotonic() - start < 20  # about 0.2 s on two idle cores

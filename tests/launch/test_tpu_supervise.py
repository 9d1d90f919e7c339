"""`launch/tpu/supervise.sh`: what it restarts, and how it ends."""

import os
import pathlib
import signal
import subprocess
import time

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / "launch" / "tpu" / "supervise.sh"


@pytest.fixture
def supervise(tmp_path):
    started = []

    def start(job: str, restarts: int = 2, **environ: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [SCRIPT, tmp_path, str(restarts), "bash", "-c", job],
            env=os.environ | {"T2SQL_PAUSES": "0.05 0.2"} | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_until(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("job", "code", "restarts"),
    [
        ("exit 0", 0, 0),
        ("exit 2", 2, 0),
        ("exit 3", 3, 0),
        ("exit 1", 1, 2),
        ("exit 75", 75, 2),
        ("kill -KILL $$", 137, 2),
        ("kill -TERM $$", 143, 2),
        ("[ $T2SQL_RESTARTS = 1 ]", 0, 1),
    ],
)
def test_restarts_what_another_try_can_mend(supervise, tmp_path, job, code, restarts):
    process = supervise(job)
    said = process.communicate(timeout=20)[0]
    assert process.returncode == code
    assert (tmp_path / "exit-code").read_text() == f"{code}\n"
    assert (tmp_path / "restarts").read_text() == f"{restarts}\n"
    assert said.count("] starts") == restarts + 1


def test_the_last_pause_repeats(supervise):
    said = supervise("exit 75", restarts=4).communicate(timeout=20)[0]
    assert [line.split("restart ")[1] for line in said.splitlines() if "restart " in line] == [
        f"{index} of 4 in {pause} s" for index, pause in enumerate(("0.05", "0.2", "0.2", "0.2"), 1)
    ]


def test_a_command_that_ran_for_long_has_its_restarts_again(supervise, tmp_path):
    job = "[ $T2SQL_RESTARTS -lt 3 ] && exit 75; exit 0"
    process = supervise(job, restarts=1, T2SQL_FORGIVEN="0")
    assert process.wait(20) == 0
    assert (tmp_path / "restarts").read_text() == "3\n"


def test_sigterm_ends_the_job_in_good_order_and_for_good(supervise, tmp_path):
    process = supervise(
        "trap 'echo in good order; exit 143' TERM; echo ready; while :; do sleep 0.1; done"
    )
    while "ready" not in process.stdout.readline():
        pass
    process.terminate()
    assert "in good order" in process.stdout.read()
    assert process.wait(10) == 143
    assert (tmp_path / "restarts").read_text() == "0\n"


def test_sigterm_ends_a_pause(supervise, tmp_path):
    process = supervise("exit 1", restarts=20)
    while "restart 5" not in process.stdout.readline():
        pass
    process.terminate()
    assert process.wait(5) == 1
    assert (tmp_path / "exit-code").exists()


def test_a_job_does_not_outlive_a_supervisor_that_is_killed(supervise):
    process = supervise("echo $$; exec sleep 30")
    process.stdout.readline()
    job = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not pathlib.Path(f"/proc/{job}").exists())


def test_a_second_supervisor_leaves(supervise, tmp_path):
    first = supervise("sleep 30")
    wait_until((tmp_path / "pid").exists)
    second = supervise("touch second")
    assert second.wait(10) == 0
    assert int((tmp_path / "pid").read_text()) == first.pid

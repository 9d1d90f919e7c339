"""Runs whose answers are checked in processes of their own: how they end, and what with them."""

import os
import pathlib
import signal
import time

import jobs
import pytest

pytestmark = pytest.mark.slow
FLAGS = (
    "--config.sampling.constrain=keys",
    "--config.constraint_workers=2",
    "--config.sampling.max_new_tokens=110",
    "--config.unit_size=2",
    "--config.batch_size=2",
)


def checkers(pid: int) -> list[int]:
    """The processes of a run that check its answers."""
    pids = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            is_checker = b"t2sql.constraint import worker" in (path.parent / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended
        if parent == pid and is_checker:
            pids.append(int(path.parent.name))
    return pids


def is_alive(pid: int) -> bool:
    """Whether a process runs: one that has ended and that nobody waits for does not."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("stopped", "number", "code"),
    [
        ("run", signal.SIGINT, 130),
        ("run", signal.SIGTERM, 143),
        ("run", signal.SIGKILL, -9),
        ("checker", signal.SIGKILL, 75),
    ],
)
def test_a_run_ends_with_its_checkers(tmp_path, stopped, number, code):
    process = jobs.start(tmp_path / "run", *FLAGS)
    deadline = time.monotonic() + 240
    while not jobs.objects(tmp_path / "run"):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    pids = checkers(process.pid)
    assert len(pids) == 2
    os.kill(process.pid if stopped == "run" else pids[0], number)
    returncode, output, error = jobs.finish(process)
    assert returncode == code, error
    assert "Traceback" not in error
    if number != signal.SIGKILL or stopped == "checker":
        assert f"--config.output={tmp_path / 'run'} goes on from there" in output
    if stopped == "checker":
        assert f"process {pids[0]}, which checks answers, has ended (SIGKILL)" in error
    deadline = time.monotonic() + 10
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.01)

"""`launch/local_pod.sh` with a stand-in for the job: how processes start, fail and end."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

LAUNCH = pathlib.Path(__file__).parents[2] / "launch"
SCRIPT, LIB = LAUNCH / "local_pod.sh", LAUNCH / "lib.sh"
JOB = """
import os, pathlib, signal, sys, time
if sys.argv[1] == "-c":
    exec(sys.argv[2])
    sys.exit()
assert sys.argv[1:3] == ["-m", "t2sql.main"]
host = os.environ["T2SQL_PROCESS_ID"]
behaviour = dict(argument.split("=") for argument in sys.argv[3:]).get(host, "0")
pids = pathlib.Path(os.environ["PIDS"])
kind, _, code = behaviour.rpartition("-")
if kind == "on_term":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(int(code)))
print("host", host, "of", os.environ["T2SQL_NUM_PROCESSES"], os.environ["XLA_FLAGS"], flush=True)
print("coordinator", os.environ["T2SQL_COORDINATOR"], flush=True)
(pids / host).write_text(str(os.getpid()))
while len([p for p in pids.iterdir() if p.read_text()]) < int(os.environ["T2SQL_NUM_PROCESSES"]):
    time.sleep(0.02)
if behaviour == "hang" or kind == "on_term":
    time.sleep(60)
if behaviour == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(int(code))
"""


@pytest.fixture
def pod(tmp_path):
    return Pod(tmp_path)


class Pod:
    """Starts the script with a stand-in for Python that plays the job."""

    def __init__(self, root: pathlib.Path):
        self.pids, self.logs, python = root / "pids", root / "the logs", root / "python"
        self.pids.mkdir()
        (root / "job.py").write_text(JOB)
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{root}/job.py" "$@"\n')
        python.chmod(0o755)
        self.environment = {**os.environ, "T2SQL_PYTHON": str(python), "PIDS": str(self.pids)}

    def start(self, *job: str, hosts: int = 2) -> subprocess.Popen:
        return subprocess.Popen(
            [SCRIPT, f"--hosts={hosts}", "--devices=3", f"--logs={self.logs}", "--", *job],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *job: str, hosts: int = 2) -> tuple[int, str, str]:
        process = self.start(*job, hosts=hosts)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def started(self, hosts: int = 2) -> list[int]:
        wait_until(lambda: len([p for p in self.pids.iterdir() if p.read_text()]) == hosts)
        return [int(path.read_text()) for path in self.pids.iterdir()]

    def log(self, host: int) -> str:
        return (self.logs / f"host-{host}.log").read_text()


def wait_until(condition, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_each_host_knows_its_place_and_has_its_log(pod):
    code, out, _ = pod.run(hosts=3)
    assert code == 0
    for host in range(3):
        assert f"host {host} of 3" in pod.log(host)
        assert "--xla_force_host_platform_device_count=3" in pod.log(host)
    coordinators = {pod.log(host).split("coordinator 127.0.0.1:")[1].strip() for host in range(3)}
    assert len(coordinators) == 1
    assert "host 0 of 3" in out
    assert "host 1 of 3" not in out
    assert out.endswith("\nAll 3 hosts have done their part\n")


def test_workers_stay_in_the_group_of_the_script(pod):
    process = pod.start("0=hang", "1=hang")
    pids = pod.started()
    assert {os.getpgid(pid) for pid in pids} == {process.pid}
    process.terminate()
    process.communicate(timeout=20)


def test_the_first_failure_stops_the_others(pod):
    code, out, err = pod.run("0=hang", "1=7", "2=hang", hosts=3)
    assert code == 7
    assert "have done" not in out
    assert "host 1 ended with exit code 7" in err
    assert not any(alive(pid) for pid in pod.started(3))


@pytest.mark.parametrize(
    ("first", "second", "worst"),
    [
        ("75", "on_term-143", 75),
        ("75", "on_term-1", 1),
        ("1", "on_term-75", 1),
        ("1", "on_term-2", 2),
        ("3", "on_term-1", 3),
        ("killed", "on_term-75", 137),
        ("killed", "on_term-1", 1),
        ("1", "on_term-0", 1),
    ],
)
def test_exits_with_the_worst_code(pod, first, second, worst):
    assert pod.run(f"0={first}", f"1={second}")[0] == worst


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("to_group", [False, True])
def test_a_signal_ends_all_processes(pod, sent, code, to_group):
    process = pod.start("0=on_term-143", "1=on_term-143")
    pids = pod.started()
    (os.killpg if to_group else os.kill)(process.pid, sent)
    process.communicate(timeout=20)
    assert process.returncode == code
    assert not any(alive(pid) for pid in pids)


def test_no_process_outlives_a_script_that_is_killed(pod):
    process = pod.start("0=hang", "1=hang")
    pids = pod.started()
    process.kill()
    wait_until(lambda: not any(alive(pid) for pid in pids), seconds=5)
    process.communicate(timeout=5)  # nobody holds its output open either


def test_a_process_that_a_killed_script_was_just_starting_does_not_begin(tmp_path):
    """The script is gone when its child comes to tell the kernel of the tie."""
    late = f"source '{LIB}'; {{ sleep 0.3; tied_to_this_script touch '{tmp_path}/begun'; }} &"
    script = subprocess.Popen(["bash", "-c", f"{late} kill -KILL $$"], stdout=subprocess.PIPE)
    script.communicate(timeout=20)  # returns when the child has closed its output, too
    assert script.returncode == -signal.SIGKILL
    assert not (tmp_path / "begun").exists()


@pytest.mark.parametrize("flag", ["--hosts=0", "--devices=two", "--host=2"])
def test_a_wrong_flag_is_bad_input(flag):
    result = subprocess.run([SCRIPT, flag], capture_output=True, text=True)
    assert result.returncode == 2
    assert flag in result.stderr

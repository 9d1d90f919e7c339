"""SIGINT and SIGTERM to a process that is stuck outside of Python, and to one that looks."""

import signal
import subprocess
import sys
import time

import pytest

# A lock held for ever stands for a step on the device; `check` says what the job would be told.
PROGRAM = """
import sys, threading, time
from t2sql.runtime import signals
watch = signals.TerminationWatch(grace_seconds=0.6, advice="go on like this")
watch.start()
if "orderly" in sys.argv:
    watch.keep_order()
print("ready", flush=True)
if "stuck" in sys.argv:
    threading.Lock().acquire() and time.sleep(60)
while True:
    try:
        watch.check()
    except BaseException as told:
        print("told", type(told).__name__, flush=True)
        sys.exit(7)
    time.sleep(0.01)
"""


@pytest.fixture
def start():
    started = []

    def run(*arguments: str, **options) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_before_there_are_results_it_ends_at_once(start, sent, code):
    process = start("stuck")
    begun = time.monotonic()
    process.send_signal(sent)
    _, error = process.communicate(timeout=10)
    assert process.returncode == code
    assert error == f"{sent.name}: go on like this\n"
    assert time.monotonic() - begun < 0.5


@pytest.mark.parametrize(
    ("sent", "told"), [(signal.SIGINT, "KeyboardInterrupt"), (signal.SIGTERM, "Terminated")]
)
def test_afterwards_the_job_is_told(start, sent, told):
    process = start("orderly")
    process.send_signal(sent)
    output, _ = process.communicate(timeout=10)
    assert process.returncode == 7
    assert output == f"told {told}\n"


def test_a_step_that_outlasts_the_grace_period_is_cut_off(start):
    process = start("orderly", "stuck")
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)  # A launcher may pass on what the group got too.
    _, error = process.communicate(timeout=10)
    assert process.returncode == 143
    assert "not finished within 0.6 s (--config.grace_seconds)" in error
    assert 0.6 <= time.monotonic() - begun < 3


def test_a_second_ctrl_c_ends_it_at_once(start):
    process = start("orderly", "stuck")
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "Stopping after this step; Ctrl-C again ends it at once.\n"
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=10)
    assert process.returncode == 130
    assert error == "SIGINT: unfinished units are left for the next run\n"


def test_sigterm_after_ctrl_c_has_its_grace_period(start):
    process = start("orderly", "stuck")
    process.send_signal(signal.SIGINT)
    process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 143


def test_a_background_job_stays_deaf_to_ctrl_c(start):
    process = start("stuck", preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 143

"""The commands as a user types them: exit codes, messages, signals."""

import os
import shutil
import signal
import time

import child_cpu
import jobs
import pytest

from t2sql.data import sources


def _wait_for_first_object(output, process) -> None:
    deadline = time.monotonic() + 240
    while not jobs.objects(output):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


# The dummy is fast: a large answer and small units leave time to stop it in the middle.
SLOW = ("--config.sampling.max_new_tokens=2000", "--config.unit_size=2", "--config.batch_size=2")


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_so_and_goes_on(tmp_path, stop, code):
    process = jobs.start(tmp_path / "run", *SLOW)
    _wait_for_first_object(tmp_path / "run", process)
    process.send_signal(stop)
    returncode, output, error = jobs.finish(process)
    assert returncode == code, error
    assert f"--config.output={tmp_path / 'run'} goes on from there" in output
    assert "Traceback" not in error
    assert not os.path.exists(tmp_path / "run" / "done.json")


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_while_it_compiles_ends_at_once(tmp_path, stop, code):
    others = child_cpu.ended()
    process = jobs.start(tmp_path / "run", *SLOW)
    while "weights:" not in process.stdout.readline():
        assert process.poll() is None
    time.sleep(0.3)
    before = child_cpu.running(process.pid)
    process.send_signal(stop)
    returncode, _, error = jobs.finish(process)
    assert child_cpu.ended() - others - before < 1
    assert returncode == code
    assert error.endswith(f"with --config.output={tmp_path / 'run'} goes on from there\n")


def test_pressing_ctrl_c_again_ends_it_without_a_traceback(tmp_path):
    process = jobs.start(tmp_path / "run", *SLOW)
    _wait_for_first_object(tmp_path / "run", process)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
    returncode, _, error = jobs.finish(process)
    assert returncode in (130, -signal.SIGINT)
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--config.batchsize=8", "no such config value: 'batchsize'"),
        ("--config.batch_size=many", "batch_size"),
        ("--config.sampling.seeed=1", "no such config value: 'seeed'"),
        ("--confg=configs/quickstart.py", "confg"),
        ("--config.data.path=/nowhere", "/nowhere: no such data directory"),
        ("stray", "stray"),
    ],
)
def test_a_mistake_is_named_in_one_message(tmp_path, flag, message):
    returncode, _, error = jobs.finish(jobs.start(tmp_path / "run", flag))
    assert returncode == 2, error
    assert message in error
    assert "Traceback" not in error
    assert not os.path.exists(tmp_path / "run")


def test_no_such_config_file(tmp_path):
    returncode, _, error = jobs.finish(jobs.start(tmp_path / "run", config="configs/nothing.py"))
    assert returncode == 2
    assert "configs/nothing.py" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("config.batchsize = 8", "sets 'batchsize', which no value is called"),
        ("config.batch_size = 'many'", "Could not override field 'batch_size'"),
        ("config.batch_size = meny", "own.py, line 4: name 'meny' is not defined"),
        ("config.batch_size =", "own.py, line 4: invalid syntax"),
        ("import nothing_of_this_name", "own.py, line 4: No module named"),
    ],
)
def test_a_mistake_in_a_config_file_is_named_in_one_message(tmp_path, body, message):
    (tmp_path / "own.py").write_text(
        "from t2sql import config as config_lib\n"
        "def get_config():\n"
        "    config = config_lib.default_config()\n"
        f"    {body}\n"
        "    return config\n"
    )
    process = jobs.start(tmp_path / "run", config=str(tmp_path / "own.py"))
    returncode, _, error = jobs.finish(process)
    assert returncode == 2, error
    assert message in error
    assert "Traceback" not in error
    assert not os.path.exists(tmp_path / "run")


def test_output_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    process = jobs.start(tmp_path / "file" / "run")
    returncode, _, error = jobs.finish(process)
    assert returncode == 2, error
    assert str(tmp_path / "file") in error
    assert "Traceback" not in error


def _inspect(output, *flags: str) -> str:
    dummy = ("--config.model.name=dummy", "--config.model.source=dummy:0")
    dummy += ("--config.prompt=completion",)
    returncode, shown, error = jobs.finish(
        jobs.start(output, *dummy, *flags, module="t2sql.inspect")
    )
    assert returncode == 0, error
    return shown


def test_inspect_shows_the_example(tmp_path):
    output = _inspect(tmp_path, "--index=3")
    for part in ("dev/0003", "CREATE TABLE", "2:'<bos>'", "to the letter", "in a bucket of"):
        assert part in output


def test_inspect_shows_a_question_without_gold(tmp_path):
    data = shutil.copytree(sources.SAMPLE, tmp_path / "data")
    (data / "dev.json").write_text('[{"db_id": "library", "question": "How many books?"}]')
    assert "gold: (none given)" in _inspect(tmp_path, f"--config.data.path={data}")


def test_inspect_names_the_range_of_its_index(tmp_path):
    process = jobs.start(tmp_path, "--index=99999", module="t2sql.inspect")
    returncode, _, error = jobs.finish(process)
    assert returncode == 2
    assert "--index is 99999" in error

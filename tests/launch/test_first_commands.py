"""`launch/quickstart.sh` and `launch/test.sh` with a stand-in for Python."""

import os
import pathlib
import shutil
import subprocess

import pytest

LAUNCH = pathlib.Path(__file__).parents[2] / "launch"


@pytest.fixture
def run(tmp_path):
    """Runs a script of a clone whose path has a space; Python prints its arguments."""
    clone, python = tmp_path / "a clone", tmp_path / "python"
    shutil.copytree(LAUNCH, clone / "launch")
    (tmp_path / "chromium").write_text("")
    (tmp_path / "chromium").chmod(0o755)
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit ${CODE:-0}\n')
    python.chmod(0o755)

    def start(script: str, *flags: str, cwd: pathlib.Path | str = "/", **variables: str):
        environment = {**os.environ, "T2SQL_PYTHON": str(python), "T2SQL_SPIDER_DIR": ""}
        environment |= {"CI": "", "PATH": f"{tmp_path}:{os.environ['PATH']}", **variables}
        return subprocess.run(
            [clone / "launch" / script, *flags],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
        )

    start.clone = clone
    return start


def test_quickstart_has_a_new_directory_each_time(run):
    for _ in range(3):
        assert run("quickstart.sh").returncode == 0
    assert len(list((run.clone / "runs").iterdir())) == 3


def test_quickstart_runs_the_job_and_says_what_next(run):
    said = run("quickstart.sh", "--config.data.limit=4").stdout
    (output,) = (run.clone / "runs").iterdir()
    assert f"--config={run.clone}/configs/quickstart.py\n" in said
    assert f"--config.output={output}\n" in said
    assert "--config.data.limit=4\n" in said
    assert f"The predictions are in {output}/predictions" in said


def test_quickstart_goes_on_with_a_run_that_is_named(run):
    said = run("quickstart.sh", "--config.output=here").stdout
    assert "The predictions are in here/predictions" in said
    assert not (run.clone / "runs").exists()


def test_quickstart_takes_the_output_as_a_word_of_its_own(run):
    said = run("quickstart.sh", "--config.output", "here").stdout
    assert "The predictions are in here/predictions" in said
    assert not (run.clone / "runs").exists()


def test_quickstarts_hints_name_the_data_that_was_asked_about(run):
    said = run("quickstart.sh", "--config.output=here", "--config.data.path=my data").stdout
    assert "--data=my\\ data" in said
    assert "--index=0 --config.data.path=my\\ data" in said


def test_quickstarts_hints_can_be_pasted(run):
    said = run("quickstart.sh").stdout
    (output,) = (run.clone / "runs").iterdir()
    report, inspect, _ = (
        hint.partition("\n")[2] for hint in said.partition("What to try next")[2].split("\n* ")[1:]
    )
    assert subprocess.check_output(["bash", "-c", report], text=True).splitlines() == [
        *("-m", "t2sql.report", "--data=sample"),
        *(f"--predictions={output}", f"--output={output}/report"),
    ]
    assert subprocess.check_output(["bash", "-c", inspect], text=True).splitlines() == [
        *("-m", "t2sql.inspect"),
        *(f"--config={run.clone}/configs/quickstart.py", "--index=0"),
    ]


def test_quickstarts_paths_are_short_in_the_clone(run):
    said = run("quickstart.sh", cwd=run.clone).stdout
    (output,) = (run.clone / "runs").iterdir()
    assert f"\nThe predictions are in runs/{output.name}/predictions\n" in said
    assert f"\n    --output=runs/{output.name}/report\n" in said


def test_quickstart_ends_as_the_job_ends(run):
    result = run("quickstart.sh", CODE="2")
    assert result.returncode == 2
    assert "What to try next" not in result.stdout
    assert not list((run.clone / "runs").iterdir())


def test_the_tests_that_need_spider_are_left_out_aloud(run):
    said = run("test.sh", "tests/runs").stdout
    assert "T2SQL_SPIDER_DIR is not set" in said
    assert said.endswith("-m\npytest\n-m\nnot spider and not accelerators\ntests/runs\n")


def test_the_tests_that_need_compilers_are_left_out_aloud(run):
    said = run("test.sh", "-x", T2SQL_SPIDER_DIR="/spider").stdout
    assert "benchmarks/compilers_setup.sh" in said
    assert said.endswith("-m\npytest\n-m\nnot accelerators\n-x\n")


def test_all_tests_run_where_spider_and_the_compilers_are(run):
    (run.clone / "benchmarks" / "envs" / "compilers").mkdir(parents=True)
    assert run("test.sh", "-x", T2SQL_SPIDER_DIR="/spider").stdout == "-m\npytest\n-x\n"


def test_ci_leaves_no_test_out(run):
    result = run("test.sh", CI="true")
    assert result.returncode == 2
    assert "T2SQL_SPIDER_DIR is not set" in result.stderr

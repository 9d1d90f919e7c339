"""The examples for Slurm and SkyPilot: what they would start."""

import pathlib
import subprocess

import pytest
import yaml

LAUNCH = pathlib.Path(__file__).parents[2] / "launch"


@pytest.fixture
def sbatch(tmp_path):
    """Runs the script as sbatch does, a copy of it, with an srun that prints what it is given."""
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("")
    python.chmod(0o755)
    srun = tmp_path / "tools" / "srun"
    srun.parent.mkdir()
    srun.write_text('#!/bin/sh\npwd; echo "$*"; echo "replicas: $T2SQL_NUM_REPLICAS"\n')
    srun.chmod(0o755)
    copy = tmp_path / "slurm_script"
    copy.write_text((LAUNCH / "slurm" / "job.sh").read_text())

    def run(*flags: str, **environ: str) -> tuple[int, list[str]]:
        path = {"PATH": f"{srun.parent}:/usr/bin:/bin"}
        done = subprocess.run(
            ["bash", copy, *flags], env=path | environ, cwd="/", capture_output=True, text=True
        )
        return done.returncode, (done.stdout + done.stderr).splitlines()

    return run


def test_slurm_runs_the_job_from_the_repository(sbatch, tmp_path):
    code, said = sbatch("--config.output=/shared/run", SLURM_SUBMIT_DIR=str(tmp_path))
    python, config = tmp_path / ".venv/bin/python", tmp_path / "configs/gpu.py"
    job = f"{python} -m t2sql.main --config={config} --config.output=/shared/run"
    assert (code, said) == (0, [str(tmp_path), job, "replicas: "])


def test_the_jobs_of_a_slurm_array_are_hosts_of_one_run(sbatch, tmp_path):
    environ = {"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_ARRAY_TASK_COUNT": "8"}
    _, said = sbatch("--config=configs/mine.py", **environ)
    assert said[1].endswith("-m t2sql.main --config=configs/mine.py")
    assert said[2] == "replicas: 8"


def test_slurm_needs_a_repository_that_is_set_up(sbatch):
    assert sbatch(SLURM_SUBMIT_DIR="/") == (
        2,
        ["error: / has no .venv: sbatch from the repository, after launch/setup.sh"],
    )


def test_skypilot_starts_the_job_with_what_is_there():
    task = yaml.safe_load((LAUNCH / "skypilot" / "t2sql.yaml").read_text())
    assert task["resources"]["use_spot"] is True
    assert {"OUTPUT", "CONFIG", "FLAGS", "NUM_REPLICAS", "REPLICA"} == task["envs"].keys()
    assert (LAUNCH.parent / task["envs"]["CONFIG"]).exists()
    for script in (task["setup"], task["run"]):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    variables = task["envs"] | {"OUTPUT": "gs://b/run"}
    run = task["run"].replace("exec .venv/bin/python", "echo $T2SQL_REPLICA of $T2SQL_NUM_REPLICAS")
    said = subprocess.check_output(["bash", "-c", run], env=variables, text=True)
    assert said == ("0 of 1 -m t2sql.main --config=configs/tpu_pod.py --config.output=gs://b/run\n")

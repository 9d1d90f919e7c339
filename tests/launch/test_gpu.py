"""`launch/gpu.sh` with stand-ins for nvidia-smi and Python."""

import os
import pathlib
import shutil
import subprocess

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / "launch" / "gpu.sh"
H200 = "echo '595.71.05, NVIDIA H200, 143771 MiB'"
JAX_SEES = 'case $1 in -c) echo cuda:0 ;; *) env; printf "%s\\n" "$@" ;; esac'


@pytest.fixture
def machine(tmp_path):
    def run(*flags, nvidia_smi=H200, python=JAX_SEES):
        tools = {"nvidia-smi": nvidia_smi, "python": python}
        for name, body in tools.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
            (tmp_path / name).chmod(0o755)
        environment = os.environ | {
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "T2SQL_PYTHON": str(tmp_path / "python"),
        }
        return subprocess.run(
            [SCRIPT, f"--config.output={tmp_path}/run", *flags],
            env=environment,
            capture_output=True,
            text=True,
        )

    return run


def test_runs_the_gpu_config_on_the_gpu_alone(machine):
    result = machine("--config.data.limit=2")
    assert result.returncode == 0, result.stderr
    assert "GPU: 595.71.05, NVIDIA H200" in result.stdout
    assert "\nXLA_PYTHON_CLIENT_MEM_FRACTION=0.9\n" in result.stdout
    assert "\nJAX_PLATFORMS=cuda,cpu\n" in result.stdout
    assert f"\n--config={SCRIPT.parents[1]}/configs/gpu.py\n" in result.stdout
    assert "\n--config.data.limit=2\n" in result.stdout


def test_another_config_may_be_named(machine):
    assert "configs/gpu.py" not in machine("--config=mine.py").stdout


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ({"nvidia_smi": "echo No devices were found >&2; exit 6"}, "No devices were found"),
        ({"nvidia_smi": "echo No devices were found"}, "sees no GPU: No devices were found"),
        ({"nvidia_smi": ":"}, "nvidia-smi sees no GPU"),
        ({"nvidia_smi": "echo '535.104.05, Tesla T4, 15360 MiB'"}, "need 580 or newer"),
        ({"python": "echo CUDA_ERROR_NO_DEVICE >&2; exit 1"}, "JAX does not"),
    ],
)
def test_says_why_no_gpu_is_used(machine, tools, message):
    result = machine(**tools)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_says_that_there_is_no_driver(tmp_path):
    for name in ("bash", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name))
    environment = os.environ | {"PATH": str(tmp_path)}
    result = subprocess.run([SCRIPT], env=environment, capture_output=True, text=True)
    assert result.returncode == 2
    assert "no NVIDIA driver here" in result.stderr

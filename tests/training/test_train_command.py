"""`python -m t2sql.train` as a user starts and stops it."""

import os
import signal
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_training_leaves_a_checkpoint_of_its_last_step(tmp_path, stop, code):
    command = [
        *(sys.executable, "-m", "t2sql.train", "--config=configs/lora.py"),
        *(
            "--config.model.name=dummy",
            "--config.model.source=dummy:0",
            "--config.data.path=sample",
        ),
        *("--config.train.held_out_databases=1", "--config.train.epochs=1000"),
        *(
            "--config.train.validate_every=0",
            "--config.compilation_cache=",
            f"--config.output={tmp_path}",
        ),
    ]
    process = subprocess.Popen(
        command,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not process.stdout.readline().startswith("step 1/"):
        assert process.poll() is None, process.communicate()
    process.send_signal(stop)
    output, error = process.communicate(timeout=120)
    assert process.returncode == code, error
    assert "Traceback" not in error
    (step,) = (path.name for path in (tmp_path / "checkpoints").iterdir() if path.is_dir())
    assert f"Stopped after step {step}; the same command goes on from there." in output

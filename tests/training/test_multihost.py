"""Two hosts in step train what one does."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

_ARGUMENTS = (
    "--config.data.path=sample", "--config.model.name=dummy", "--config.model.source=dummy:0",
    "--config.sampling.max_new_tokens=24", "--config.train.held_out_databases=1",
    "--config.train.sequence_tokens=900", "--config.train.sequence_answers=500",
    "--config.train.sequences_per_step=2",
    "--config.train.rank=4", "--config.train.epochs=4", "--config.train.warmup_steps=2",
    "--config.train.validation_questions=2", "--config.compilation_cache=",
)  # fmt: skip


def _start(output, **environ):
    command = [sys.executable, "-m", "t2sql.train", "--config=configs/lora.py", *_ARGUMENTS]
    return subprocess.Popen(
        [*command, f"--config.output={output}"],
        # All are compiled alike, in half the time.
        env=os.environ | {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"} | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.timeout(600)
def test_two_hosts_train_what_one_does(tmp_path):
    alone = _start(tmp_path / "alone")
    address = f"127.0.0.1:{_port()}"
    pair = [
        _start(
            tmp_path / f"pair{index}",
            T2SQL_COORDINATOR=address,
            T2SQL_NUM_PROCESSES="2",
            T2SQL_PROCESS_ID=str(index),
        )
        for index in range(2)
    ]
    for process in (alone, *pair):
        output, _ = process.communicate(timeout=500)
        assert process.returncode == 0, output
    assert not (tmp_path / "pair1").exists()
    one, two = (
        [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        for path in (tmp_path / "alone", tmp_path / "pair0")
    )
    losses = [[line["loss"] for line in lines if "loss" in line] for lines in (one, two)]
    assert len(losses[0]) > 3
    np.testing.assert_allclose(*losses, rtol=1e-4)

"""A run's programs compile for a TPU and a GPU, and a step moves and launches no more than today.

XLA's own compilers, and no device: `benchmarks/compilers_setup.sh` fetches them. The model is
Gemma 3 270M with two of its layers, one batch as Spider dev has it.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from benchmarks.accelerators import targets

ROOT = pathlib.Path(__file__).parents[2]
pytestmark = pytest.mark.accelerators


def compile_programs(folder: pathlib.Path, *flags: str) -> dict[tuple[str, str], dict]:
    """The figures of each program, by target and name."""
    if not targets.COMPILERS.exists():
        pytest.fail("XLA's TPU and GPU compilers are missing: run benchmarks/compilers_setup.sh")
    output = folder / "figures.json"
    command = [sys.executable, "-m", "benchmarks.accelerators", "--layers=2", f"--output={output}"]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, *flags], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(output.read_text())
    return {(row["target"], row["program"]): row for row in rows}


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    return compile_programs(
        tmp_path_factory.mktemp("one"), "--targets=v5e,h200", "--programs=prefill,insert,decode"
    )


@pytest.fixture(scope="module")
def four_devices(tmp_path_factory):
    return compile_programs(
        tmp_path_factory.mktemp("four"), "--targets=v5e", "--data=4", "--programs=insert,decode"
    )


def test_every_program_compiles_and_fits(one_device, four_devices):
    for row in (*one_device.values(), *four_devices.values()):
        assert row["compiles"] and row["fits"], row


def test_what_a_step_carries_stays_in_its_place(one_device, four_devices):
    for row in (*one_device.values(), *four_devices.values()):
        if row["program"] in ("insert", "decode"):
            assert row["aliased_bytes"] > 0.99 * row["output_bytes"], row


def test_no_device_waits_for_another_in_decode(one_device, four_devices):
    assert four_devices["v5e", "insert"]["collectives"]  # a prompt may go to any device's slot
    assert not four_devices["v5e", "decode"]["collectives"]
    assert not one_device["v5e", "decode"]["collectives"]


def test_a_step_on_a_tpu_copies_nothing_large_and_reads_weights_and_cache_once(
    one_device, four_devices
):
    for row in (one_device["v5e", "decode"], four_devices["v5e", "decode"]):
        assert row["copies"] == []
        assert row["step_bytes"] <= 1.1 * row["least_bytes"]


@pytest.mark.parametrize(("target", "most"), [("v5e", 58), ("h200", 72)])
def test_a_step_launches_no_more_than_today(one_device, target, most):
    assert one_device[target, "decode"]["launches"] <= most

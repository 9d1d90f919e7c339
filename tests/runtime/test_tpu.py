"""A TPU host that takes its own chips for all there are."""

import os
import subprocess
import sys

import pytest
from jax._src import hardware_utils
from jax._src.hardware_utils import TpuVersion

from t2sql.runtime import tpu


@pytest.fixture
def chips(monkeypatch):
    """Sets how many chips of which kind this machine has, as JAX sees them."""

    def plug_in(count: int, version: TpuVersion | None) -> None:
        monkeypatch.setattr(
            hardware_utils, "num_available_tpu_chips_and_device_id", lambda: (count, version)
        )

    return plug_in


def test_this_machine_has_no_tpu():
    assert not tpu.is_tpu_vm()
    assert tpu.chip_bounds() == ""


def test_whether_there_is_a_tpu_is_jaxs_own_verdict():
    program = "from t2sql.runtime import tpu; print(tpu.is_tpu_vm())"
    said = subprocess.check_output(
        [sys.executable, "-c", program], env=os.environ | {"JAX_FORCE_TPU_INIT": "1"}, text=True
    )
    assert said.strip() == "True"


def test_what_gke_says_of_the_slice_is_replaced(chips):
    chips(8, TpuVersion.v5e)
    environ = {
        "TPU_WORKER_ID": "3",
        "TPU_WORKER_HOSTNAMES": "a,b,c,d",
        "TPU_PROCESS_ADDRESSES": "a:1,b:1,c:1,d:1",
        "TPU_HOST_BOUNDS": "2,2,1",
        "TPU_CHIPS_PER_HOST_BOUNDS": "2,2,1",
        "TPU_TOPOLOGY": "4x4",
        "TPU_ACCELERATOR_TYPE": "v5litepod-16",
        "MEGASCALE_NUM_SLICES": "2",
        "MEGASCALE_SLICE_ID": "1",
        "MEGASCALE_COORDINATOR_ADDRESS": "a:8080",
        "HOME": "/root",
    }
    tpu.use_own_chips(environ)
    assert environ == {
        "TPU_WORKER_ID": "0",
        "CLOUD_TPU_TASK_ID": "0",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_PROCESS_BOUNDS": "1,1,1",
        "TPU_HOST_BOUNDS": "1,1,1",
        # A container may have fewer chips than the machine: GKE knows.
        "TPU_CHIPS_PER_PROCESS_BOUNDS": "2,2,1",
        "TPU_CHIPS_PER_HOST_BOUNDS": "2,2,1",
        "TPU_TOPOLOGY_WRAP": "false,false,false",
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5litepod-16",
        "HOME": "/root",
    }


def test_a_tpu_vm_of_google_has_its_chips_from_its_devices(chips):
    chips(4, TpuVersion.v6e)
    environ = {}
    tpu.use_own_chips(environ)
    assert environ["TPU_CHIPS_PER_PROCESS_BOUNDS"] == "2,2,1"
    assert environ["TPU_PROCESS_BOUNDS"] == "1,1,1"


def test_chips_that_jax_does_not_know_are_left_to_libtpu(chips):
    chips(3, None)
    environ = {}
    tpu.use_own_chips(environ)
    assert not [name for name in environ if "CHIPS" in name]


def test_whoever_knows_better_keeps_the_variables():
    environ = {"T2SQL_KEEP_TPU_VARIABLES": "1", "TPU_HOST_BOUNDS": "1,2,1"}
    before = dict(environ)
    tpu.use_own_chips(environ)
    assert environ == before


def test_chips_are_arranged_as_jaxs_tests_arrange_them(chips):
    """JAX's table, read in a process of its own: its module defines flags."""
    program = """
from jax._src.hardware_utils import TpuVersion
from jax._src.test_multiprocess import _get_tpu_bounds
for version in TpuVersion:
    for count in (1, 2, 4, 8):
        print(version.name, count, _get_tpu_bounds(version, count, count)[1])
"""
    lines = subprocess.check_output([sys.executable, "-c", program], text=True).splitlines()
    assert len(lines) == 4 * len(TpuVersion)
    for line in lines:
        name, count, bounds = line.split()
        chips(int(count), TpuVersion[name])
        assert tpu.chip_bounds() == bounds, line

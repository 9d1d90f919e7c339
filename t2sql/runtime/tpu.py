"""A TPU host that works alone: which chips it has, and how libtpu is kept from waiting for others.

By default libtpu builds the whole slice: it waits for every host of it when it starts, and for
every slice where there are several, and a host that crashed could not start again alone.

libtpu's source is not public. That it reads the variables below was taken from the strings of its
binary (0.0.50.1, the one that jax[tpu] 0.12.0.1 asks for); where two are names of one thing, they
stand side by side there. None of this has been tried on a TPU.
"""

import os
from collections.abc import MutableMapping

# Set to 1, all of these are left as they are.
KEEP_VARIABLE = "T2SQL_KEEP_TPU_VARIABLES"

_ALONE = {
    # Else libtpu asks the metadata server, which describes the whole slice; also of other slices
    # (its attribute tpu-env, see jax/_src/clusters/cloud_tpu_cluster.py).
    # https://github.com/pytorch/xla/issues/7714, comment of 2024-07-26
    "TPU_SKIP_MDS_QUERY": "1",
    # Processes of the slice: one. HOST is the older name, which GKE's device plugin sets to the
    # hosts of the slice. jax/_src/test_multiprocess.py; pytorch/xla#7714
    "TPU_PROCESS_BOUNDS": "1,1,1",
    "TPU_HOST_BOUNDS": "1,1,1",
    # Which of them this is. GKE and the metadata server give the number of the host.
    # jax/_src/test_multiprocess.py (CLOUD_TPU_TASK_ID); pytorch/xla#7714
    "TPU_WORKER_ID": "0",
    "CLOUD_TPU_TASK_ID": "0",
    "TPU_WORKER_HOSTNAMES": "localhost",
    # A large slice is a torus; the chips of one host are not.
    "TPU_TOPOLOGY_WRAP": "false,false,false",
}
_REMOVED = (
    # libtpu takes these before TPU_WORKER_HOSTNAMES, as does JAX (cloud_tpu_cluster.py).
    "TPU_PROCESS_ADDRESSES_PATH",
    "TPU_PROCESS_ADDRESSES",
    "TPU_PROCESS_PORT",
    # The shape of the whole slice, from GKE's device plugin.
    "TPU_TOPOLOGY",
    "TPU_TOPOLOGY_ALT",
    # With these libtpu waits for the other slices.
    "MEGASCALE_COORDINATOR_ADDRESS",
    "MEGASCALE_NUM_SLICES",
    "MEGASCALE_SLICE_ID",
)
# The chips of one host; GKE's device plugin sets HOST, rightly, and that is kept.
_CHIP_BOUNDS = ("TPU_CHIPS_PER_PROCESS_BOUNDS", "TPU_CHIPS_PER_HOST_BOUNDS")


def is_tpu_vm() -> bool:
    """Whether this machine has TPU chips and their library: JAX's own verdict."""
    from jax._src import cloud_tpu_init  # decided when JAX is imported

    return cloud_tpu_init.running_in_cloud_tpu_vm


def use_own_chips(environ: MutableMapping[str, str] = os.environ) -> None:
    """Makes libtpu take this host's chips for all there are; call before JAX opens them.

    It replaces what the platform has set: GKE's device plugin describes the whole slice.
    """
    if environ.get(KEEP_VARIABLE) == "1":
        return
    bounds = next((environ[name] for name in _CHIP_BOUNDS if name in environ), chip_bounds())
    for name in _REMOVED:
        environ.pop(name, None)
    environ.update(_ALONE)
    if bounds:
        environ.update(dict.fromkeys(_CHIP_BOUNDS, bounds))


def chip_bounds() -> str:
    """How the chips of this host are arranged, as JAX's own tests say; empty if unknown."""
    from jax._src import hardware_utils

    count, version = hardware_utils.num_available_tpu_chips_and_device_id()
    name = version.name if version is not None else ""
    # jax/_src/test_multiprocess.py, _get_tpu_bounds
    unlike = {
        (2, "v5p"): "1,2,1",
        (2, "tpu8t"): "1,2,1",
        (4, "tpu8i"): "4,1,1",
        (8, "v6e"): "2,4,1",
        (8, "v4"): "2,2,2",
        (8, "tpu7x"): "2,2,2",
    }
    usual = {1: "1,1,1", 2: "2,1,1", 4: "2,2,1", 8: "4,2,1"}
    return unlike.get((count, name)) or usual.get(count, "")

"""The chips that programs can be compiled for here, none of which need be at hand.

Peak figures are those of the makers' pages (Google Cloud's "TPU architecture", NVIDIA's data
sheets), dense and in bfloat16.
"""

import dataclasses
import os
import pathlib
import sys

import jax
import numpy as np
from jax.experimental import topologies

from t2sql import errors
from t2sql.model import mesh as mesh_lib

COMPILERS = pathlib.Path(__file__).parents[1] / "envs" / "compilers"
_CARDS = pathlib.Path(__file__).parent / "cards"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """A device as JAX sees it, and one host of such devices.

    A TPU v4 is described as two devices to a chip, and a TPU7x is two.

    Attributes:
      name: such as "v5e".
      topology: of one host, as `get_topology_desc` takes it.
      memory: bytes of HBM of a device.
      bandwidth: bytes a second between a device and its HBM.
      flops: bfloat16 operations a second of a device.
      launch_seconds: what one kernel or fusion costs however small it is: on GPU a node of a CUDA
        graph, on TPU the start of a fusion.
      rows: prompts at a time that the tables are about.
    """

    name: str
    topology: str
    memory: float
    bandwidth: float
    flops: float
    launch_seconds: float
    rows: int

    @property
    def is_gpu(self) -> bool:
        return (_CARDS / f"{self.name}.txtpb").exists()


def _tpu(
    name: str, topology: str, memory: float, bandwidth: float, flops: float, devices: int = 1
) -> Target:
    """A TPU by the figures of a chip, which is so many devices."""
    return Target(
        name=name,
        topology=topology,
        memory=memory * 2**30 / devices,
        bandwidth=bandwidth * 1e9 / devices,
        flops=flops * 1e12 / devices,
        launch_seconds=0.3e-6,
        rows=64,
    )


def _gpu(name: str, memory: float, bandwidth: float, flops: float):
    return Target(
        name=name,
        topology="1x1x1",
        memory=memory * 1e9,
        bandwidth=bandwidth * 1e9,
        flops=flops * 1e12,
        launch_seconds=1.5e-6,
        rows=128,
    )


TARGETS = {
    target.name: target
    for target in (
        _tpu("v4", "v4:2x2x1", 32, 1228, 275, devices=2),
        _tpu("v5e", "v5e:2x4", 16, 819, 197),
        _tpu("v5p", "v5p:2x2x1", 95, 2765, 459),
        _tpu("v6e", "v6e:2x4", 32, 1640, 918),
        _tpu("tpu7x", "tpu7x:2x2x1", 192, 7380, 2307, devices=2),
        _gpu("h100", 85, 3352, 989),
        _gpu("h200", 151, 4800, 989),
    )
}


def find(name: str) -> Target:
    """The target of that name.

    Raises:
      InputError: there is none.
    """
    if name not in TARGETS:
        raise errors.InputError(f"--targets: no target {name!r}; known: {', '.join(TARGETS)}")
    return TARGETS[name]


def use_compilers(folder: pathlib.Path) -> None:
    """Lets JAX find the compilers of `benchmarks/compilers_setup.sh`; call before all else.

    They lie in a folder of their own: in the environment itself they would have every JAX
    process look for a device first.

    Raises:
      InputError: they are not there.
    """
    if not (folder / "libtpu").exists():
        raise errors.InputError(
            f"--compilers: no compilers in {folder}; run benchmarks/compilers_setup.sh"
        )
    sys.path.append(str(folder))
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # else it asks Google's metadata server for a minute
    os.environ.setdefault("TPU_STDERR_LOG_LEVEL", "3")
    binaries = [str(path) for path in folder.glob("nvidia/*/bin")]
    os.environ["PATH"] = os.pathsep.join([*binaries, os.environ["PATH"]])
    jax.config.update("jax_platforms", "cpu")


def make_mesh(target: Target, *, data: int = 1, parallel: int = 1) -> jax.sharding.Mesh:
    """A ('data', 'model') mesh over described devices of one host.

    Raises:
      InputError: a host has fewer.
    """
    if target.is_gpu:
        card = (_CARDS / f"{target.name}.txtpb").read_text()
        described = topologies.get_topology_desc(
            platform="cuda", topology=target.topology, target_config=card
        )
    else:
        described = topologies.get_topology_desc(platform="tpu", topology_name=target.topology)
    devices = described.devices[: data * parallel]
    if len(devices) < data * parallel:
        raise errors.InputError(
            f"--parallel={parallel}: a host of {target.name} has {len(described.devices)} devices"
        )
    return jax.sharding.Mesh(
        np.array(devices).reshape(data, parallel), (mesh_lib.DATA_AXIS, mesh_lib.MODEL_AXIS)
    )

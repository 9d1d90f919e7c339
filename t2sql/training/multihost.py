"""Arrays of one host's devices as part of arrays of all hosts, and back; no byte is copied.

Training needs its hosts in step: the batch is spread over all devices, and each gradient is
summed over them. All else stays on the hosts' own meshes, as everywhere in this program.
"""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding

from t2sql.model import mesh as mesh_lib


def all_devices(local: Mesh) -> Mesh:
    """The mesh of all hosts' devices; `local` is this host's, of the shape of the others'."""
    parallel = local.shape[mesh_lib.MODEL_AXIS]
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.asarray(devices).reshape(-1, parallel), local.axis_names)


def spread(tree: Any, mesh: Mesh) -> Any:
    """Arrays that every host has a copy of, on the mesh of all devices."""
    return jax.tree.map(lambda leaf: _on(leaf, mesh), tree)


def own(tree: Any, local: Mesh) -> Any:
    """This host's copy of arrays that every host has a copy of."""
    return jax.tree.map(lambda leaf: _on(leaf, local), tree)


def from_first(tree: Any) -> Any:
    """What the first host has, as NumPy arrays on all hosts."""
    return multihost_utils.broadcast_one_to_all(jax.device_get(tree))


def _on(leaf: jax.Array, mesh: Mesh) -> jax.Array:
    parts = [shard.data for shard in leaf.addressable_shards]
    sharding = NamedSharding(mesh, leaf.sharding.spec)
    return jax.make_array_from_single_device_arrays(leaf.shape, sharding, parts)

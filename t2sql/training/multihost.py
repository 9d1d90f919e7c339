"""Moves arrays between one host's mesh and the mesh of all hosts; no byte is copied.

Hosts train in step: the batch is spread over all devices, and gradients are summed over them.
All else stays on each host's own mesh, as everywhere in this program.
"""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding

from t2sql.model import mesh as mesh_lib


def all_devices(local: Mesh) -> Mesh:
    """The mesh of all hosts' devices; `local` is this host's, and all have its shape."""
    parallel = local.shape[mesh_lib.MODEL_AXIS]
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.asarray(devices).reshape(-1, parallel), local.axis_names)


def spread(tree: Any, mesh: Mesh) -> Any:
    """Replicated arrays, from this host's mesh to the mesh of all devices."""
    return jax.tree.map(lambda leaf: _on(leaf, mesh), tree)


def own(tree: Any, local: Mesh) -> Any:
    """Replicated arrays, from the mesh of all devices to this host's."""
    return jax.tree.map(lambda leaf: _on(leaf, local), tree)


def from_first(tree: Any) -> Any:
    """The first host's arrays, as NumPy arrays on all hosts."""
    return multihost_utils.broadcast_one_to_all(jax.device_get(tree))


def _on(leaf: jax.Array, mesh: Mesh) -> jax.Array:
    parts = [shard.data for shard in leaf.addressable_shards]
    sharding = NamedSharding(mesh, leaf.sharding.spec)
    return jax.make_array_from_single_device_arrays(leaf.shape, sharding, parts)

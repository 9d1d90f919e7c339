"""The mesh of one host's devices, and where a model's parameters lie on it."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from t2sql import errors

DATA_AXIS = "data"
MODEL_AXIS = "model"

# Which dimension of gemma's parameters is split over `model`: heads, hidden
# features, vocabulary. One collective for each attention and each feed-forward.
_SPLIT_DIMENSION = {
    "embedder/input_embedding": 0,  # [V, D]
    "attn/q_einsum/w": 0,  # [N, D, H]
    "attn/kv_einsum/w": 1,  # [2, K, D, H]
    "attn/attn_vec_einsum/w": 0,  # [N, H, D]
    "mlp/gating_einsum": 1,  # [2, F, D]
    "mlp/linear": 0,  # [F, D]
}


def make_mesh(parallel: int = 1) -> Mesh:
    """Returns a ('data', 'model') mesh over this host's devices only.

    Args:
      parallel: number of devices that share one copy of the weights.

    Raises:
      InputError: the host's device count is not a multiple of `parallel`.
    """
    devices = jax.local_devices()
    if parallel < 1 or len(devices) % parallel:
        raise errors.InputError(
            f"--config.model.parallel is {parallel}; it has to divide the {len(devices)} devices "
            "of a host"
        )
    return Mesh(np.asarray(devices).reshape(-1, parallel), (DATA_AXIS, MODEL_AXIS))


def param_shardings(params: Any, mesh: Mesh) -> Any:
    """Returns the sharding of each parameter: split over `model`, replicated over `data`.

    Norm scales, and what does not divide (the one key head of a small Gemma), are
    replicated over `model` too.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: NamedSharding(mesh, _partition(path_name(path), leaf.shape, mesh)),
        params,
    )


def is_shared(sharding: Sharding) -> bool:
    """Whether one copy in memory can serve all devices: a CPU's virtual ones share its memory."""
    return sharding.is_fully_replicated and jax.default_backend() == "cpu"


def share(array: np.ndarray, sharding: Sharding) -> jax.Array:
    """The array on all devices of `sharding`, which read the one copy."""
    first, *others = sharding.device_set
    copies = [jax.device_put(array, first, may_alias=True)]
    # Only aligned memory is read in place: JAX's always is, NumPy's may not be.
    array = np.asarray(copies[0])
    copies += [jax.device_put(array, device, may_alias=True) for device in others]
    return jax.make_array_from_single_device_arrays(array.shape, sharding, copies)


def place(array: np.ndarray | jax.Array, sharding: Sharding) -> jax.Array:
    """Moves an array to its devices; the old one may be gone afterwards."""
    if is_shared(sharding):
        return share(np.asarray(array), sharding)
    return jax.device_put(array, sharding, donate=True)


def path_name(path: Any) -> str:
    """Returns a parameter's name, such as layer_0/attn/q_einsum/w."""
    return "/".join(str(key.key) for key in path)


def _partition(name: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    kind = "/".join(part for part in name.split("/") if not part.startswith("layer_"))
    dimension = _SPLIT_DIMENSION.get(kind)
    if dimension is None or shape[dimension] % mesh.shape[MODEL_AXIS]:
        return PartitionSpec()
    return PartitionSpec(*[None] * dimension, MODEL_AXIS)

"""The mesh of one host's devices, and where arrays lie on it."""

import jax
import numpy as np
from jax.sharding import Mesh

from t2sql import errors

DATA_AXIS = "data"
MODEL_AXIS = "model"


def make_mesh(model_axis: int = 1) -> Mesh:
    """Returns a ('data', 'model') mesh over this host's devices only.

    Args:
      model_axis: number of devices that share one copy of the weights.

    Raises:
      InputError: the host's device count is not a multiple of `model_axis`.
    """
    devices = jax.local_devices()
    if model_axis < 1 or len(devices) % model_axis:
        raise errors.InputError(
            f"model.model_axis: {model_axis} does not divide the {len(devices)} devices of this host"
        )
    return Mesh(np.asarray(devices).reshape(-1, model_axis), (DATA_AXIS, MODEL_AXIS))

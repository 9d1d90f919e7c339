"""Weights with the axes they are multiplied along in front, as a matrix product reads them.

gemma keeps some with these axes last or in the middle ("NHF" for a layer of F inputs), and XLA's
CPU backend transposes such a weight whenever a program runs that multiplies by it. In a program of
one decode step of 32 rows that takes as long as the products. So the sampler does it once.

    q_einsum       [N D H]   -> [D N H]
    kv_einsum      [2 K D H] -> [D 2 K H]
    qkv_einsum     [3 N D H] -> [D 3 N H]
    gating_einsum  [2 H F]   -> [F 2 H]        the others are so already
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gemma.gm.nn import _layers, _modules
from jax.sharding import NamedSharding, PartitionSpec

from t2sql.model import linear
from t2sql.model import mesh as mesh_lib


def arrange(params: Any, *, take: bool = False) -> Any:
    """gemma's parameters in the form that `product` takes.

    Args:
      params: arrays, or their shapes, dtypes and shardings.
      take: whether to delete each array that it replaces, before the next one is made.
    """

    def place(path, leaf):
        arranged = _arrange(path, leaf)
        if take and arranged is not leaf:
            jax.block_until_ready(arranged)
            leaf.delete()
        return arranged

    return jax.tree_util.tree_map_with_path(place, params)


def _arrange(path, leaf: jax.Array | jax.ShapeDtypeStruct) -> jax.Array | jax.ShapeDtypeStruct:
    equation = linear.EQUATIONS.get(linear.layer_of("/" + mesh_lib.path_name(path)))
    if equation is None:
        return leaf
    order = _order(equation)
    if order == sorted(order):
        return leaf
    sharding = leaf.sharding
    if isinstance(sharding, NamedSharding):
        spec = (*sharding.spec, *[None] * (len(order) - len(sharding.spec)))
        sharding = NamedSharding(sharding.mesh, PartitionSpec(*(spec[axis] for axis in order)))
    if isinstance(leaf, jax.ShapeDtypeStruct):
        shape = tuple(leaf.shape[axis] for axis in order)
        return jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=sharding)
    if mesh_lib.is_shared(sharding):
        turned = np.asarray(leaf.addressable_data(0)).transpose(order)
        return mesh_lib.share(np.ascontiguousarray(turned), sharding)
    return jax.jit(jnp.transpose, static_argnums=1, out_shardings=sharding)(leaf, tuple(order))


def _order(equation: str) -> list[int]:
    """The weight's axes: those of the input first."""
    of_x, of_weight, _ = linear.axes(equation)
    return sorted(range(len(of_weight)), key=lambda axis: of_weight[axis] not in of_x)


def product(layer: _layers.Einsum, equation: str, x: jax.Array) -> jax.Array:
    """What gemma's layer computes, from its weight as `arrange` leaves it."""
    of_x, of_weight, output = linear.axes(equation)
    weight = layer.get_variable("params", layer.weight_name)
    inputs = [axis for axis in of_weight if axis in of_x]
    found = jnp.tensordot(x, weight, len(inputs))
    kept = of_x[: -len(inputs)]
    if "..." in kept:
        return found
    axes = kept + "".join(axis for axis in of_weight if axis not in inputs)
    return jnp.transpose(found, [axes.index(axis) for axis in output])


def logits(embedder: _modules.Embedder, x: jax.Array) -> jax.Array:
    """What gemma's output layer computes, [B L V].

    With the table as the first operand: a quarter quicker on a CPU at 32 rows.
    """
    scores = jax.lax.dot_general(
        embedder.input_embedding_table, x, (((1,), (x.ndim - 1,)), ((), ()))
    )
    return jnp.moveaxis(scores, 0, -1)

"""Weights as a step reads them: transposed, and added to, once.

Contracted axes last: fast on XLA's CPU backend.

gemma keeps some weights with these axes in front or in the middle ("NDH" for a layer of D inputs).
XLA's CPU backend would transpose such a weight whenever a program multiplies by it, which in a
decode step of 32 rows takes as long as the products.

    q_einsum         [N D H]   -> [N H D]
    kv_einsum        [2 K D H] -> [2 K H D]
    qkv_einsum       [3 N D H] -> [3 N H D]
    attn_vec_einsum  [N H D]   -> [D N H]
    linear           [H F]     -> [F H]       gating_einsum [2 H F] is so already

For few rows x, a CPU computes W x^T far quicker than x W: 145 instead of 92 GFLOP/s for 32 rows
of Gemma 3 270M's feed-forward layers, 87 instead of 46 for 8 (two cores with AVX2).

gemma's norms multiply by 1 + scale. The sum is kept, else a TPU computes each of them in a kernel
of its own at every step: 109 of 934 for Gemma 3 270M.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gemma.gm.nn import _layers, _modules
from jax.sharding import NamedSharding, PartitionSpec

from t2sql.model import linear
from t2sql.model import mesh as mesh_lib

_SCALE = "scale"  # of a norm
EPSILON = 1e-6  # of gemma's `RMSNorm`


def arrange(params: Any, *, take: bool = False) -> Any:
    """gemma's parameters in the form that `product` takes.

    Args:
      params: arrays, or their shapes, dtypes and shardings.
      take: whether to delete each array that is replaced, before the next one is made.
    """

    def place(path, leaf):
        arranged = _arrange(path, leaf)
        if take and arranged is not leaf:
            jax.block_until_ready(arranged)
            leaf.delete()
        return arranged

    return jax.tree_util.tree_map_with_path(place, params)


def _arrange(path, leaf: jax.Array | jax.ShapeDtypeStruct) -> jax.Array | jax.ShapeDtypeStruct:
    name = linear.layer_of("/" + mesh_lib.path_name(path))
    if name == _SCALE:
        return _factor(leaf)
    equation = linear.EQUATIONS.get(name)
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


def _factor(scale: jax.Array | jax.ShapeDtypeStruct) -> jax.Array | jax.ShapeDtypeStruct:
    """What a norm multiplies by."""
    if isinstance(scale, jax.ShapeDtypeStruct):
        return scale
    return jax.jit(lambda x: 1 + x, out_shardings=scale.sharding)(scale)


def _order(equation: str) -> list[int]:
    """The weight's axes, the input's last."""
    of_x, of_weight, _ = linear.axes(equation)
    return sorted(range(len(of_weight)), key=lambda axis: of_weight[axis] in of_x)


def product(layer: _layers.Einsum, equation: str, x: jax.Array) -> jax.Array:
    """What gemma's layer computes, from its weight as `arrange` leaves it."""
    of_x, of_weight, output = (axes.replace("...", "xy") for axes in linear.axes(equation))
    inputs = [axis for axis in of_weight if axis in of_x]
    output_first = _alone(
        _multiply(layer.get_variable("params", layer.weight_name), x, len(inputs))
    )
    axes = "".join(axis for axis in of_weight if axis not in inputs) + of_x[: -len(inputs)]
    return jnp.transpose(output_first, [axes.index(axis) for axis in output])


def flat_product(layer: _layers.Einsum, x: jax.Array) -> jax.Array:
    """`product` with all axes of the output as one: [B O] from [B D], with nothing transposed."""
    weight = layer.get_variable("params", layer.weight_name).reshape(-1, x.shape[-1])
    return jax.lax.dot_general(x, weight, (((1,), (1,)), ((), ())))


def norm(layer: _layers.RMSNorm, x: jax.Array) -> jax.Array:
    """What gemma's layer computes, from its scale as `arrange` leaves it."""
    variance = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(variance + EPSILON) * factor(layer)


def factor(layer: _layers.RMSNorm) -> jax.Array:
    """What the norm multiplies by: 1 + scale."""
    return layer.get_variable("params", _SCALE)


def logits(embedder: _modules.Embedder, x: jax.Array) -> jax.Array:
    """What gemma's output layer computes: [B L V] from [B L D], or [B V] from [B D].

    Not `_alone`: with 262,144 logits a row that costs more than it saves.
    """
    return jnp.moveaxis(_multiply(embedder.input_embedding_table, x, 1), 0, -1)


def _multiply(weight: jax.Array, x: jax.Array, inputs: int) -> jax.Array:
    """Contracts the last `inputs` axes of both; the weight's other axes come first."""
    last = [tuple(range(array.ndim - inputs, array.ndim)) for array in (weight, x)]
    return jax.lax.dot_general(weight, x, (tuple(last), ((), ())))


def _alone(product: jax.Array) -> jax.Array:
    """CPU only: keeps XLA from fusing a product with the transposition behind it.

    For the fused product it would transpose the weight.
    """
    return jax.lax.platform_dependent(
        product, cpu=jax.lax.optimization_barrier, default=lambda x: x
    )

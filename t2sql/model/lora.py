"""Low-rank adapters (LoRA, Hu et al. 2021) for the linear layers of gemma's model.

`gm.nn.LoRA` adapts all layers. Here `gemma.peft.ModuleInterceptor`, on which it is built,
adapts the named ones. The model, its parameters and their names stay gemma's; the adapter is
a tree of its own:

    {"layer_0/attn/q_einsum/w": {"a": [D r], "b": [r N H]}, ...}

A layer computes `x W + x A B`. A begins random and B at zero, as in `gm.nn.LoRA`.
"""

import functools
import math
import zlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import traverse_util
from gemma import peft
from gemma.gm.nn import _layers
from gemma.peft import _einsum_utils

from t2sql.model import linear

# The layers that may be adapted.
TARGETS = linear.EQUATIONS

# {"a", "b"} by the name of the weight that they adapt.
Adapter = dict[str, dict[str, Any]]


class _LowRank(peft.LoRAEinsumAdapter):
    """gemma's adapter, with gradients that do not transpose its input or its output."""

    def __call__(self, inputs: jax.Array) -> jax.Array:
        return _low_rank_product(self._lora_einsum_str, inputs, self._a, self._b)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _low_rank_product(equation: str, x: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    """`x A B` for an equation such as "BTD,Dr,rNH->BTNH".

    Product and gradients are JAX's, except that the gradient of A is computed as its transpose:
    so no product needs a transposed copy of `x` or of the result, each a hundred times the size
    of A (an eighth of a training step on a CPU).
    """
    of_x, of_a, of_b, out = _low_rank_axes(equation, x.ndim)
    low = jnp.einsum(f"{of_x},{of_a}->{_axes_of_low(of_x, of_a)}", x, a)
    return jnp.einsum(f"{_axes_of_low(of_x, of_a)},{of_b}->{out}", low, b)


def _low_rank_forward(equation, x, a, b):
    return _low_rank_product(equation, x, a, b), (x, a, b)


def _low_rank_backward(equation, saved, gradient):
    x, a, b = saved
    of_x, of_a, of_b, out = _low_rank_axes(equation, x.ndim)
    of_low = _axes_of_low(of_x, of_a)
    low = jnp.einsum(f"{of_x},{of_a}->{of_low}", x, a)
    low_gradient = jnp.einsum(f"{out},{of_b}->{of_low}", gradient, b)
    a_gradient = jnp.einsum(f"{of_low},{of_x}->{of_a[-1]}{of_a[:-1]}", low_gradient, x)
    return (
        jnp.einsum(f"{of_low},{of_a}->{of_x}", low_gradient, a),
        jnp.moveaxis(a_gradient, 0, -1),
        jnp.einsum(f"{of_low},{out}->{of_b}", low, gradient),
    )


_low_rank_product.defvjp(_low_rank_forward, _low_rank_backward)


def _low_rank_axes(equation: str, dimensions: int) -> list[str]:
    """The axes of x, A, B and the result, with letters for the dots."""
    inputs, _, out = equation.partition("->")
    of_x = inputs.partition(",")[0]
    dots = "uvwxyz"[: dimensions - len(of_x.removeprefix("..."))]
    return [axes.replace("...", dots) for axes in (*inputs.split(","), out)]


def _axes_of_low(of_x: str, of_a: str) -> str:
    return "".join(axis for axis in of_x if axis not in of_a) + of_a[-1]


class _LoRAEinsum(nn.Module):
    """gemma's `Einsum` with a low-rank term beside its weight."""

    rank: int
    wrapped: _layers.Einsum

    @nn.compact
    def __call__(self, equation: str, x: jax.Array) -> jax.Array:
        low_rank = _LowRank(
            name="lora",
            rank=self.rank,
            einsum_str=equation,
            shape=self.wrapped.shape,
            dtype=x.dtype,
        )
        return self.wrapped(equation, x) + low_rank(x)


def applied(rank: int, targets: Sequence[str]) -> peft.ModuleInterceptor:
    """A context in which gemma's model applies the adapter that `attach` gave it."""

    def replace(module: nn.Module) -> nn.Module:
        if not isinstance(module, _layers.Einsum) or _target(module) not in targets:
            return module
        # Both layers of a feed-forward block share its scope: the name tells them apart.
        return _LoRAEinsum(rank=rank, wrapped=module, name=f"lora_{module.weight_name}")

    return peft.ModuleInterceptor(replace)


def shapes(params: Any, rank: int, targets: Sequence[str]) -> Adapter:
    """The adapter for a model's parameters (or their shapes), as shapes in float32."""
    adapter: Adapter = {}
    for name, weight in sorted(traverse_util.flatten_dict(params, sep="/").items()):
        if linear.layer_of(name) in targets:
            _, a, b = _low_rank(name, weight.shape, rank)
            adapter[name] = {
                "a": jax.ShapeDtypeStruct(a, jnp.float32),
                "b": jax.ShapeDtypeStruct(b, jnp.float32),
            }
    return adapter


def init(params: Any, rank: int, targets: Sequence[str], seed: int) -> Adapter:
    """A new adapter, which changes nothing yet: A is random, B is zero.

    A is uniform within sqrt(6 / D), D its input features (Kaiming), as in `gm.nn.LoRA`.
    """

    def draw(name: str, shape: tuple[int, ...]) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
        limit = (6 / math.prod(shape[:-1])) ** 0.5
        return jax.random.uniform(key, shape, minval=-limit, maxval=limit)

    return {
        name: {"a": draw(name, parts["a"].shape), "b": jnp.zeros(parts["b"].shape)}
        for name, parts in sorted(shapes(params, rank, targets).items())
    }


def attach(params: Any, adapter: Adapter) -> Any:
    """The parameters with the adapter among them, in their dtype, where `applied` finds it."""
    flat = traverse_util.flatten_dict(params)
    for name, parts in adapter.items():
        *module, weight = name.split("/")
        dtype = flat[*module, weight].dtype
        for part, array in parts.items():
            flat[*module, f"lora_{weight}", "lora", part] = array.astype(dtype)
    return traverse_util.unflatten_dict(flat)


def merge(params: Any, adapter: Adapter) -> Any:
    """The parameters of a plain model that computes what the adapted one does: W + A B."""
    flat = traverse_util.flatten_dict(params, sep="/")
    for name, parts in adapter.items():
        weight = flat[name]
        equation, _, _ = _low_rank(name, weight.shape, parts["a"].shape[-1])
        delta = jnp.einsum(equation, parts["a"], parts["b"])
        flat[name] = (weight.astype(jnp.float32) + delta).astype(weight.dtype)
    return traverse_util.unflatten_dict(flat, sep="/")


def _low_rank(name: str, shape: Sequence[int], rank: int):
    """The equation of A B, such as "Dr,rNH->NDH", and the shapes of A and B."""
    equation = TARGETS[linear.layer_of(name)]
    lora, a, b = _einsum_utils.get_lora_einsum_str_and_shapes(
        einsum_str=equation, weights_shape=shape, rank=rank
    )
    factors = lora.partition("->")[0].partition(",")[2]
    return f"{factors}->{linear.axes(equation)[1]}", a, b


def _target(module: _layers.Einsum) -> str:
    return module.name if module.weight_name == "w" else module.weight_name

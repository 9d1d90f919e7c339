"""Weights as the sampler keeps them."""

import jax
import numpy as np
import pytest
from gemma.gm.nn import _layers
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

from t2sql.model import factory, linear, mesh
from t2sql.sampling import weights

# A layer for each equation, with sizes that tell the axes apart.
SIZES = {"C": 2, "S": 3, "N": 4, "K": 5, "D": 6, "F": 7, "H": 8, "B": 1, "T": 9}


@pytest.mark.parametrize("name", linear.EQUATIONS)
def test_a_product_is_gemmas(name):
    equation = linear.EQUATIONS[name]
    of_x, of_weight, _ = (axes.replace("...", "BT") for axes in linear.axes(equation))
    draw = np.random.default_rng(0)
    x = draw.normal(size=[SIZES[axis] for axis in of_x]).astype(np.float32)
    layer = _layers.Einsum(shape=tuple(SIZES[axis] for axis in of_weight))
    layer_params = layer.init(jax.random.key(0), equation, x)["params"]
    (arranged,) = jax.tree.leaves(weights.arrange({name: layer_params}))
    assert arranged.shape[-1] == x.shape[-1]
    bound = layer.bind({"params": {"w": arranged}})
    np.testing.assert_allclose(
        weights.product(bound, equation, x),
        layer.apply({"params": layer_params}, equation, x),
        rtol=1e-5,
        atol=1e-5,
    )


def test_a_norm_is_gemmas_to_the_bit():
    draw = np.random.default_rng(0)
    x, scale = (draw.normal(size=size).astype(np.float32) for size in ((3, 1, 16), 16))
    layer = _layers.RMSNorm()
    arranged = weights.arrange({"post_ffw_norm": {"scale": jax.numpy.asarray(scale)}})
    bound = layer.bind({"params": arranged["post_ffw_norm"]})
    theirs = layer.apply({"params": {"scale": scale}}, x)
    np.testing.assert_array_equal(weights.norm(bound, x), theirs)


def test_shapes_are_arranged_as_arrays_are():
    made = factory.LLMModuleFactory(factory.config_for("dummy", "dummy:0", dtype="float32"))
    shapes, arrays = (
        weights.arrange(params) for params in (made.abstract_params, made.load_params())
    )
    jax.tree.map(
        lambda shape, array: np.testing.assert_equal(
            (shape.shape, shape.dtype, shape.sharding), (array.shape, array.dtype, array.sharding)
        ),
        shapes,
        arrays,
    )


def test_an_axis_that_is_split_over_devices_stays_so():
    pair = AbstractMesh((1, 2), (mesh.DATA_AXIS, mesh.MODEL_AXIS))
    split = NamedSharding(pair, PartitionSpec(mesh.MODEL_AXIS))
    weight = jax.ShapeDtypeStruct((2, 8, 6), "float32", sharding=split)
    (arranged,) = weights.arrange({"attn_vec_einsum": weight}).values()
    assert arranged.shape == (6, 2, 8)
    assert arranged.sharding.spec == PartitionSpec(None, mesh.MODEL_AXIS, None)

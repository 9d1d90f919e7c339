import math

import jax
import pytest
from flax import traverse_util

from t2sql import errors
from t2sql.model import factory, layout, registry


def test_unknown_name_lists_the_known():
    with pytest.raises(errors.InputError, match=r"'gemma2'; one of gemma3_270m, gemma3_1b, "):
        registry.find("gemma2")


@pytest.mark.parametrize("name", ["gemma4_e2b", "gemma4_e4b"])
def test_gemma_4_is_refused_with_the_reason(name):
    with pytest.raises(errors.InputError, match=f"{name}: Gemma 4 is not .*docs/models.md"):
        registry.find(name)


@pytest.mark.parametrize(
    ("name", "millions", "q_proj", "k_proj"),
    [
        ("gemma3_270m", 268.1, (1024, 640), (256, 640)),
        ("gemma3_1b", 999.9, (1024, 1152), (256, 1152)),
        ("gemma3_4b", 3880.1, (2048, 2560), (1024, 2560)),
    ],
)
def test_text_parameters(name, millions, q_proj, k_proj, tmp_path):
    built = factory.LLMModuleFactory(factory.config_for(name, "dummy:0", cache_dir=tmp_path))
    leaves = jax.tree.leaves(built.abstract_params)
    assert sum(math.prod(leaf.shape) for leaf in leaves) / 1e6 == pytest.approx(millions, abs=0.1)
    assert "vision_encoder" not in built.abstract_params
    # Each has its place in the files of other programs, as a matrix [out, in].
    flat = traverse_util.flatten_dict(built.abstract_params, sep="/")
    for naming in (layout.HUGGING_FACE, layout.GGUF):
        assert set(naming.parameters(built.model.config.num_layers)) == flat.keys()
    for layer, shape in (("q_einsum", q_proj), ("kv_einsum", k_proj)):
        parameter = f"layer_0/attn/{layer}/w"
        assert layout.tensor_shape(parameter, flat[parameter].shape) == shape


@pytest.mark.parametrize("name", registry.MODELS)
def test_every_name_gives_a_text_model_and_its_tokenizer(name):
    spec = registry.find(name)
    model = spec.model_cls(dtype="bfloat16")
    assert model.config.vision_encoder is None
    assert spec.tokenizer_cls.VERSION == 3

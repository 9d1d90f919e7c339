import math

import jax
import pytest

from t2sql import errors
from t2sql.model import factory, registry


def test_unknown_name_lists_the_known():
    with pytest.raises(errors.InputError, match=r"'gemma4'; one of gemma3_270m, gemma3_1b, "):
        registry.find("gemma4")


@pytest.mark.parametrize(
    ("name", "millions"), [("gemma3_270m", 268.1), ("gemma3_1b", 999.9), ("gemma3_4b", 3880.1)]
)
def test_text_parameters(name, millions, tmp_path):
    built = factory.LLMModuleFactory(factory.config_for(name, "dummy:0", cache_dir=tmp_path))
    leaves = jax.tree.leaves(built.abstract_params)
    assert sum(math.prod(leaf.shape) for leaf in leaves) / 1e6 == pytest.approx(millions, abs=0.1)
    assert "vision_encoder" not in built.abstract_params


@pytest.mark.parametrize("name", registry.MODELS)
def test_every_name_gives_a_text_model_and_its_tokenizer(name):
    spec = registry.find(name)
    model = spec.model_cls(dtype="bfloat16")
    assert model.config.vision_encoder is None
    assert spec.tokenizer_cls.VERSION == 3

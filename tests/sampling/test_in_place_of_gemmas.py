"""Our sampler in the place of `gm.text.Sampler`, from what gemma's own loader gives."""

import re

import jax
import pytest
import tiny

from t2sql import errors, sampling
from t2sql.model import checkpoints
from t2sql.model.light_gemma import gm


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """Model, params and tokenizer as gemma's users make them."""
    path = tmp_path_factory.mktemp("gemma") / "checkpoint"
    checkpoints.save_params(path, tiny.make_params())
    return {
        "model": type(tiny.MODEL)(dtype="float32"),
        "params": gm.ckpts.load_params(path),
        "tokenizer": gm.text.Gemma3Tokenizer(tiny.TOKENIZER.path),
    }


def test_one_line_changes_the_sampler_and_not_the_texts(official):
    prompts = tiny.texts(3)
    theirs = gm.text.Sampler(**official, cache_length=256, max_out_length=12, pad_length=128)
    ours = sampling.BatchSampler(**official, batch_size=2)
    ends = re.compile("<eos>|<end_of_turn>|<unused50>")  # gemma's leaves them in the text
    expected = [ends.split(text)[0] for text in theirs.sample(prompts, max_new_tokens=12)]
    assert ours.sample(prompts, max_new_tokens=12) == expected
    shorter = ours.sample(prompts[1], max_new_tokens=3)
    assert expected[1].startswith(shorter)
    assert len(shorter) < len(expected[1])
    with pytest.raises(errors.InputError, match="max_new_tokens is 129; .* 1 to .* 128"):
        ours.sample(prompts, max_new_tokens=129)


def test_params_that_are_split_need_their_mesh(official):
    mesh = jax.sharding.AbstractMesh((2, 1), ("data", "model"))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    params = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=split),
        official["params"],
    )
    with pytest.raises(errors.InputError, match="split over devices: give BatchSampler the mesh"):
        sampling.BatchSampler(**official | {"params": params})

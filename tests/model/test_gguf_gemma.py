import gguf
import jax
import numpy as np
import pytest
from dummy_files import random_params, write_gguf

from t2sql import errors
from t2sql.model import dummy, gguf_file, gguf_gemma


@pytest.fixture(scope="module")
def params(tmp_path_factory):
    params = random_params(tmp_path_factory.mktemp("cache"))
    rng = np.random.default_rng(0)  # Norm scales of a new model are zero: not telling.
    return jax.tree.map(lambda leaf: leaf + rng.normal(size=leaf.shape).astype("f4"), params)


def test_params_come_back_from_llama_cpps_layout(params, tmp_path):
    write_gguf(tmp_path / "a.gguf", params)
    found = gguf_gemma.read_params(gguf_file.GGUFFile(tmp_path / "a.gguf"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, params)


def test_tokenizer_comes_back(params, tmp_path):
    write_gguf(tmp_path / "a.gguf", params)
    found = gguf_gemma.read_tokenizer(gguf_file.GGUFFile(tmp_path / "a.gguf"))
    assert found == dummy.tokenizer_model()


@pytest.mark.parametrize(
    ("name", "extra", "variant"),
    [
        ("Gemma 3 270m", {}, "pt"),
        ("Gemma 3 270m It", {}, "it"),
        ("Gemma 3 1b", {"general__finetune": "it"}, "it"),
        ("Gemma 3 1b Pt", {"tokenizer__chat_template": "{{ x }}"}, "pt"),
        ("My model", {"tokenizer__chat_template": "{{ x }}"}, "it"),
    ],
)
def test_variant(params, tmp_path, name, extra, variant):
    write_gguf(tmp_path / "a.gguf", params, name=name, **extra)
    assert gguf_gemma.variant(gguf_file.GGUFFile(tmp_path / "a.gguf")) == variant


@pytest.mark.parametrize(
    ("architecture", "message"),
    [("llama", "'llama' model; only 'gemma3'"), ("gemma4", "Gemma 4 is not sampled from here")],
)
def test_another_architecture_is_refused(architecture, message, tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "other.gguf", architecture)
    writer.add_tensor("token_embd.weight", np.zeros((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(errors.InputError, match=message):
        gguf_gemma.read_params(gguf_file.GGUFFile(tmp_path / "other.gguf"))


def test_a_tensor_without_a_place_is_refused(params, tmp_path):
    extra = {"blk.0.extra.weight": np.zeros((4, 4))}
    write_gguf(tmp_path / "a.gguf", params, more_tensors=extra)
    with pytest.raises(errors.InputError, match=r"no place for: \['blk.0.extra.weight'\]"):
        gguf_gemma.read_params(gguf_file.GGUFFile(tmp_path / "a.gguf"))

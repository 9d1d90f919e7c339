"""Hugging Face's safetensors of Gemma 3: read as they are, and refused with the reason."""

import json
import weakref

import jax
import jax.numpy as jnp
import ml_dtypes  # noqa: F401 - NumPy's bfloat16
import numpy as np
import pytest
from dummy_files import (
    CONFIG,
    hugging_face_tensors,
    make_factory,
    random_params,
    write_hugging_face,
    write_tokenizer_json,
)

from t2sql import errors
from t2sql.model import factory as factory_lib
from t2sql.model import safetensors_files

TOKENS = jnp.array([[2, 300, 340, 351, 107, 399, 402, 402, 341, 420]])


@pytest.fixture(scope="module")
def params(tmp_path_factory):
    params = random_params(tmp_path_factory.mktemp("cache"))
    rng = np.random.default_rng(0)  # Norm scales of a new model are zero: not telling.
    return jax.tree.map(lambda leaf: leaf + rng.normal(size=leaf.shape).astype("f4") / 9, params)


@pytest.fixture
def folder(params, tmp_path):
    write_hugging_face(tmp_path / "gemma-3-tiny-it", hugging_face_tensors(params))
    return tmp_path / "gemma-3-tiny-it"


def load(folder, **fields):
    return make_factory(folder, folder.parent / "cache", **fields)


def refused(folder, message, error=errors.InputError):
    factory = load(folder)
    with pytest.raises(error, match=message):
        factory.check()


def change_config(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def logits(model, params):
    return model.apply({"params": params}, TOKENS).logits


def multimodal(params):
    """As the larger sizes are stored: among an image model's tensors, with rows to spare."""
    tensors = hugging_face_tensors(params, "language_model.model.")
    name = "language_model.model.embed_tokens.weight"
    tensors[name] = np.concatenate([tensors[name], np.ones((64, 32), np.float32)])
    return tensors | {
        "vision_tower.vision_model.embeddings.patch_embedding.weight": np.ones((2, 3), np.float32),
        "multi_modal_projector.mm_input_projection_weight": np.ones((2, 3), np.float32),
        "language_model.lm_head.weight": tensors[name],
    }


def later_multimodal(params):
    """The names that transformers gives it since 4.52."""
    return {
        name.replace("language_model.model.", "model.language_model.")
        if name.startswith("language_model.model.")
        else f"model.{name}"
        if "lm_head" not in name
        else "lm_head.weight": values
        for name, values in multimodal(params).items()
    }


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("form", [hugging_face_tensors, multimodal, later_multimodal])
def test_every_form_gives_the_logits_of_the_params_it_was_made_of(form, shards, params, tmp_path):
    config = CONFIG
    if form is not hugging_face_tensors:
        config = {"model_type": "gemma3", "text_config": CONFIG, "vision_config": {}}
    write_hugging_face(tmp_path / "a", form(params), config=config, shards=shards)
    factory = load(tmp_path / "a")
    factory.check()
    loaded = factory.load_params()
    np.testing.assert_array_equal(logits(factory.model, loaded), logits(factory.model, params))
    assert factory.tokenizer.decode(factory.tokenizer.encode("SELECT 1")) == "SELECT 1"


def test_mixed_types_become_the_one_that_is_asked_for(params, tmp_path):
    kinds = {"q_proj": "bfloat16", "down_proj": "float16", "embed_tokens": "bfloat16"}

    def dtype_of(name):
        return next((kind for part, kind in kinds.items() if part in name), "float32")

    tensors = hugging_face_tensors(params)
    rounded = {name: values.astype(dtype_of(name)) for name, values in tensors.items()}
    write_hugging_face(tmp_path / "mixed", tensors, dtype_of=dtype_of)
    write_hugging_face(
        tmp_path / "float32", {name: values.astype("f4") for name, values in rounded.items()}
    )
    mixed, same = load(tmp_path / "mixed").load_params(), load(tmp_path / "float32").load_params()
    jax.tree.map(np.testing.assert_array_equal, mixed, same)
    assert {leaf.dtype for leaf in jax.tree.leaves(mixed)} == {jnp.dtype("float32")}
    half = load(tmp_path / "mixed", dtype="bfloat16").load_params()
    assert {leaf.dtype for leaf in jax.tree.leaves(half)} == {jnp.dtype("bfloat16")}


def test_no_more_than_one_parameter_is_held_beside_the_model(params, tmp_path, monkeypatch):
    write_hugging_face(
        tmp_path / "a", hugging_face_tensors(params), dtype_of=lambda name: "bfloat16"
    )
    read, most = safetensors_files.SafetensorsFiles.tensor, 0
    alive = weakref.WeakSet()

    class Tracked(np.ndarray):
        __hash__ = object.__hash__

    def tensor(self, name, rows=None):
        nonlocal most
        array = read(self, name, rows).view(Tracked)
        alive.add(array)
        most = max(most, len(alive))
        return array

    monkeypatch.setattr(safetensors_files.SafetensorsFiles, "tensor", tensor)
    load(tmp_path / "a").load_params()
    assert most == 2  # the two layers that gemma stacks


def test_what_the_source_is_called_tells_its_variant(folder):
    assert load(folder).checkpoint.variant == "it"


def test_the_fingerprint_is_that_of_the_weights(folder, params, tmp_path):
    first = load(folder).checkpoint.weights_sha256
    (folder / "README.md").write_text("a model card")
    folder.rename(tmp_path / "moved")
    assert load(tmp_path / "moved").checkpoint.weights_sha256 == first
    other = hugging_face_tensors(params)
    other["model.norm.weight"] = other["model.norm.weight"] + 1
    write_hugging_face(tmp_path / "moved", other)
    assert load(tmp_path / "moved").checkpoint.weights_sha256 != first


def test_tokenizer_json_alone_gives_the_same_ids(folder):
    with_model = load(folder).tokenizer
    (folder / "tokenizer.model").unlink()
    write_tokenizer_json(folder / "tokenizer.json")
    alone = load(folder).tokenizer
    text = "<start_of_turn>user\nSELECT naïve FROM t"
    assert alone.encode(text) == with_model.encode(text)


def test_a_tokenizer_json_of_another_kind_is_refused(folder):
    (folder / "tokenizer.model").unlink()
    write_tokenizer_json(folder / "tokenizer.json", type="WordPiece")
    with pytest.raises(errors.InputError, match=r"tokenizer\.json: not a tokenizer of Gemma"):
        _ = load(folder).checkpoint


def test_a_tokenizer_of_another_vocabulary_is_refused(folder):
    (folder / "tokenizer.model").unlink()
    write_tokenizer_json(folder / "tokenizer.json")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"]["one more"] = 512
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(errors.InputError, match="513 pieces and the model 512"):
        load(folder).check()


def test_a_folder_without_config_json(folder):
    (folder / "config.json").unlink()
    with pytest.raises(errors.InputError, match=r"safetensors files and no config\.json"):
        _ = load(folder).checkpoint


def test_a_folder_with_an_adapter_is_no_model(folder):
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(errors.InputError, match=r"an adapter, not weights.*--config\.model\.adap"):
        _ = load(folder).checkpoint


def test_a_missing_shard_is_named(params, tmp_path):
    write_hugging_face(tmp_path / "a", hugging_face_tensors(params), shards=3)
    (tmp_path / "a" / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(errors.InputError, match="model-00002-of-00003.safetensors of 3 files is m"):
        _ = load(tmp_path / "a").checkpoint
    (tmp_path / "a" / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(errors.InputError, match="not an index of safetensors files"):
        _ = load(tmp_path / "a").checkpoint
    (tmp_path / "a" / "model.safetensors.index.json").unlink()
    with pytest.raises(errors.InputError, match="2 safetensors files and no model.safetensors.ind"):
        _ = load(tmp_path / "a").checkpoint


def test_a_half_downloaded_file_is_named(folder):
    content = (folder / "model.safetensors").read_bytes()
    for size in (len(content) // 2, 4, 0):
        (folder / "model.safetensors").write_bytes(content[:size])
        refused(folder, rf"model\.safetensors: truncated or damaged .* of {size:,} bytes")


def test_a_pointer_of_git_lfs_is_called_so(folder):
    pointer = "version https://git-lfs.example/spec/v1\noid sha256:0a1b\nsize 536223056\n"
    (folder / "model.safetensors").write_text(pointer)
    refused(folder, r"model\.safetensors: a pointer of Git LFS, .* run `git lfs pull`")


def test_a_tensor_of_another_shape_or_name_is_named(params, folder):
    tensors = hugging_face_tensors(params)
    name = "model.layers.1.self_attn.k_proj.weight"
    write_hugging_face(folder, tensors | {name: tensors[name][:8]})
    refused(folder, rf"tensor {name} is \(8, 32\) in the files and \(16, 32\) in the model")
    del tensors[name]
    write_hugging_face(folder, tensors)
    refused(folder, rf"tensor {name} is absent in the files")
    tensors = hugging_face_tensors(params) | {"model.layers.1.nose.weight": np.ones(3, "f4")}
    write_hugging_face(folder, tensors)
    refused(folder, r"layers\.1\.nose\.weight is \(3,\) in the files and absent in the model")


def test_another_size_is_recognised(folder):
    config = factory_lib.config_for("gemma3_270m", str(folder), cache_dir=folder.parent / "cache")
    with pytest.raises(errors.InputError, match=r"not of Gemma3_270M.*this looks like dummy"):
        factory_lib.LLMModuleFactory(config).load_base()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, "'llama' .LlamaForCausal"),
        ({"model_type": "gemma4"}, "Gemma 4 is not sampled from here: its layers share keys"),
        ({"quantization_config": {"quant_method": "gptq"}}, "are quantised .gptq.; take"),
        ({"sliding_window": 4096}, "sliding_window is 4096; gemma's model of this size has 16"),
        ({"query_pre_attn_scalar": 8}, "query_pre_attn_scalar is 8; .* 16"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 8.0}}, "factor is 8.0; .* has 1.0"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 1.0}}, "rope_type is 'yarn'"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "rope_theta is 10000.0"),
        ({"layer_types": ["full_attention"] * 2}, "layer_types is"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings is False"),
        ({"model_type": "other", "architectures": [1]}, r"type 'other' \(1\)"),
        ({"quantization_config": ["a"]}, r"quantization_config is \['a'\]; it has to be an object"),
        ({"text_config": [1]}, r"text_config is \[1\]; it has to be an object"),
        ({"rope_parameters": "x"}, "rope_parameters is 'x'; it has to be an object"),
    ],
)
def test_a_config_of_another_model_is_refused(change, message, folder):
    change_config(folder, **change)
    refused(folder, message)


def test_the_later_spelling_of_rope_is_read(folder):
    change_config(
        folder,
        rope_scaling=None,
        rope_parameters={
            "full_attention": {"rope_theta": 1e6, "rope_type": "default"},
            "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"},
        },
    )
    load(folder).check()


def test_a_quantised_tensor_is_named(params, folder):
    tensors = hugging_face_tensors(params)
    name = "model.layers.0.mlp.down_proj.weight"
    write_hugging_face(folder, tensors, dtype_of=lambda n: "int8" if n == name else "float32")
    with pytest.raises(errors.InputError, match=rf"tensor '{name}' has dtype I8; read are F32"):
        load(folder).load_params()

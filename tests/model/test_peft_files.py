"""PEFT's adapters: what is read computes what PEFT computes, what is written is read back."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy
from dummy_files import hugging_face_tensors, make_factory, random_params

from t2sql import errors
from t2sql.model import adapters, lora, peft_files
from t2sql.training import config as train_config
from t2sql.training import methods

# Layers of each kind: inputs, outputs.
LAYERS = {
    "self_attn.q_proj": (32, 32),
    "self_attn.k_proj": (32, 16),
    "self_attn.v_proj": (32, 16),
    "self_attn.o_proj": (32, 32),
    "mlp.gate_proj": (32, 64),
    "mlp.up_proj": (32, 64),
    "mlp.down_proj": (64, 32),
}
CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 6, "base_model_name_or_path": "me/tiny-pt"}


def factors(layers=tuple(LAYERS), ranks=None):
    """Random A and B for layers of both blocks, by the layer's name."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.normal(size=shape).astype("f4") / 4

    return {
        f"model.layers.{block}.{layer}": (
            draw(rank, LAYERS[layer][0]),
            draw(LAYERS[layer][1], rank),
        )
        for block in range(2)
        for layer in layers
        for rank in [(ranks or {}).get(layer, 2)]
    }


def write(folder, pairs, prefix="base_model.model.", more=None, **config):
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | config))
    tensors = {
        f"{prefix}{layer}.lora_{part}.weight": array
        for layer, pair in pairs.items()
        for part, array in zip("AB", pair, strict=True)
    }
    safetensors.numpy.save_file(tensors | (more or {}), folder / "adapter_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def base(cache_dir):
    return random_params(cache_dir)


def load(folder, cache_dir):
    return make_factory("dummy:0", cache_dir, adapter=str(folder))


def assert_merged(folder, cache_dir, base, pairs, scale):
    """The loaded params are the base's matrices with W + scale * B A for each layer."""
    loaded = jax.tree.map(np.asarray, load(folder, cache_dir).load_params())
    merged, expected = hugging_face_tensors(loaded), hugging_face_tensors(base)
    for layer, (a, b) in pairs.items():
        factor = scale(layer) if callable(scale) else scale
        expected[f"{layer}.weight"] = expected[f"{layer}.weight"] + factor * b @ a
    for name, values in expected.items():
        np.testing.assert_allclose(merged[name], values, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("layers", "config", "scale"),
    [
        (tuple(LAYERS), {}, 3),
        (("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj"), {}, 3),
        (("self_attn.k_proj",), {"use_rslora": True}, 6 / 2**0.5),
        (
            ("self_attn.q_proj", "mlp.gate_proj"),
            {"alpha_pattern": {"layers.1.self_attn.q_proj": 4, "gate_proj": 2}},
            lambda layer: {"model.layers.1.self_attn.q_proj": 2}.get(
                layer, 1 if "gate" in layer else 3
            ),
        ),
    ],
)
def test_layers_are_scaled_as_peft_scales_them(layers, config, scale, tmp_path, cache_dir, base):
    pairs = factors(layers)
    folder = write(tmp_path / "a", pairs, **config)
    assert_merged(folder, cache_dir, base, pairs, scale)


def test_ranks_may_differ_between_layers(tmp_path, cache_dir, base):
    pairs = factors(ranks={"self_attn.v_proj": 3})
    folder = write(tmp_path / "a", pairs, rank_pattern={"v_proj": 3})
    assert_merged(folder, cache_dir, base, pairs, lambda layer: 2 if "v_proj" in layer else 3)


@pytest.mark.parametrize("inside", ["language_model.model.", "model.language_model."])
def test_an_adapter_of_a_multimodal_model(inside, tmp_path, cache_dir, base):
    pairs = factors()
    named = {layer.replace("model.", inside, 1): pair for layer, pair in pairs.items()}
    vision = "base_model.model.model.vision_tower.encoder.layers.0.self_attn.q_proj"
    more = {f"{vision}.lora_{part}.weight": np.ones((2, 2), "f4") for part in "AB"}
    folder = write(tmp_path / "a", named, more=more)
    assert_merged(folder, cache_dir, base, pairs, 3)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'; only 'LORA'"),
        ({"use_dora": True}, "use_dora is True: DoRA scales every weight by a learnt length"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is .'lm_head'.: it replaces whole"),
        ({"bias": "all"}, "bias is 'all'; only 'none'"),
        ({"lora_bias": True}, "lora_bias is True"),
        ({"use_qalora": True}, "use_qalora is True: a layer computes something else"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights is 'pissa_niter_4'"),
        ({"r": 0}, "cannot be read: r and lora_alpha are"),
        ({"rank_pattern": [1]}, r"rank_pattern is \[1\]; PEFT writes dict or null"),
        ({"rank_pattern": {"v_proj(": 3}}, r"rank_pattern: 'v_proj\(' is no regular expression"),
        ({"alpha_pattern": {"v_proj": 0}}, "alpha_pattern: 'v_proj' is 0; it has to be above 0"),
        ({"base_model_name_or_path": 7}, "base_model_name_or_path is 7; PEFT writes str or null"),
    ],
)
def test_what_cannot_be_applied_is_refused_with_the_reason(config, message, tmp_path, cache_dir):
    folder = write(tmp_path / "a", factors(), **config)
    with pytest.raises(errors.InputError, match=message):
        _ = load(folder, cache_dir).adapter


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("model.layers.0.self_attn.nose_proj", "it adapts model.layers.0.self_attn.nose_proj, wh"),
        ("model.layers.7.self_attn.q_proj", "it adapts model.layers.7.self_attn.q_proj, which th"),
        ("model.layers.0.mlp.down_proj", r"of shapes \(2, 32\) and \(32, 2\), .* \(2, 64\) and"),
    ],
)
def test_an_adapter_of_another_base_is_refused(layer, message, tmp_path, cache_dir):
    pairs = {layer: factors()["model.layers.0.self_attn.q_proj"]}
    folder = write(tmp_path / "a", pairs)
    with pytest.raises(errors.InputError, match=f"{message}.*was trained on me/tiny-pt"):
        load(folder, cache_dir).load_params()


def test_the_variant_that_the_bases_name_tells_is_compared(tmp_path, cache_dir):
    folder = write(tmp_path / "a", factors())
    adapter = load(folder, cache_dir).adapter
    adapter.check_base("any", "pt")
    with pytest.raises(errors.InputError, match="trained on me/tiny-pt; .* are those called 'it'"):
        adapter.check_base("any", "it")


def test_other_targets_are_named(tmp_path, cache_dir):
    name = "base_model.model.model.embed_tokens.lora_embedding_A"
    folder = write(tmp_path / "a", factors(), more={name: np.ones((2, 512), "f4")})
    with pytest.raises(errors.InputError, match=f"its tensor '{name}' is no factor of a linear"):
        load(folder, cache_dir).load_params()


def test_an_adapter_that_would_change_nothing_is_refused(tmp_path, cache_dir):
    folder = write(tmp_path / "a", {})
    with pytest.raises(errors.InputError, match="it adapts no layer of the text model"):
        load(folder, cache_dir).load_params()


def test_a_folder_without_an_adapter_is_told_both_forms(tmp_path, cache_dir):
    with pytest.raises(errors.InputError, match="adapter.npz, .* or with adapter_config.json"):
        _ = load(tmp_path, cache_dir).adapter
    folder = write(tmp_path / "a", factors())
    with pytest.raises(errors.InputError, match="is an adapter of PEFT; here only one that t2sql"):
        adapters.resolve(str(folder), cache_dir=cache_dir)


def test_files_that_are_missing_or_cut_are_named(tmp_path, cache_dir):
    folder = write(tmp_path / "a", factors())
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(errors.InputError, match="adapter_model.safetensors: truncated or damaged"):
        _ = load(folder, cache_dir).adapter
    path.unlink()
    with pytest.raises(errors.InputError, match=r"is missing; save .*safe_serialization=True"):
        _ = load(folder, cache_dir).adapter
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(errors.InputError, match="adapter_config.json has no 'r'"):
        _ = load(folder, cache_dir).adapter


def test_the_fingerprint_is_that_of_its_content(tmp_path, cache_dir):
    one = load(write(tmp_path / "a", factors()), cache_dir).adapter.sha256
    assert load(write(tmp_path / "b", factors()), cache_dir).adapter.sha256 == one
    assert load(write(tmp_path / "c", factors(), lora_alpha=7), cache_dir).adapter.sha256 != one


def own_adapter(folder, targets=tuple(lora.TARGETS)):
    made = make_factory("dummy:0", folder.parent / "cache")
    shapes = lora.init(made.abstract_params, 3, targets, seed=0)
    rng = np.random.default_rng(0)
    adapters.save(
        folder,
        jax.tree.map(lambda leaf: rng.normal(size=leaf.shape) / 9, shapes),
        base={"name": "dummy", "weights_sha256": made.checkpoint.weights_sha256},
        rank=3,
        targets=list(targets),
        prompt={"name": "compact", "sha256": "0"},
        training={"steps": 1},
    )
    return folder


@pytest.mark.parametrize("multimodal", [False, True])
def test_what_is_written_is_read_back(multimodal, tmp_path, cache_dir):
    ours = load(own_adapter(tmp_path / "ours"), cache_dir)
    (tmp_path / "peft").mkdir()
    peft_files.save(
        tmp_path / "peft",
        ours.adapter.load(ours.abstract_params),
        base_name="me/tiny",
        rank=3,
        multimodal=multimodal,
        base_sha256=ours.adapter.base["weights_sha256"],
        prompt=ours.adapter.prompt,
    )
    read = load(tmp_path / "peft", cache_dir)
    assert read.adapter.prompt == ours.adapter.prompt
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        read.load_params(),
        ours.load_params(),
    )
    with pytest.raises(errors.InputError, match="was trained on me/tiny with weights"):
        _ = make_factory("dummy:1", cache_dir, adapter=str(tmp_path / "peft")).adapter


def test_a_training_does_not_begin_with_one(tmp_path, cache_dir):
    made = load(write(tmp_path / "a", factors()), cache_dir)
    with pytest.raises(errors.InputError, match="an adapter of PEFT; a training goes on with"):
        methods.make(train_config.default_config(), made)

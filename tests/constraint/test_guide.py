"""One answer's state: blocks of tokens, and room for an end."""

import itertools

import constraint_samples as samples
import numpy as np
import pytest

from t2sql import constraint
from t2sql.constraint import completion
from t2sql.constraint import constraint as constraint_lib


@pytest.fixture(scope="module")
def vocabulary():
    return samples.dummy_vocabulary()


@pytest.fixture(scope="module", params=[False, True], ids=["schema", "keys"])
def papers(vocabulary, request):
    schema = samples.make_schema(samples.PAPERS, samples.PAPER_KEYS)
    return constraint.SchemaConstraint(vocabulary, schema, along_keys=request.param)


def token_by_token(guide: constraint.Guide, tokens: list[int]) -> int:
    for count, token in enumerate(tokens):
        if guide.ended or not guide.left or not guide.accept([token]):
            return count
    return len(tokens)


@pytest.mark.parametrize("seed", range(6))
def test_a_block_is_taken_as_far_as_its_tokens_one_by_one(papers, vocabulary, seed):
    text = samples.random_answer(papers, limit=70, seed=seed)
    tokens = [*vocabulary.encode(text), samples.END, *vocabulary.encode(b"more")]
    tokens[10 * seed % len(tokens)] += seed % 2  # in half of the answers one token is another
    blocks, one_by_one = constraint.Guide(papers, 70), constraint.Guide(papers, 70)
    expected = token_by_token(one_by_one, tokens)
    taken = 0
    for block in itertools.batched(tokens, 8):
        count = blocks.accept(block)
        taken += count
        if count < len(block):
            break
    assert taken == expected
    assert (blocks.left, blocks.ended) == (one_by_one.left, one_by_one.ended)
    if not blocks.ended:
        assert np.array_equal(blocks.allowed().words, one_by_one.allowed().words)


def test_a_block_ends_at_the_limit(papers, vocabulary):
    guide = constraint.Guide(papers, 40)
    tokens = vocabulary.encode(b"SELECT title FROM papers WHERE title = '" + b"a" * 40)
    taken = guide.accept(tokens)
    assert taken < 40
    while not guide.ended:
        (token, *_) = np.flatnonzero(guide.allowed().unpacked(vocabulary.size))
        guide.advance(int(token))
    assert guide.left >= 0


@pytest.mark.parametrize("seed", range(4))
def test_what_fits_is_what_the_shortest_end_takes(papers, seed):
    """Also mid-word, where one word that fits is enough to say so."""
    for guide, _ in samples.random_steps(papers, limit=60, seed=seed):
        position = guide.node.position
        bound = completion.bound(position, papers.count)
        for limit in (0, bound - 1, bound, bound + 1, bound + 30):
            assert completion.fits(position, papers.count, limit) == (bound <= limit)
        end = b"".join(completion.parts(position, papers.count))
        assert papers.count(end) <= bound + 4


def test_answers_are_the_same_where_little_is_kept(vocabulary, monkeypatch):
    schema = samples.make_schema(samples.PAPERS, samples.PAPER_KEYS)
    answers = [
        samples.random_answer(
            constraint.SchemaConstraint(vocabulary, schema, along_keys=True), limit=80, seed=seed
        )
        for seed in range(3)
    ]
    monkeypatch.setattr(constraint_lib, "_MAX_STATES", 4)
    monkeypatch.setattr(constraint_lib, "_MAX_NEXT", 1)
    made = constraint.SchemaConstraint(vocabulary, schema, along_keys=True)
    assert answers == [samples.random_answer(made, limit=80, seed=seed) for seed in range(3)]


def test_a_mask_holds_the_tokens_that_it_is_made_of():
    tokens = {3, 31, 32, 700, 703}
    allowed = np.zeros(720, bool)
    allowed[list(tokens)] = True
    for mask in (constraint.Mask.of(allowed), constraint.Mask.of_few(tokens)):
        assert {token for token in range(800) if token in mask} == tokens
        assert set(np.flatnonzero(mask.unpacked(720))) == tokens

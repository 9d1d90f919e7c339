"""The next token: greedy, limits, and keys that know only seed, example and place."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t2sql.config import SamplingConfig
from t2sql.sampling import next_token

pytestmark = pytest.mark.usefixtures("quick_compile")

LOGITS = jnp.array(np.random.default_rng(0).normal(size=(6, 50)), jnp.float32)
IDS = jnp.arange(6, dtype=jnp.uint32)
START = jnp.zeros(6, jnp.int32)


def _draws(config: SamplingConfig, count: int = 200) -> np.ndarray:
    draw = jax.jit(jax.vmap(lambda n: next_token.next_tokens(LOGITS, config, IDS, jnp.full(6, n))))
    return np.asarray(draw(jnp.arange(count)))


def test_greedy_is_the_argmax():
    tokens = next_token.next_tokens(LOGITS, SamplingConfig(), IDS, START)
    np.testing.assert_array_equal(tokens, np.argmax(LOGITS, -1))


@pytest.mark.parametrize("vocab", [1, 7, 512, 1000, 262144])
def test_greedy_takes_the_first_of_equals(vocab):
    logits = np.random.default_rng(vocab).integers(0, 3, size=(6, vocab)).astype(np.float32)
    logits[0] = -np.inf
    tokens = next_token.next_tokens(jnp.asarray(logits), SamplingConfig(), IDS, START)
    np.testing.assert_array_equal(tokens, np.argmax(logits, -1))


def test_greedy_takes_nothing_forbidden():
    logits = np.random.default_rng(1).normal(size=(6, 4096)).astype(np.float32)
    order = np.argsort(-logits, -1)
    forbidden = sorted({int(token) for token in order[:3, :2].flat})
    tokens = next_token.next_tokens(jnp.asarray(logits), SamplingConfig(), IDS, START, forbidden)
    logits[:, forbidden] = -np.inf
    np.testing.assert_array_equal(tokens, np.argmax(logits, -1))


def test_top_k_draws_only_from_the_k_best():
    draws = _draws(SamplingConfig(temperature=2.0, top_k=3))
    best = np.argsort(LOGITS, -1)[:, -3:]
    for row in range(6):
        assert set(draws[:, row]) == set(best[row])


def test_top_k_above_the_vocabulary_keeps_all():
    every, most = (_draws(SamplingConfig(temperature=2.0, top_k=k)) for k in (0, 51))
    np.testing.assert_array_equal(every, most)


def test_top_p_draws_only_from_the_nucleus():
    config = SamplingConfig(temperature=1.0, top_p=0.5)
    draws = _draws(config)
    probabilities = np.asarray(jax.nn.softmax(LOGITS, -1))
    for row in range(6):
        order = np.argsort(-probabilities[row])
        size = int(np.searchsorted(np.cumsum(probabilities[row][order]), config.top_p)) + 1
        assert set(draws[:, row]) <= set(order[:size])


def test_low_temperature_is_greedy():
    draws = _draws(SamplingConfig(temperature=1e-3), count=5)
    assert (draws == np.argmax(LOGITS, -1)).all()


def test_draws_follow_the_distribution():
    draws = _draws(SamplingConfig(temperature=1.0), count=4000)[:, 0]
    shares = np.bincount(draws, minlength=50) / len(draws)
    assert np.abs(shares - np.asarray(jax.nn.softmax(LOGITS[0]))).max() < 0.03


def test_the_draws_of_several_answers_follow_the_distribution_too():
    config = SamplingConfig(temperature=1.0, samples=3)
    draw = jax.jit(
        jax.vmap(lambda n: next_token.sample_tokens(LOGITS, config, IDS, jnp.full(6, n)))
    )
    draws = np.asarray(draw(jnp.arange(4000)))
    assert (draws[:, :, 0] == np.argmax(LOGITS, -1)).all()
    for sample in (1, 2):
        shares = np.bincount(draws[:, 0, sample], minlength=50) / len(draws)
        assert np.abs(shares - np.asarray(jax.nn.softmax(LOGITS[0]))).max() < 0.03
    assert (draws[:, :, 1] != draws[:, :, 2]).any()


def test_a_draw_does_not_depend_on_its_row():
    config = SamplingConfig(temperature=1.0, seed=7)
    order = np.array([3, 0, 5, 1, 4, 2])
    straight = next_token.next_tokens(LOGITS, config, IDS, START)
    shuffled = next_token.next_tokens(LOGITS[order], config, IDS[order], START)
    np.testing.assert_array_equal(straight[order], shuffled)


@pytest.mark.parametrize("change", ["seed", "example", "place"])
def test_a_draw_depends_on_seed_example_and_place(change):
    config = SamplingConfig(temperature=5.0)
    flat = jnp.zeros((64, 1000))
    ids, place = jnp.arange(64, dtype=jnp.uint32), jnp.zeros(64, jnp.int32)
    before = next_token.next_tokens(flat, config, ids, place)
    after = next_token.next_tokens(
        flat,
        dataclasses.replace(config, seed=int(change == "seed")),
        ids + 1000 * (change == "example"),
        place + (change == "place"),
    )
    assert np.mean(np.asarray(before) == np.asarray(after)) < 0.1


def test_the_least_temperature_is_nearly_greedy():
    draws = _draws(SamplingConfig(temperature=1e-38), 3)
    np.testing.assert_array_equal(draws, np.broadcast_to(np.argmax(LOGITS, -1), (3, 6)))


@pytest.mark.parametrize("top_p", [0.001, 0.3, 0.9, 0.9999])
def test_the_nucleus_is_that_of_sorted_tokens(top_p):
    """With ties, tokens that may not be, and logits of both signs."""
    rng = np.random.default_rng(3)
    logits = np.round(rng.normal(size=(8, 3000)) * 4, 1).astype(np.float32)
    logits[:, ::7] = -np.inf
    logits[4:] -= 50
    floor = next_token._nucleus_floor(jnp.asarray(logits), top_p)[:, 0]
    for row, smallest in zip(logits, np.asarray(floor), strict=True):
        weights = np.exp(row.astype(np.float64) - row.max())
        order = np.sort(row)[::-1]
        reached = np.cumsum(np.sort(weights)[::-1]) / weights.sum()
        assert smallest == order[np.searchsorted(reached, top_p)]


@pytest.mark.slow
def test_draws_have_the_probabilities_of_the_softmax():
    """Over several blocks, one of which may not be drawn from at all."""
    logits = np.random.default_rng(4).normal(size=2048).astype(np.float32)
    logits[512:1024] = -np.inf
    keys = jax.random.split(jax.random.key(0), 100_000)
    draws = np.asarray(jax.jit(jax.vmap(next_token._draw, (0, None)))(keys, jnp.asarray(logits)))
    expected = np.asarray(jax.nn.softmax(logits)) * len(keys)
    counts = np.bincount(draws, minlength=2048)
    assert counts[512:1024].sum() == 0
    chi_square = np.sum((counts - expected)[expected > 0] ** 2 / expected[expected > 0])
    assert chi_square < 1535 + 4 * np.sqrt(2 * 1535)

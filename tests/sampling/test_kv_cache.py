"""Who sees what in the cache, and who writes where."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2sql.sampling import kv_cache


def _kv(rows: int, length: int, fill: float = 0.0) -> dict:
    return {"layer_0": {part: jnp.full((rows, length, 1, 2), fill) for part in ("k", "v")}}


@pytest.mark.slow
@given(
    counts=st.lists(st.integers(0, 6), min_size=1, max_size=4),
    step=st.integers(0, 20),
    seed=st.integers(0, 99),
)
def test_a_compact_ring_holds_the_same_tokens_right_before_the_next_entry(counts, step, seed):
    """Wherever they were; each token's keys and values go with it."""
    length, rng = 8, np.random.default_rng(seed)
    fed = np.full((len(counts), length), -1)
    for slot, count in enumerate(counts):
        fed[slot, rng.choice(length, count, replace=False)] = np.arange(count)
    ring = {"layer_0": {"k": jnp.array(fed, jnp.float32)[:, :, None, None]}}
    moved, after = kv_cache.compact(ring, jnp.array(fed), jnp.int32(step))
    for slot, count in enumerate(counts):
        entries = (step - count + np.arange(count)) % length
        np.testing.assert_array_equal(after[slot, entries], np.arange(count))
        np.testing.assert_array_equal(moved["layer_0"]["k"][slot, entries, 0, 0], np.arange(count))
    assert (np.asarray(after) >= 0).sum() == sum(counts)


def test_slots_see_the_entries_of_the_ring_that_hold_their_tokens():
    fed = jnp.array([[2, -1, 0, 1], [-1, -1, -1, -1]])
    block = kv_cache.ring_block(_kv(2, 4), fed, jnp.array([40, 7]))
    np.testing.assert_array_equal(block.mask[:, 0], np.array([[1, 0, 1, 1], [0] * 4], bool))
    np.testing.assert_array_equal(np.asarray(block.positions)[0, [0, 2, 3]], [42, 40, 41])


def test_slots_see_their_own_span_of_the_prefix_cache_and_nothing_else():
    block = kv_cache.prefix_block(_kv(1, 6), jnp.array([2, 0, 0]), jnp.array([3, 2, 0]), 2)
    first, second, none = [1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0], [0] * 6
    expected = [[second] * 2, [first] * 2, [none] * 2]
    np.testing.assert_array_equal(block.mask, np.array(expected, bool))
    np.testing.assert_array_equal(np.asarray(block.positions)[0, 2:5], [0, 1, 2])
    np.testing.assert_array_equal(np.asarray(block.positions)[1, :2], [0, 1])
    assert block.shared


def test_a_prefix_is_written_to_its_span_without_its_padding():
    """Also where its padding reaches over the cache's end."""
    for start, length in ((1, 2), (4, 2), (2, 4)):
        after = kv_cache.write_prefix(_kv(1, 6), _kv(1, 4, 5.0), start, length)["layer_0"]["k"]
        expected = np.zeros(6)
        expected[start : start + length] = 5
        np.testing.assert_array_equal(np.asarray(after)[0, :, 0, 0], expected)


def test_a_shape_grows_to_hold_both():
    small, wide = kv_cache.CacheShape(1024, 64, 20), kv_cache.CacheShape(512, 128, 20)
    assert small.union(wide) == kv_cache.CacheShape(1024, 128, 20)


def test_suffix_follows_the_prefix_in_the_text():
    block = kv_cache.suffix_block(_kv(2, 3), jnp.array([7, 0]), jnp.array([3, 1]))
    np.testing.assert_array_equal(block.mask[:, 0], np.array([[1, 1, 1], [1, 0, 0]], bool))
    np.testing.assert_array_equal(block.positions, [[7, 8, 9], [0, 1, 2]])


def test_causal_mask_hides_what_comes_later_and_padding():
    expected = [[1, 0, 0], [1, 1, 0], [1, 1, 0]]
    np.testing.assert_array_equal(
        kv_cache.causal_mask(jnp.array([2]), 3)[0], np.array(expected, bool)
    )


def test_the_ring_takes_a_token_of_every_slot_at_the_entry_of_the_step():
    after = kv_cache.write_ring(_kv(2, 5), _kv(2, 1, 9.0), jnp.int32(13))["layer_0"]
    for part in ("k", "v"):
        assert (np.asarray(after[part])[:, 3] == 9).all()
        assert np.asarray(after[part]).sum() == 2 * 2 * 9


def test_rows_out_of_range_are_dropped():
    after = kv_cache.write_rows(_kv(3, 4), _kv(2, 4, 7.0), jnp.array([1, 3]))["layer_0"]["k"]
    assert (np.asarray(after)[1] == 7).all()
    assert np.asarray(after).sum() == 4 * 2 * 7


@pytest.mark.parametrize(
    ("prefix", "slots", "size"),
    [
        (0, 1, 1024),
        (700, 32, 1536),
        (10, 64, 1024),
        (10, 200, 3072),
        (10, 999, 4096),
        (3000, 64, 6144),
    ],
)
def test_the_prefix_cache_grows_with_the_longest_prefix_and_with_the_batch(prefix, slots, size):
    assert kv_cache.prefix_cache_size(prefix, slots) == size

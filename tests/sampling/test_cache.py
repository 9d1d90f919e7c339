"""The masks of the cache layout, against a slot-by-slot account of who wrote what."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from t2sql.sampling import cache

SHAPE = cache.CacheShape(prefix=4, suffix=3, new=5)


@given(starts=st.lists(st.integers(0, 12), min_size=1, max_size=4), last=st.integers(12, 16))
def test_ring_holds_exactly_the_rows_own_tokens(starts, last):
    """Rows that begin at different steps see their own slots, and never one from before."""
    starts = [start for start in starts if last - start < SHAPE.new] or [last]
    owner = np.full((len(starts), SHAPE.new), -1)  # the step at which a slot was last written
    for step in range(last + 1):
        owner[:, step % SHAPE.new] = step
    expected = owner >= np.array(starts)[:, None]
    generated = jnp.array([last - start + 1 for start in starts])
    found = cache.ring_slots(jnp.int32(last), generated, SHAPE.new)
    np.testing.assert_array_equal(found, expected)


def test_suffix_tokens_see_the_prefix_and_their_own_past():
    mask = cache.suffix_mask(jnp.int32(2), jnp.array([3, 1]), SHAPE)
    expected = [
        #  prefix      suffix
        [[1, 1, 0, 0, 1, 0, 0], [1, 1, 0, 0, 1, 1, 0], [1, 1, 0, 0, 1, 1, 1]],
        [[1, 1, 0, 0, 1, 0, 0], [1, 1, 0, 0, 1, 0, 0], [1, 1, 0, 0, 1, 0, 0]],
    ]
    np.testing.assert_array_equal(mask, np.array(expected, bool))


def test_prompt_slots_are_those_with_a_token():
    found = cache.prompt_slots(jnp.int32(3), jnp.array([1, 2]), SHAPE)
    np.testing.assert_array_equal(
        found, np.array([[1, 1, 1, 0, 1, 0, 0], [1, 1, 1, 0, 1, 1, 0]], bool)
    )


def test_prefix_mask_is_causal_and_hides_padding():
    expected = [[1, 0, 0], [1, 1, 0], [1, 1, 0]]
    np.testing.assert_array_equal(cache.prefix_mask(jnp.int32(2), 3)[0], np.array(expected, bool))


def _layer(rows: int, slots: int, fill: float) -> dict:
    return {
        "k": jnp.full((rows, slots, 1, 2), fill),
        "v": jnp.full((rows, slots, 1, 2), fill),
        "positions": jnp.full((rows, slots), int(fill)),
        "end_index": jnp.zeros((rows,), jnp.int32),
    }


def test_insert_replaces_the_named_rows_and_drops_unused_entries():
    batch = {"layer_0": _layer(3, 6, 0.0)}
    prompts = {"layer_0": _layer(2, 4, 7.0)}
    after = cache.insert_rows(batch, prompts, jnp.array([1, 3]))["layer_0"]
    for key in ("k", "v", "positions"):
        values = np.asarray(after[key], float).reshape(3, 6, -1)
        assert (values[1, :4] == 7).all()
        assert values.sum() == values[1, :4].sum()


def test_with_prefix_copies_the_prefix_into_every_row():
    wide = cache.with_prefix({"layer_0": _layer(1, 4, 5.0)}, rows=3, suffix=2)["layer_0"]
    assert wide["k"].shape == (3, 6, 1, 2)
    assert (np.asarray(wide["k"])[:, :4] == 5).all()
    np.testing.assert_array_equal(wide["end_index"], [4, 4, 4])

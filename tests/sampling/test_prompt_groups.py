"""Grouping and padding: nothing of a prompt is lost, and nothing is shared that differs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2sql.sampling import prompt_groups

BUCKETS = (2, 4, 8, 16)
PROMPTS = st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=16), min_size=1, max_size=6)


@given(PROMPTS)
def test_prefix_and_suffix_make_the_prompt(prompts):
    group = prompt_groups.group_prompts(prompts, [""] * len(prompts))
    suffixes = [suffix.tolist() for suffix in group.suffixes]
    assert [group.prefix.tolist() + suffix for suffix in suffixes] == prompts
    assert all(suffixes)


@given(PROMPTS)
def test_the_shared_prefix_is_the_longest(prompts):
    group = prompt_groups.group_prompts(prompts, [""] * len(prompts))
    if len(prompts) < prompt_groups.MIN_SHARING:
        assert len(group.prefix) == 0
    else:
        assert len({suffix[0] for suffix in group.suffixes}) > 1 or 0 in map(
            group.prefill_length, range(len(group))
        )


@given(PROMPTS, st.integers(1, 4))
def test_every_prompt_is_in_one_chunk_of_its_size(prompts, rows):
    group = prompt_groups.group_prompts(prompts, [""] * len(prompts))
    chunks = list(prompt_groups.chunks(group, BUCKETS, lambda length: rows))
    assert sorted(index for _, indices in chunks for index in indices) == list(range(len(prompts)))
    assert all(len(indices) == rows for _, indices in chunks[:-1])
    for length, indices in chunks:
        assert length == prompt_groups.bucket(max(map(group.prefill_length, indices)), BUCKETS)
    assert [length for length, _ in chunks] == sorted(
        (length for length, _ in chunks), reverse=True
    )


def test_padding_is_id_0():
    rows = [np.array([6, 7]), np.array([8]), np.array([], int)]
    np.testing.assert_array_equal(prompt_groups.pad(rows, 3), [[6, 7, 0], [8, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("prompts", [[], [[1], []]])
def test_an_empty_prompt_is_refused(prompts):
    with pytest.raises(ValueError, match="empty"):
        prompt_groups.group_prompts(prompts, [""] * len(prompts))


def test_a_prompt_over_the_largest_bucket_is_refused():
    with pytest.raises(ValueError, match="21 tokens exceed the largest bucket, 16"):
        prompt_groups.bucket(21, BUCKETS)


def test_sample_ids_are_stable():
    assert prompt_groups.sample_id("dev/0007") == 0xC55CCAAE

"""Grouping and padding: nothing of a prompt is lost, and nothing is shared that differs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2sql.sampling import groups

BUCKETS = (2, 4, 8, 16)
PROMPTS = st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=16), min_size=1, max_size=6)


@given(PROMPTS)
def test_prefix_and_suffix_make_the_prompt(prompts):
    group = groups.group_prompts(prompts, [str(i) for i in range(len(prompts))], buckets=BUCKETS)
    prefix = group.prefix[: group.prefix_length].tolist()
    suffixes = [
        row[:length].tolist() for row, length in zip(group.suffixes, group.lengths, strict=True)
    ]
    assert [prefix + suffix for suffix in suffixes] == prompts
    assert all(suffixes)
    assert set(group.slots) <= set(BUCKETS)


@given(PROMPTS)
def test_the_shared_prefix_is_the_longest(prompts):
    group = groups.group_prompts(prompts, [""] * len(prompts), buckets=BUCKETS)
    firsts = set(group.suffixes[:, 0].tolist())
    if len(prompts) < groups.MIN_SHARING:
        assert group.prefix_length == 0
    else:
        assert len(firsts) > 1 or min(group.lengths) == 1


def test_padding_is_id_0():
    group = groups.group_prompts([[5, 6, 7], [5, 8], [5, 9], [5, 9]], list("abcd"), buckets=BUCKETS)
    np.testing.assert_array_equal(group.prefix, [5, 0])
    np.testing.assert_array_equal(group.suffixes, [[6, 7], [8, 0], [9, 0], [9, 0]])


@pytest.mark.parametrize("prompts", [[], [[1], []]])
def test_an_empty_prompt_is_refused(prompts):
    with pytest.raises(ValueError, match="empty"):
        groups.group_prompts(prompts, [""] * len(prompts))


def test_a_prompt_over_the_largest_bucket_is_refused():
    with pytest.raises(ValueError, match="21 tokens exceed the largest bucket, 16"):
        groups.group_prompts([list(range(1, 22))], ["a"], buckets=BUCKETS)


def test_sample_ids_are_stable():
    assert groups.sample_id("dev/0007") == 0xC55CCAAE

"""Grain deals the plan: whatever the number of hosts, no unit is lost or done twice."""

import numpy as np
import pytest

from t2sql.data import examples as examples_lib
from t2sql.data import prompts, sources
from t2sql.runs import loader

PROMPT = prompts.make_prompt("completion")


@pytest.fixture(scope="module")
def plan():
    examples = examples_lib.read_examples(sources.SAMPLE, "dev")
    return loader.plan(examples, PROMPT, unit_size=4)


def _load(plan, index=0, count=1, finished=(), longest=2048):
    return list(
        loader.load(
            plan,
            encode=lambda text: [2, *text.encode()],
            prompt=PROMPT,
            longest=longest,
            process_index=index,
            process_count=count,
            finished=finished,
        )
    )


@pytest.mark.parametrize("count", [1, 2, 3, 8, 64])
def test_hosts_share_the_plan(plan, count):
    dealt = [group.tag.name for index in range(count) for group in _load(plan, index, count)]
    assert sorted(dealt) == sorted(unit.name for unit in plan)


def test_finished_units_are_left_out_after_dealing(plan):
    finished = {unit.name for unit in plan[::3]}
    for index in range(4):
        names = [group.tag.name for group in _load(plan, index, 4, finished)]
        assert names == [unit.name for unit in plan[index::4] if unit.name not in finished]


def test_groups_hold_the_prompts(plan):
    for group in _load(plan):
        for index, example in enumerate(group.tag.examples):
            tokens = np.concatenate([group.prefix, group.suffixes[index]])
            assert tokens.tolist() == [2, *PROMPT.text(example).encode()]
            assert group.prompt_tokens[index] == len(tokens)


def test_prompts_that_are_too_long_are_counted_and_left_out(plan):
    limit = int(np.median([n for group in _load(plan) for n in group.prompt_tokens]))
    for group in _load(plan, longest=limit):
        fits = [i for i, n in enumerate(group.prompt_tokens) if n <= limit]
        assert group.answerable == fits
        assert len(group) == len(group.prompt_tokens) == len(group.tag.examples)

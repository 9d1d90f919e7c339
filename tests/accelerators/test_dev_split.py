"""The dev split's calls are counted by the scheduler itself, over recorded lengths."""

import types

from benchmarks.accelerators import dev_split


def test_each_schema_is_prefilled_once_and_every_answer_is_written():
    groups, answers = dev_split.recorded_groups()
    chip = types.SimpleNamespace(prefill_tokens=16384, prompts_at_a_time=lambda length: 16)
    calls, prefilled = dev_split.count_calls(chip, 64)
    of_kind = {
        name: sum(count for key, count in calls.items() if key[0] == name)
        for name in ("prefix", "prefill", "insert", "decode")
    }
    assert len(answers) == 1034
    assert of_kind["prefix"] == sum(len(group.prefix) > 0 for group in groups)
    assert of_kind["prefill"] == of_kind["insert"] >= 1034 / 16
    tokens = sum(map(len, answers.values()))
    assert tokens / 64 <= of_kind["decode"] < 2 * tokens / 64
    assert prefilled > sum(len(group.prefix) for group in groups)

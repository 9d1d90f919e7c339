"""How evenly Spider dev is dealt to hosts, by unit size: T2SQL_SPIDER_DIR names the data.

    python -m benchmarks.deal --hosts=2,4,8,16

Prints how much longer the slowest host takes than the mean one by estimated tokens, and in
brackets the bound: no two hosts differ by more than the first unit of the plan.
"""

import os
import pathlib
from collections.abc import Sequence

from absl import flags

from t2sql import errors
from t2sql.data import examples as examples_lib
from t2sql.data import prompts
from t2sql.runs import units
from t2sql.runtime import cli

_SPIDER = flags.DEFINE_string("spider", os.environ.get("T2SQL_SPIDER_DIR"), "Spider directory.")
_SPLIT = flags.DEFINE_string("split", "dev", "Split to deal.")
_HOSTS = flags.DEFINE_list("hosts", ["2", "4", "8", "16"], "Numbers of hosts.")
_UNIT_SIZES = flags.DEFINE_list("unit_sizes", ["8", "16", "32", "64"], "Unit sizes.")
_CHARACTERS_PER_TOKEN = 3


def main(argv: Sequence[str]) -> None:
    """Prints a Markdown table, a row for each unit size."""
    del argv
    if not _SPIDER.value:
        raise errors.InputError("--spider: give Spider's directory, here or by T2SQL_SPIDER_DIR")
    examples = examples_lib.read_examples(pathlib.Path(_SPIDER.value), _SPLIT.value)
    prompt = prompts.make_prompt("completion")
    hosts = [int(count) for count in _HOSTS.value]
    print("| unit_size | units |", " | ".join(f"{count} hosts" for count in hosts), "|")
    print("| --- " * (2 + len(hosts)) + "|")
    for unit_size in map(int, _UNIT_SIZES.value):
        plan = units.plan_units(
            examples,
            unit_size=unit_size,
            length=lambda example: len(prompt.text(example)) // _CHARACTERS_PER_TOKEN,
        )
        costs = [unit.estimated_tokens for unit in plan]
        print(f"| {unit_size} | {len(plan)} |", " | ".join(_excess(costs, n) for n in hosts), "|")


def _excess(costs: Sequence[int], hosts: int) -> str:
    mean = sum(costs) / hosts
    slowest = max(sum(costs[host::hosts]) for host in range(hosts))
    return f"{slowest / mean - 1:.0%} ({costs[0] / mean:.0%})"


if __name__ == "__main__":
    cli.run(main)

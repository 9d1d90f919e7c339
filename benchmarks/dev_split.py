"""The dev split as the job would cut, tokenise and group it on one host."""

import functools
import pathlib
from typing import Any

from t2sql import sampling
from t2sql.data import examples as examples_lib
from t2sql.data import prompts
from t2sql.runs import loader


def load_groups(
    data: str, prompt: prompts.Prompt, tokenizer: Any, *, limit: int | None = None
) -> list[sampling.PromptGroup]:
    """The prompts of the Spider directory `data`, a group for each unit, tagged with it."""
    examples = examples_lib.read_examples(pathlib.Path(data), "dev", limit=limit)
    groups = loader.load(
        loader.plan(examples, prompt, unit_size=64),
        encode=functools.partial(tokenizer.encode, add_bos=True),
        prompt=prompt,
        longest=sampling.PROMPT_BUCKETS[-1],
    )
    return sampling.in_order(groups)


if __name__ == "__main__":
    print(f"{__doc__}\nA part of other benchmarks, and no command.")

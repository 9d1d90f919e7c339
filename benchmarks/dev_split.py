"""The dev split as the job would cut, tokenise and group it on one host."""

import functools
import pathlib
from collections.abc import Iterator
from typing import Any

from t2sql import loader, prompts, sampling
from t2sql.runs import units as units_lib
from t2sql.spider import examples as examples_lib


def load_units(
    data: str, prompt: prompts.Prompt, tokenizer: Any, *, limit: int | None = None
) -> Iterator[loader.TokenisedUnit]:
    """The units of the Spider directory `data`, those with the longest prompts first."""
    examples = examples_lib.read_examples(pathlib.Path(data), "dev", limit=limit)
    return loader.load(
        units_lib.plan_units(examples, unit_size=64, length=loader.estimate_tokens(prompt)),
        encode=functools.partial(tokenizer.encode, add_bos=True),
        prompt=prompt,
        longest=sampling.PROMPT_BUCKETS[-1],
        process_index=0,
        process_count=1,
        finished=(),
    )

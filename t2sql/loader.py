"""This host's share of the work, tokenised and grouped by Grain."""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence

import grain

from t2sql import sampling
from t2sql.prompts import Prompt
from t2sql.runs.units import Unit
from t2sql.spider.examples import Example

# Rough characters per token of SQL schemas in Gemma's vocabulary; for planning only.
CHARS_PER_TOKEN = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenisedUnit:
    """A unit that is ready for the device.

    Attributes:
      unit: what it is made of.
      prompt_tokens: length of each example's prompt in tokens.
      fitting: indices of the examples whose prompt is not too long.
      group: the prompts of those, None where there are none; its tag is this unit's name.
    """

    unit: Unit[Example]
    prompt_tokens: tuple[int, ...]
    fitting: tuple[int, ...]
    group: sampling.PromptGroup | None


def estimate_tokens(prompt: Prompt) -> Callable[[Example], int]:
    """The planner's estimate of a prompt's tokens, from its characters alone."""
    return lambda example: -(-len(prompt.text(example)) // CHARS_PER_TOKEN)


def load(
    plan: Sequence[Unit[Example]],
    *,
    encode: Callable[[str], list[int]],
    prompt: Prompt,
    longest: int,
    process_index: int,
    process_count: int,
    finished: Collection[str],
) -> Iterator[TokenisedUnit]:
    """Yields this host's unfinished units.

    Every host deals the same full plan and then leaves out what is finished. The other
    way round, hosts that list the finished units at different times would deal different
    plans, and lose units between them.

    Args:
      plan: all units of the run, longest first.
      encode: token ids of a prompt, with the begin token.
      prompt: writes the prompts.
      longest: tokens of the longest prompt that is answered.
      process_index: this host.
      process_count: all hosts.
      finished: names of the units whose object exists.
    """

    def tokenise(unit: Unit[Example]) -> TokenisedUnit:
        return _tokenise(unit, encode, prompt, longest)

    dataset = (
        grain.MapDataset.source(plan)[process_index::process_count]
        .filter(lambda unit: unit.name not in finished)
        .map(tokenise)
    )
    return iter(dataset.to_iter_dataset())


def _tokenise(unit: Unit[Example], encode, prompt: Prompt, longest: int) -> TokenisedUnit:
    prompts = [encode(prompt.text(example)) for example in unit.examples]
    fitting = [index for index, tokens in enumerate(prompts) if len(tokens) <= longest]
    group = None
    if fitting:
        group = sampling.group_prompts(
            [prompts[index] for index in fitting],
            [unit.examples[index].example_id for index in fitting],
            tag=unit.name,
        )
    return TokenisedUnit(
        unit=unit,
        prompt_tokens=tuple(map(len, prompts)),
        fitting=tuple(fitting),
        group=group,
    )

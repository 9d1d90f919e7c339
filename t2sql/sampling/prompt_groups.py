"""Groups of prompts that begin alike, and how they are cut and padded to static shapes."""

import dataclasses
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int32, UInt32

from t2sql.sampling import kv_cache

PROMPT_BUCKETS = (16, 32, 64, 128, 256, 512, 1024, 2048)
PAD_ID = 0
# Fewer prompts than this are left whole: a prefix for each pair of prompts takes as many calls as
# it saves.
MIN_SHARING = 4


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PromptGroup:
    """Prompts that are decoded together because they begin alike.

    Attributes:
      prefix: token ids that all of them begin with; may be empty.
      suffixes: the rest of each prompt, at least one token: the last one starts the answer. Empty
        for a prompt that is too long to be answered.
      prompt_tokens: tokens of each whole prompt.
      sample_ids: a number per prompt for its sampling key.
      limits: tokens of the longest answer to each, where that is less than the sampler's.
      tag: the caller's, handed back with the answers.
      guide: starts an answer's `constrained.TokenGuide`, given how many tokens it may have at
        most; for a sampler whose config has `constrain`.
    """

    prefix: Int32[np.ndarray, "p"]
    suffixes: Sequence[Int32[np.ndarray, "s"]]
    prompt_tokens: Sequence[int]
    sample_ids: UInt32[np.ndarray, "n"]
    limits: Int32[np.ndarray, "n"] | None = None
    tag: Any = None
    guide: Callable[[int], Any] | None = None

    @property
    def answerable(self) -> list[int]:
        """Indices of the prompts that are not too long."""
        return [index for index, suffix in enumerate(self.suffixes) if len(suffix)]

    def prefill_length(self, index: int) -> int:
        """Tokens of a prompt's own part that are prefilled: all but the last one."""
        return len(self.suffixes[index]) - 1

    @property
    def longest(self) -> int:
        """The largest `prefill_length` of an answerable prompt."""
        return max(map(self.prefill_length, self.answerable), default=0)

    def __len__(self) -> int:
        return len(self.suffixes)


def sample_id(example_id: str) -> int:
    """A number for an example that does not depend on batch, host or restart (crc32)."""
    return zlib.crc32(example_id.encode())


def group_prompts(
    prompts: Sequence[Sequence[int]],
    example_ids: Sequence[str],
    *,
    longest: int | None = None,
    limits: Sequence[int] | None = None,
    tag: Any = None,
) -> PromptGroup:
    """Splits the longest common beginning off the prompts that are not too long.

    Fewer than `MIN_SHARING` prompts are left whole: their suffix is all of them.

    Args:
      prompts: token ids of each prompt, at least one, none of them empty.
      example_ids: from which the sampling keys derive.
      longest: tokens of the longest prompt that is answered; None answers all.
      limits: tokens of the longest answer to each; None for the sampler's own.
      tag: kept in the group.

    Raises:
      ValueError: there is no prompt, or one is empty.
    """
    if not prompts or not all(prompts):
        raise ValueError("a group needs at least one prompt, and no empty one")
    fitting = [prompt for prompt in prompts if longest is None or len(prompt) <= longest]
    shared = shared_length(fitting) if len(fitting) >= MIN_SHARING else 0
    too_long = np.zeros(0, np.int32)
    return PromptGroup(
        prefix=np.array(fitting[0][:shared] if fitting else (), np.int32),
        suffixes=[
            np.array(prompt[shared:], np.int32)
            if longest is None or len(prompt) <= longest
            else too_long
            for prompt in prompts
        ],
        prompt_tokens=[len(prompt) for prompt in prompts],
        sample_ids=np.array([sample_id(example_id) for example_id in example_ids], np.uint32),
        limits=None if limits is None else np.asarray(limits, np.int32),
        tag=tag,
    )


def in_order(groups: Iterable[PromptGroup]) -> list[PromptGroup]:
    """Groups sorted by cache size, so that the cache, which never shrinks, grows late."""

    def size(group: PromptGroup) -> tuple[int, int]:
        return kv_cache.prefix_cache_size(len(group.prefix)), group.longest

    return sorted(groups, key=size)


def chunks(
    group: PromptGroup, buckets: Sequence[int], count: Callable[[int], int]
) -> Iterator[tuple[int, list[int]]]:
    """Cuts a group into prompts that are prefilled together, the longest first.

    Args:
      group: the prompts.
      buckets: lengths to pad to, ascending.
      count: how many prompts of a length are prefilled at a time.

    Yields:
      The length that these prompts' own parts are padded to, and their indices in the group.
    """
    waiting = sorted(group.answerable, key=group.prefill_length, reverse=True)
    while waiting:
        length = bucket(group.prefill_length(waiting[0]), buckets)
        yield length, waiting[: count(length)]
        del waiting[: count(length)]


def bucket(length: int, buckets: Sequence[int]) -> int:
    """The smallest bucket that holds `length` tokens.

    Raises:
      ValueError: none does.
    """
    for size in buckets:
        if length <= size:
            return size
    raise ValueError(f"{length} tokens exceed the largest bucket, {buckets[-1]}")


def shared_length(prompts: Sequence[Sequence[int]]) -> int:
    """How many leading tokens all prompts share, leaving each at least one of its own."""
    first, last = min(prompts), max(prompts)  # in dictionary order these differ the earliest
    limit = min(len(prompt) for prompt in prompts) - 1
    return next((index for index in range(limit) if first[index] != last[index]), limit)


def pad(texts: Sequence[Int32[np.ndarray, "s"]], length: int) -> Int32[np.ndarray, "n length"]:
    """The texts right-padded to one length."""
    padded = np.full((len(texts), length), PAD_ID, np.int32)
    for row, tokens in zip(padded, texts, strict=True):
        row[: len(tokens)] = tokens
    return padded

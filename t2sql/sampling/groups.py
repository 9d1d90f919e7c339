"""Groups of prompts that begin alike, padded to static shapes on the host."""

import dataclasses
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int32, UInt32

PROMPT_BUCKETS = (32, 64, 128, 256, 512, 1024, 2048)
PAD_ID = 0
# Fewer prompts than this are not worth a shelf of the cache (see `cache.py`): there are
# few, and many small groups run side by side only where they need none.
MIN_SHARING = 4


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PromptGroup:
    """Prompts that are decoded together because they begin alike.

    Attributes:
      prefix: token ids that all of them begin with, right-padded; may be empty.
      prefix_length: tokens in it.
      suffixes: the rest of each prompt, right-padded.
      lengths: tokens in each suffix, at least 1: the last one's logits start the answer.
      sample_ids: a number per prompt for its sampling key.
      limits: tokens of the longest answer to each, where that is less than the sampler's.
      tag: the caller's, handed back with the answers.
      guide: makes, of the longest answer's tokens, what decides token by token what an
        answer may be (`guided.Guide`); for a sampler whose config asks for one.
    """

    prefix: Int32[np.ndarray, "P"]
    prefix_length: int
    suffixes: Int32[np.ndarray, "n S"]
    lengths: Int32[np.ndarray, "n"]
    sample_ids: UInt32[np.ndarray, "n"]
    limits: Int32[np.ndarray, "n"] | None = None
    tag: Any = None
    guide: Callable[[int], Any] | None = None

    @property
    def slots(self) -> tuple[int, int]:
        """The buckets (P, S) that prefix and suffixes are padded to."""
        return len(self.prefix), self.suffixes.shape[1]

    def __len__(self) -> int:
        return len(self.lengths)


def sample_id(example_id: str) -> int:
    """A number for an example that does not depend on batch, host or restart (crc32)."""
    return zlib.crc32(example_id.encode())


def group_prompts(
    prompts: Sequence[Sequence[int]],
    example_ids: Sequence[str],
    *,
    buckets: Sequence[int] = PROMPT_BUCKETS,
    limits: Sequence[int] | None = None,
    tag: Any = None,
) -> PromptGroup:
    """Splits the longest common beginning off the prompts and pads both parts.

    Fewer than `MIN_SHARING` prompts are left whole: their suffix is all of them.

    Args:
      prompts: token ids of each prompt, at least one, none of them empty.
      example_ids: from which the sampling keys derive.
      buckets: sizes to pad to, ascending.
      limits: tokens of the longest answer to each; None for the sampler's own.
      tag: kept in the group.

    Raises:
      ValueError: there is no prompt, or one is empty or longer than the last bucket.
    """
    if not prompts or not all(prompts):
        raise ValueError("a group needs at least one prompt, and no empty one")
    shared = shared_length(prompts) if len(prompts) >= MIN_SHARING else 0
    rest = [prompt[shared:] for prompt in prompts]
    return PromptGroup(
        prefix=_pad([prompts[0][:shared]], buckets)[0],
        prefix_length=shared,
        suffixes=_pad(rest, buckets),
        lengths=np.array([len(tokens) for tokens in rest], np.int32),
        sample_ids=np.array([sample_id(example_id) for example_id in example_ids], np.uint32),
        limits=None if limits is None else np.asarray(limits, np.int32),
        tag=tag,
    )


def in_order(groups: Iterable[PromptGroup]) -> list[PromptGroup]:
    """The groups so that the sampler's cache has to begin anew as seldom as possible.

    It can grow, but not shrink: by slots of the suffix, which each row has, and then by
    slots of the prefix.
    """
    return sorted(groups, key=lambda group: group.slots[::-1])


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
    return next((place for place in range(limit) if first[place] != last[place]), limit)


def _pad(rows: Sequence[Sequence[int]], buckets: Sequence[int]) -> np.ndarray:
    padded = np.full((len(rows), bucket(max(map(len, rows)), buckets)), PAD_ID, np.int32)
    for row, tokens in zip(padded, rows, strict=True):
        row[: len(tokens)] = tokens
    return padded

"""Beams: the likeliest answers to each prompt, searched in the slots of a batch.

A step feeds one token a slot, of the hypothesis that the slot's search looks at next, and says
which tokens may follow, the likeliest first. The host asks the guides.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from t2sql.config import SamplingConfig
from t2sql.sampling import beam_search, scheduler
from t2sql.sampling.beams import Feed, Followers, Masks


class BeamScheduler(scheduler.Scheduler):
    """A batch whose slots search for the likeliest answers to their prompts.

    Args:
      compiler: as for `Scheduler`, as all others.
      config: how many answers, and how they are ordered.
      forbidden: token ids that are never chosen.
    """

    def __init__(
        self, compiler, *args: Any, config: SamplingConfig, forbidden: Sequence[int], **kwargs: Any
    ):
        super().__init__(compiler, *args, **kwargs)
        self._config = config
        self._forbidden = frozenset(forbidden)
        self._searches: dict[int, beam_search.BeamSearch] = {}
        self._no_masks = self._put(Masks.none(len(self._slots), self._vocab_size))

    @property
    def _vocab_size(self) -> int:
        return len(self._last_tokens)

    def _decode_until_free(self, count: int) -> Iterator[scheduler.Finished]:
        """Feeds each slot a token; `count` does not matter."""
        self._on_step()
        with self._timed("host"):
            for number, slot in enumerate(self._slots):
                if slot is not None and number not in self._searches:
                    self._searches[number] = self._search(slot)
            feed, masks, fed = self._feed()
        with self._timed("decode"):
            self._state, followers = self._compiler.get("decode", self._shape)(
                self._compiler.params,
                self._prefix_cache,
                self._device_slots,
                self._state,
                self._put(feed, by_row=True),
                self._no_masks if masks is None else self._put(masks),
            )
            followers = jax.device_get(followers)
            self._counters.decode_steps += 1
        with self._timed("host"):
            self._take(fed, followers)
            finished = list(self._finished_groups())
        yield from finished

    def _search(self, slot: scheduler.Slot) -> beam_search.BeamSearch:
        limit = slot.limit(self._shape.new)
        return beam_search.BeamSearch(
            last_token=int(slot.suffix[-1]),
            limit=limit,
            config=self._config,
            guide=slot.branch.guide,
            stops=self._stops,
            last_tokens=self._last_tokens,
            forbidden=self._forbidden,
            ring=self._state.fed.shape[1],
        )

    def _feed(self) -> tuple[Feed, Masks | None, dict[int, beam_search.Hypothesis]]:
        """What the slots are fed: also as hypotheses, by slot."""
        feed = Feed.none(*self._state.fed.shape)
        masks = Masks.none(len(self._slots), self._vocab_size)
        masked = 0
        fed: dict[int, beam_search.Hypothesis] = {}
        for number, search in self._searches.items():
            if search.wants_mask and masked == len(masks.slots):
                continue  # for want of room it waits
            *before, hypothesis = search.feeding()
            if search.wants_mask:
                search.write_mask(masks.words[masked])
                masks.slots[masked] = number
                masked += 1
            fed[number] = hypothesis
            feed.tokens[number] = hypothesis.token
            feed.depths[number] = hypothesis.depth
            feed.entries[number] = hypothesis.entry
            for one in before:
                feed.fed[number, one.entry] = one.depth
        return feed, masks if masked else None, fed

    def _take(self, fed: dict[int, beam_search.Hypothesis], followers: Followers) -> None:
        """Gives each search the tokens that may follow."""
        columns = followers.tokens, followers.logprobs, followers.log_allowed
        tokens, logprobs, log_allowed = (column.tolist() for column in columns)
        for number, hypothesis in fed.items():
            search = self._searches[number]
            search.take(hypothesis, tokens[number], logprobs[number], log_allowed[number])

    def _finished_groups(self) -> Iterator[scheduler.Finished]:
        for number in [number for number, search in self._searches.items() if search.is_done]:
            search, slot = self._searches.pop(number), self._slots[number]
            first, *others = search.answers()
            answer = slot.answers[slot.index] = dataclasses.replace(first, others=tuple(others))
            self._counters.output_tokens += answer.token_count
            self._counters.refused_tokens += search.refused
            self._slots[number] = None
            self._on_finished(answer)
            if all(answer is not None for answer in slot.answers):
                yield slot.group, slot.answers

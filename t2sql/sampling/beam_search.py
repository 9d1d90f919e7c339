"""Beam search over the answers to one prompt, on the host: which hypothesis is looked at next.

What is searched is as ever. Of all continuations of the hypotheses of a length the K likeliest are
kept, and those of them that end are answers. The search ends when no hypothesis can become likelier
than the K-th answer.

It need not compute all of them. A hypothesis never becomes likelier than it is, so one that is less
likely than the K-th answer is not needed. Best-first, the likeliest hypothesis of any length is the
next to be looked at, and K of a length at most (Meister et al. 2020, Best-First Beam Search). That
keeps the same hypotheses as going length by length, and computes those only that are likelier than
the last answer. Ties go to the shorter one, to the one whose beginning came first, and to the token
that the device lists first.

A prompt takes one slot of the batch. The slot's ring holds the tokens of several hypotheses side by
side, and each step names the entries that are of the one at hand:

    a - b - c - d        ring   | a | b | c | x | d | y | . |
     \\\\- x - y            for y  |=a=| . | . |=x=| . | y |
"""

import dataclasses
import heapq
from collections.abc import Container, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt32

from t2sql.config import SamplingConfig
from t2sql.sampling import scores
from t2sql.sampling import stops as stops_lib
from t2sql.sampling.constrained import BITS, ScoringGuide

_ALL = np.uint32(2**32 - 1)


@dataclasses.dataclass(kw_only=True, eq=False)
class Hypothesis:
    """The beginning of an answer, that may go on.

    Attributes:
      parent: without the last token; None for the prompt, which is the root of all.
      token: the last one; of the prompt for the root.
      depth: tokens of the answer.
      order: how many of its length are likelier.
      logprob: of the token, by the model's own distribution.
      total: of all its tokens.
      guide: that has come as far; None without a constraint.
      tokens: that may follow, the likeliest first, as far as they are known.
      logprobs: of these.
      own: how many of these are the model's own; the others were asked for under a mask.
      mask: what the guide allows; None until it is asked for.
      log_allowed: of all tokens of the mask together, where all of `tokens` are from it; else None.
      is_complete: whether no other token may follow.
      endings: texts of the answers that end with one more token.
      entry: of the ring that holds its last token; None where it has to be computed (again).
      last_use: when a step has read the entry.
    """

    parent: "Hypothesis | None"
    token: int
    depth: int
    order: int
    logprob: float
    total: float
    guide: ScoringGuide | None
    tokens: list[int] = dataclasses.field(default_factory=list)
    logprobs: list[float] = dataclasses.field(default_factory=list)
    own: int = 0
    mask: Any = None
    log_allowed: float | None = None
    is_complete: bool = False
    endings: set[str] = dataclasses.field(default_factory=set)
    entry: int | None = None
    last_use: int = 0

    def path(self) -> "list[Hypothesis]":
        """From the root to itself."""
        path = [self]
        while path[-1].parent is not None:
            path.append(path[-1].parent)
        return path[::-1]

    def write_mask(self, words: UInt32[np.ndarray, "W"]) -> None:
        """Writes which tokens the guide allows, a bit for each, the lowest first."""
        if self.guide is None:
            words.fill(_ALL)
        else:
            self.guide.allowed().write(words)

    def is_in_mask(self, token: int) -> bool:
        """Whether a token is among those that the guide would choose from."""
        if self.mask is None:
            self.mask = self.guide.allowed()
        return token in self.mask

    def masked_logprob(self, logprob: float) -> float:
        """The log-probability of a token that follows, by what the guide allows."""
        if self.log_allowed is None:
            step = scores.StepDraws([], [], 0.0, self.tokens[: self.own], self.logprobs[: self.own])
            self.log_allowed = scores.log_allowed(step, self.guide.allows)
        return logprob - self.log_allowed


# Of a hypothesis that may come: less its total, its depth, its parent's order, its place among the
# parent's tokens, and the parent. The first four tell any two apart.
_Entry = tuple[float, int, int, int, Hypothesis]


class BeamSearch:
    """The answers to one prompt.

    Asks for one token after another to be fed (`feeding`, `write_mask`), is told which may follow
    (`take`), and is done when nothing is left to be fed.

    Args:
      last_token: of the prompt.
      limit: tokens of the longest answer.
      config: how many beams, and how their answers are ordered.
      guide: of the answers; None without a constraint.
      stops: where answers end.
      last_tokens: token ids that an ended answer may end with, [V] bool.
      forbidden: token ids that are never chosen.
      ring: entries of the ring, more than `limit`.

    Attributes:
      wants_mask: whether not all of the vocabulary may follow.
      refused: tokens that a guide has refused.
    """

    def __init__(
        self,
        *,
        last_token: int,
        limit: int,
        config: SamplingConfig,
        guide: ScoringGuide | None,
        stops: stops_lib.Stops,
        last_tokens: Bool[np.ndarray, "V"],
        forbidden: Container[int],
        ring: int,
    ):
        self._limit = limit
        self._config = config
        self._stops = stops
        self._last_tokens = last_tokens
        self._forbidden = forbidden
        self._ring = ring
        self._in_ring: list[Hypothesis] = []  # by entry
        self._steps = 0
        self._queue: list[_Entry] = []
        self._kept = [0] * (limit + 1)  # hypotheses, by depth
        self._answers: list[tuple[float, stops_lib.Generation]] = []  # with their scores
        self.wants_mask = False
        self.refused = 0
        self._next: Hypothesis | None = Hypothesis(
            parent=None, token=last_token, depth=0, order=0, logprob=0.0, total=0.0, guide=guide
        )

    @property
    def is_done(self) -> bool:
        return self._next is None

    def answers(self) -> list[stops_lib.Generation]:
        """The K likeliest answers, the best first; fewer where no more are allowed."""
        ranked = sorted(self._answers, key=lambda answer: -answer[0])
        return [generation for _, generation in ranked]

    def feeding(self) -> list[Hypothesis]:
        """The hypothesis whose last token is to be fed now, behind those that it goes on from.

        All of these have entries of the ring.
        """
        self._steps += 1
        path = self._next.path()
        for hypothesis in path:
            hypothesis.last_use = self._steps
        # The next one itself, or one before it whose entry was given to another.
        missing = (place for place, one in enumerate(path) if one.entry is None)
        place = next(missing, len(path) - 1)
        if path[place].entry is None:
            self._give_entry(path[place])
        return path[: place + 1]

    def write_mask(self, words: UInt32[np.ndarray, "W"]) -> None:
        """Writes the tokens that are asked for, where it `wants_mask`: a bit for each."""
        self._next.write_mask(words)
        for token in (*self._next.tokens, *self._forbidden):
            words[token // BITS] &= ~np.uint32(1 << token % BITS)

    def take(
        self,
        fed: Hypothesis,
        tokens: Sequence[int],
        logprobs: Sequence[float],
        log_allowed: float,
    ) -> None:
        """Goes on with what may follow a token.

        Args:
          fed: the last one of `feeding`.
          tokens: the likeliest ones of the mask, or of the vocabulary, the likeliest first.
          logprobs: of these, by the model's own distribution; minus infinity for no token.
          log_allowed: of all tokens of the mask together.
        """
        if fed is not self._next:
            return  # known before: its entry was given to another
        first = len(fed.tokens)
        follow = [
            (token, logprob)
            for token, logprob in zip(tokens, logprobs, strict=True)
            if logprob > -np.inf and token not in self._forbidden
        ]
        fed.tokens += [token for token, _ in follow]
        fed.logprobs += [logprob for _, logprob in follow]
        if not self.wants_mask:
            fed.own = len(fed.tokens)
        elif not first:
            fed.log_allowed = log_allowed
        fed.is_complete = not follow and self.wants_mask
        self.wants_mask = False
        self._push(fed, first)
        self._next = self._find_next()

    def _push(self, parent: Hypothesis, place: int) -> None:
        """Has a token that follows wait for its turn; behind the last one known, any other."""
        if parent.is_complete or self._kept[parent.depth + 1] == self._config.beams:
            return
        known = parent.logprobs[place : place + 1] or parent.logprobs[-1:] or [0.0]
        total = parent.total + known[0]
        heapq.heappush(self._queue, (-total, parent.depth + 1, parent.order, place, parent))

    def _find_next(self) -> Hypothesis | None:
        """The likeliest hypothesis that has to be fed; None where the search is done."""
        # Answers come the likeliest first.
        while self._queue and len(self._answers) < self._config.beams:
            _, depth, _, place, parent = heapq.heappop(self._queue)
            if self._kept[depth] == self._config.beams:
                continue
            if place == len(parent.tokens):
                self.wants_mask = True
                return parent
            child = self._child(parent, place)
            if child is None and place == 0 and parent.own:
                # As in greedy decoding: then its token comes from the mask.
                parent.tokens, parent.logprobs, parent.own = [], [], 0
                self.wants_mask = True
                return parent
            keeps = child is not None and not self._ends(child)
            self._push(parent, place + 1)
            if keeps:
                return child
        return None

    def _child(self, parent: Hypothesis, place: int) -> Hypothesis | None:
        """The hypothesis with one more token; None where the guide refuses it."""
        token, logprob = parent.tokens[place], parent.logprobs[place]
        guide = parent.guide and parent.guide.copy()
        if guide is not None:
            # Of the model's own tokens the likeliest may be written otherwise than masks have it.
            if place == 0 and parent.own:
                is_allowed = guide.accept([token]) == 1
            elif is_allowed := parent.is_in_mask(token):
                guide.advance(token)
            if not is_allowed:
                self.refused += 1
                return None
        return Hypothesis(
            parent=parent,
            token=token,
            depth=parent.depth + 1,
            order=self._kept[parent.depth + 1],
            logprob=logprob,
            total=parent.total + logprob,
            guide=guide,
        )

    def _ends(self, child: Hypothesis) -> bool:
        """Keeps a hypothesis, as an answer where it has ended; whether it has.

        One that ends as another one of its parent does (there are several end tokens) is left out.
        """
        generation = None
        if self._last_tokens[child.token] or child.depth == self._limit:
            tokens = [one.token for one in child.path()[1:]]
            generation = self._stops.generation(tokens, max_new_tokens=self._limit)
        if generation is not None and generation.text in child.parent.endings:
            return True
        self._kept[child.depth] += 1
        if generation is None:
            return False
        child.parent.endings.add(generation.text)
        path = child.path()
        masked = () if child.guide is None else zip(path, path[1:], strict=False)
        generation = dataclasses.replace(
            generation,
            logprobs=tuple(one.logprob for one in path[1:]),
            masked_logprobs=tuple(one.masked_logprob(after.logprob) for one, after in masked),
        )
        score = child.total / child.depth**self._config.length_penalty
        self._answers.append((score, generation))
        return True

    def _give_entry(self, hypothesis: Hypothesis) -> None:
        """Gives it an entry of the ring: a free one, or the one that was not read for longest."""
        if len(self._in_ring) < self._ring:
            hypothesis.entry = len(self._in_ring)
            self._in_ring.append(hypothesis)
            return
        oldest = min(self._in_ring, key=lambda one: one.last_use)
        hypothesis.entry, oldest.entry = oldest.entry, None
        self._in_ring[hypothesis.entry] = hypothesis

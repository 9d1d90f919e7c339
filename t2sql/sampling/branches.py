"""The answers to one prompt while they are decoded: one branch until they differ.

All answers to a prompt begin alike. A slot decodes the tokens of the branch's leader; beside each
the device draws those of the others, with their own keys. Where one differs, its answer leaves as a
branch of its own, and waits. When the leader has ended, the slot is put back to the youngest branch
that waits: what this shares with the leader is still in the slot's part of the cache. So tokens
that several answers share are computed once, and answers that are equal cost one.

    answer 0   a b c d e .
    answer 1   a b c d e .     with answer 0 to the end
    answer 2   a b x y .       leaves at x; decoded after answer 3
    answer 3   a b c d z .     leaves at z; decoded after answer 0
"""

import dataclasses
from collections.abc import Callable, Sequence

from t2sql.sampling import constrained, scores


@dataclasses.dataclass(kw_only=True)
class Branch:
    """Answers to a prompt that are one so far.

    Attributes:
      samples: their numbers; the first one leads.
      tokens: as far as they stand.
      logprobs: of the tokens, by the model's own distribution; empty where they are not scored.
      masked_logprobs: the same by what the guide allows of it; empty without a guide.
      guide: None without a constraint; of answers that are scored, a `ScoringGuide`.
      is_refused: whether the guide has refused the next token, which then comes from its mask.
      is_redrawn: whether the next block's first token does.
    """

    samples: list[int]
    tokens: list[int] = dataclasses.field(default_factory=list)
    logprobs: list[float] = dataclasses.field(default_factory=list)
    masked_logprobs: list[float] = dataclasses.field(default_factory=list)
    guide: constrained.TokenGuide | constrained.ScoringGuide | None = None
    is_refused: bool = False
    is_redrawn: bool = False

    def check(self, tokens: Sequence[int]) -> Callable[[], int]:
        """Has tokens that follow checked, where there is one answer.

        Returns:
          What waits for how many of them stand, for `take`.
        """
        if self.guide is None:
            return lambda: len(tokens)
        redrawn, self.is_redrawn = self.is_redrawn, False
        return self.guide.check(tokens, redrawn=redrawn)

    def take(self, tokens: Sequence[int], accepted: int) -> bool:
        """Takes the first tokens, as many as stand; whether that is all of them."""
        self.tokens += tokens[:accepted]
        self.is_refused = accepted < len(tokens)
        return not self.is_refused

    def take_draws(self, steps: Sequence[scores.StepDraws]) -> list["Branch"]:
        """Takes the leader's tokens as far as they stand; the branches that leave, oldest first."""
        left = []
        for step in steps:
            left += self._leaving(step)
            self._take_draw(step, self.samples[0])
            if self.is_refused:
                break
        return left

    def logprobs_of(self, count: int) -> dict[str, tuple[float, ...]]:
        """The log-probabilities of the first `count` tokens, as fields of a `Generation`."""
        return {
            "logprobs": tuple(self.logprobs[:count]),
            "masked_logprobs": tuple(self.masked_logprobs[:count]),
        }

    def _leaving(self, step: scores.StepDraws) -> list["Branch"]:
        """The branches of the answers whose token is not the leader's."""
        by_token: dict[int, list[int]] = {}
        for sample in self.samples:
            by_token.setdefault(step.tokens[sample], []).append(sample)
        self.samples, *others = by_token.values()
        branches = [self._copy(samples) for samples in others]
        for branch in branches:
            branch._take_draw(step, branch.samples[0])
        return branches

    def _copy(self, samples: list[int]) -> "Branch":
        return dataclasses.replace(
            self,
            samples=samples,
            tokens=self.tokens.copy(),
            logprobs=self.logprobs.copy(),
            masked_logprobs=self.masked_logprobs.copy(),
            guide=self.guide and self.guide.copy(),
        )

    def _take_draw(self, step: scores.StepDraws, sample: int) -> None:
        """Takes one token, or finds it refused."""
        token, logprob = step.tokens[sample], step.logprobs[sample]
        if self.guide is not None:
            if self.is_redrawn:
                log_allowed = step.log_allowed
                self.guide.advance(token)
            else:
                log_allowed = scores.log_allowed(step, self.guide.allows)
                self.is_refused = not self.guide.accept([token])
            if self.is_refused:
                return
            self.masked_logprobs.append(logprob - log_allowed)
        self.is_redrawn = False
        self.tokens.append(token)
        self.logprobs.append(logprob)

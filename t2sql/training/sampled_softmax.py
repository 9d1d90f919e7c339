"""Sampled softmax: a loss over some rows of the output layer (Jean et al. 2015).

The output layer has 262,144 rows, a third of a training step's time on a CPU. The loss needs all
of them only for the sum over exp(logit). Here the rows of tokens that occur in the data and the
lowest ids (a BPE vocabulary's most frequent tokens) are always taken. Of the others a few are
drawn for each sequence, and weighted to stand for all of them. The sum is right in the mean, so
tokens that never occur stay as unlikely as they were.
"""

import dataclasses
from collections.abc import Collection

import numpy as np
from jaxtyping import Float32, Int32

# Share of the rows that all sequences have.
_KEPT_SHARE = 0.75


@dataclasses.dataclass(frozen=True, eq=False)
class OutputRows:
    """Which rows the loss is taken over.

    Attributes:
      kept: ids that every sequence takes, ascending; empty where the loss is over all rows.
      others: all other ids.
      drawn: how many of `others` are drawn for a sequence.
      seed: of the draws.
    """

    kept: Int32[np.ndarray, " K"]
    others: Int32[np.ndarray, " N"]
    drawn: int
    seed: int

    def of(self, sequence: int) -> tuple[Int32[np.ndarray, " R"], Float32[np.ndarray, " R"]]:
        """The rows for a sequence, ascending, and what to add to the logit of each.

        Args:
          sequence: the sequence's number in the training.
        """
        if not self.drawn:
            return self.kept, np.zeros(len(self.kept), np.float32)
        rng = np.random.default_rng([self.seed, sequence])
        drawn = self.others[rng.integers(len(self.others), size=self.drawn)]
        rows = np.concatenate([self.kept, drawn])
        offsets = np.zeros(len(rows), np.float32)
        offsets[len(self.kept) :] = np.log(len(self.others) / self.drawn)
        order = np.argsort(rows, kind="stable")
        return rows[order], offsets[order]


def choose(used: Collection[int], count: int, vocabulary: int, seed: int) -> OutputRows:
    """Chooses the rows for data in which the tokens `used` occur.

    Args:
      used: token ids.
      count: rows for each sequence, or more where more ids are used; 0 for all.
      vocabulary: rows of the output layer.
      seed: of the draws.
    """
    if not 0 < count < vocabulary:
        empty = np.zeros(0, np.int32)
        return OutputRows(kept=empty, others=empty, drawn=0, seed=seed)
    is_kept = np.zeros(vocabulary, bool)
    is_kept[sorted(used)] = True
    room = max(int(count * _KEPT_SHARE) - is_kept.sum(), 0)
    is_kept[np.flatnonzero(~is_kept)[:room]] = True
    kept, others = (np.flatnonzero(chosen).astype(np.int32) for chosen in (is_kept, ~is_kept))
    drawn = min(max(count - len(kept), count - int(count * _KEPT_SHARE)), len(others))
    return OutputRows(kept=kept, others=others, drawn=drawn, seed=seed)

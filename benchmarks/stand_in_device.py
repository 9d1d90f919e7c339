"""A device that takes a given time for a step and writes recorded answers.

With it the host's part of sampling can be measured without a chip: scheduling, checks and masks are
the real ones, only the programs of `sampling.programs` are replaced. As a device, it works through
its blocks one after another, and a block's tokens can be read once its time has come.
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from t2sql.sampling import batch, constrained, programs


@dataclasses.dataclass
class _State:
    """What the slots of the batch are writing, in NumPy; B of each.

    Attributes:
      answers: the row of the recorded answers.
      generated: tokens written so far.
      limits: tokens of the longest answer.
      done: slots that need no further token.
    """

    answers: np.ndarray
    generated: np.ndarray
    limits: np.ndarray
    done: np.ndarray


class _Later:
    """An array that can be read from a point in time on, as an array on a device."""

    def __init__(self, array: np.ndarray, ready: float):
        self._array = array
        self._ready = ready

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        time.sleep(max(0.0, self._ready - time.perf_counter()))
        return self._array


class StandInCompiler(programs.Compiler):
    """Builds programs that replay answers; for `make_compiler` of `BatchSampler`.

    Args:
      answers: tokens by sample id, the end token included.
      step_seconds: time of a decode step.
      refused_share: of the steps at which a token is written that no guide accepts.
      refused_token: that token.
      seed: of the steps at which it is written.
    """

    def __init__(
        self,
        *args,
        answers: Mapping[int, Sequence[int]],
        step_seconds: float = 1e-3,
        refused_share: float = 0.0,
        refused_token: int = 0,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self._row_of = {sample_id: row for row, sample_id in enumerate(answers)}
        longest = max(map(len, answers.values()))
        self._tokens = np.zeros((len(answers), longest + 1), np.int32)
        for row, tokens in enumerate(answers.values()):
            self._tokens[row, : len(tokens)] = tokens
        refused = np.random.default_rng(seed).random(self._tokens.shape) < refused_share
        self._offered = np.where(refused, refused_token, self._tokens)
        self._step_seconds = step_seconds
        self._ready = 0.0  # when the last block has been worked through

    def _compile(self, key: programs.Key) -> Any:
        name, *sizes = key
        replay = {
            "init": self._start,
            "prefix": lambda *_: {"layer_0": {"k": np.zeros((1, sizes[-1], 0, 0))}},
            "write_prefix": lambda cache, *_: cache,
            "prefill": lambda *_: None,
            "insert": self._replay_insert,
            "grow": lambda cache, slots: (cache, slots),
            "decode": self._replay_decode,
        }
        return replay[name]

    def _start(self) -> tuple[None, None, _State]:
        zeros = np.zeros(self.batch_size, np.int32)
        state = _State(
            answers=zeros.copy(), generated=zeros.copy(), limits=zeros.copy(), done=zeros == 0
        )
        return None, None, state

    def _replay_insert(self, slots, state: _State, suffix, prompts: batch.Prompts):
        numbers, sample_ids = np.asarray(prompts.slots), np.asarray(prompts.sample_ids)
        used = numbers < self.batch_size
        numbers = numbers[used]
        state.answers[numbers] = [self._row_of[int(sample_id)] for sample_id in sample_ids[used]]
        state.limits[numbers] = np.asarray(prompts.limits)[used]
        state.generated[numbers], state.done[numbers] = 0, False
        return slots, state

    def _replay_decode(
        self,
        params,
        prefix_cache,
        slots,
        state: _State,
        stopped,
        ends,
        max_active,
        corrections: constrained.Corrections | None,
    ) -> tuple[_State, batch.Decoded]:
        ends, max_active = np.asarray(ends), int(max_active)
        state.done |= np.asarray(stopped)
        put_back = np.zeros(0, int)
        if corrections is not None:
            put_back = self._put_back(state, corrections)
        tokens = np.zeros((self.batch_size, self.block_steps), np.int32)
        counts = np.zeros(self.batch_size, np.int32)
        steps = 0
        while steps < self.block_steps:
            going = ~state.done
            redraws = steps == 0 and len(put_back)
            if going.sum() <= max_active and not redraws:
                break
            place = np.minimum(state.generated, self._tokens.shape[1] - 1)
            token = self._offered[state.answers, place]
            if redraws:
                token[put_back] = self._tokens[state.answers[put_back], place[put_back]]
            tokens[going, steps] = token[going]
            counts += going
            state.generated += going
            state.done |= going & (ends[token] | (state.generated >= state.limits))
            steps += 1
        self._ready = max(self._ready, time.perf_counter()) + steps * self._step_seconds
        decoded = (np.asarray(steps, np.int32), counts, tokens)
        return state, batch.Decoded(*(_Later(array, self._ready) for array in decoded))

    def _put_back(self, state: _State, corrections: constrained.Corrections) -> np.ndarray:
        """Puts slots back, and returns them. Masks are not read: the recorded token comes next."""
        numbers = np.asarray(corrections.slots)
        used = np.flatnonzero(numbers < self.batch_size)
        numbers = numbers[used]
        state.generated[numbers] = np.asarray(corrections.generated)[used]
        state.done[numbers] = False
        return numbers


if __name__ == "__main__":
    print(f"{__doc__}\nA part of other benchmarks, and no command.")

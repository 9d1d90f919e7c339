"""Constrained decoding: the device runs ahead, the host checks behind it.

The device decodes blocks of steps by itself, as it does without a constraint. The host reads a
block and hands each slot's tokens to the answer's guide. Where the guide refuses one, the next
block to be started begins by putting the slot back to before that token, and draws it again, with
the key of the first draw, from the tokens that the guide allows. So an answer that keeps to its
guide's rules gets the tokens it would have got without one.

    device   | block 1 | block 2 | block 3: slot 5 put back, its first token under a mask |
    host               | check 1 | check 2, without slot 5                                 | check 3

Putting back is cheap: the slot only gives up entries of the ring (`kv_cache.py`).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from t2sql.sampling import kv_cache, scores
from t2sql.sampling.batch import DecodeState

# Tokens of a mask in one word.
BITS = 32


class TokenGuide(Protocol):
    """What one answer may be, as far as it has come; checked here or in another process."""

    def check(self, tokens: Sequence[int], *, redrawn: bool) -> Callable[[], int]:
        """Begins to take the model's own tokens as far as they may be kept.

        Args:
          tokens: that follow.
          redrawn: whether the first of them is from the mask of `allowed`.

        Returns:
          What waits for how many have been taken.
        """

    def allowed(self) -> Any:
        """The tokens that may come next where one was refused.

        They have `write(words: UInt32[np.ndarray, "W"])`.
        """


class ScoringGuide(TokenGuide, Protocol):
    """A guide of answers that are scored: it can be asked for single tokens.

    For beams, so can what `allowed` returns (`token in guide.allowed()`).
    """

    def allows(self, token: int) -> bool:
        """Whether the model's own token may be kept."""

    def accept(self, tokens: Sequence[int]) -> int:
        """Takes the model's own tokens as far as they may be kept; returns how many."""

    def advance(self, token: int) -> None:
        """Takes a token out of `allowed`."""

    def copy(self) -> "ScoringGuide":
        """A guide that has come as far, and goes on by itself."""


class Pace(NamedTuple):
    """How far the device runs ahead.

    Attributes:
      steps: of a block.
      blocks_in_flight: blocks that are started before the oldest is checked.
    """

    steps: int
    blocks_in_flight: int


def pace(platform: str) -> Pace:
    """The pace that wastes least on a platform.

    A refused token wastes the rest of its block and the blocks in flight behind it, in its slot
    alone, so blocks are short. On a CPU the cores that check are those that decode, and a step
    takes far longer than a check: running ahead would only waste steps. Elsewhere a step takes
    about as long as the check, or less.
    """
    return Pace(1, 1) if platform == "cpu" else Pace(2, 2)


@flax.struct.dataclass
class Corrections:
    """Up to R slots that are put back: their next token was refused, or another answer goes on.

    Attributes:
      slots: the slot of the batch; B (out of range) for an unused entry.
      generated: tokens of its answer that stand.
      last_token: the last of these; the prompt's last where none stands.
      leaders: the number of the answer that goes on, among its prompt's.
      masks: the tokens that may come next, a bit each, the lowest bit first; None for a run
        without a constraint, where all may.
    """

    slots: Int[Array, "R"]
    generated: Int[Array, "R"]
    last_token: Int[Array, "R"]
    leaders: Int[Array, "R"]
    masks: UInt32[Array, "R W"] | None

    @classmethod
    def none(cls, batch_size: int, vocab_size: int, *, masked: bool = True) -> "Corrections":
        """NumPy arrays with all entries unused: an eighth of the slots, or all without masks."""
        entries = max(1, batch_size // 8) if masked else batch_size
        words = -(-vocab_size // BITS)
        return cls(
            slots=np.full(entries, batch_size, np.int32),
            generated=np.zeros(entries, np.int32),
            last_token=np.zeros(entries, np.int32),
            leaders=np.zeros(entries, np.int32),
            masks=np.zeros((entries, words), np.uint32) if masked else None,
        )


def unpacked(words: UInt32[Array, "R W"], size: int) -> Bool[Array, "R V"]:
    """Whether each of `size` tokens is in a mask of a bit each, the lowest bit first."""
    bits = (words[:, :, None] >> jnp.arange(BITS, dtype=jnp.uint32)) & 1
    return bits.reshape(len(bits), -1)[:, :size].astype(bool)


def put_back(state: DecodeState, corrections: Corrections) -> DecodeState:
    """The state with the slots where their next token was refused."""

    def write(old: Array, new: Array | bool) -> Array:
        return old.at[corrections.slots].set(new, mode="drop")

    generated = write(state.generated, corrections.generated)
    return state.replace(
        generated=generated,
        fed=jnp.where(state.fed < generated[:, None], state.fed, -1),
        last_token=write(state.last_token, corrections.last_token),
        leader=write(state.leader, corrections.leaders),
        done=write(state.done, False),
    )


def make_room(state: DecodeState, steps: int) -> DecodeState:
    """Compacts the ring if one of the next steps would write over a token of an answer."""

    def lacks_room(state: DecodeState) -> Bool[Array, ""]:
        ahead = (state.step + jnp.arange(steps)) % state.fed.shape[1]
        return jnp.any(state.fed[:, ahead] >= 0)

    def compact(state: DecodeState) -> DecodeState:
        ring, fed = kv_cache.compact(state.ring, state.fed, state.step)
        return state.replace(ring=ring, fed=fed)

    # A loop of one turn or none: XLA would copy the ring for `jax.lax.cond`.
    return jax.lax.while_loop(lacks_room, compact, state)


def redraw(
    draw: Callable[..., Int[Array, "R *S"]],
    corrections: Corrections,
    tokens: Int[Array, "B *S"],
    log_allowed: Float[Array, "B"] | None,
    logits: Array,
    sample_ids: UInt32[Array, "B"],
    generated: Int[Array, "B"],
) -> tuple[Int[Array, "B *S"], Float[Array, "B"] | None]:
    """`tokens`, with those of the slots that were put back drawn from their masks.

    Args:
      draw: draws tokens, as `next_token.next_tokens` does.
      corrections: the slots and their masks.
      tokens: as drawn from all of the vocabulary.
      log_allowed: as in `scores.Draws`, all 0; None where it is not needed.
      logits: of all slots, [B V].
      sample_ids: of all slots.
      generated: of all slots, after `put_back`.
    """
    allowed = unpacked(corrections.masks, logits.shape[1])

    def take(array: Array) -> Array:
        return array.at[corrections.slots].get(mode="clip")

    free = take(logits)
    masked = jnp.where(allowed, free, -jnp.inf)
    again = draw(masked, sample_ids=take(sample_ids), generated=take(generated))
    if log_allowed is not None:
        of_mask = scores.log_total(masked) - scores.log_total(free)
        log_allowed = log_allowed.at[corrections.slots].set(of_mask, mode="drop")
    return tokens.at[corrections.slots].set(again, mode="drop"), log_allowed

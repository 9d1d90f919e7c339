"""A step of beam search on the device: a token fed to each slot, and what may follow it.

`beam_search.py` says which token, and `beam_scheduler.py` moves them.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt32

from t2sql.config import SamplingConfig
from t2sql.sampling import constrained, kv_cache, scores
from t2sql.sampling import decode as decode_lib
from t2sql.sampling.batch import DecodeState, Slots

# Entries of the ring are a multiple of this.
_SPARE = 8


@flax.struct.dataclass
class Feed:
    """The token that each slot is fed.

    Attributes:
      tokens: the tokens.
      depths: tokens of the answer up to and with it; 0 for the prompt's last.
      fed: the depth of the token that an entry of the ring holds, where it comes before; else -1.
      entries: of the ring, for the token's keys and values; N (out of range) for none.
    """

    tokens: Int[Array, "B"]
    depths: Int[Array, "B"]
    fed: Int[Array, "B N"]
    entries: Int[Array, "B"]

    @classmethod
    def none(cls, rows: int, ring: int) -> "Feed":
        """NumPy arrays that feed nothing."""
        return cls(
            tokens=np.zeros(rows, np.int32),
            depths=np.zeros(rows, np.int32),
            fed=np.full((rows, ring), -1, np.int32),
            entries=np.full(rows, ring, np.int32),
        )


@flax.struct.dataclass
class Masks:
    """What may follow in up to R slots; in the others, all of the vocabulary.

    Attributes:
      slots: of the batch; B (out of range) for an unused entry.
      words: a bit for each token, the lowest first.
    """

    slots: Int[Array, "R"]
    words: UInt32[Array, "R W"]

    @classmethod
    def none(cls, rows: int, vocab_size: int) -> "Masks":
        """NumPy arrays with all entries unused: an eighth of the slots."""
        count = max(1, rows // 8)
        words = -(-vocab_size // constrained.BITS)
        return cls(slots=np.full(count, rows, np.int32), words=np.zeros((count, words), np.uint32))


@flax.struct.dataclass
class Followers:
    """The tokens that may follow the one that a slot was fed, the likeliest first.

    Attributes:
      tokens: the tokens.
      logprobs: of these, by the model's own distribution; minus infinity for no token.
      log_allowed: of all tokens of the slot's mask together; 0 where it has none.
    """

    tokens: Int[Array, "B M"]
    logprobs: Float[Array, "B M"]
    log_allowed: Float[Array, "B"]


def spare(config: SamplingConfig) -> int:
    """Entries of the ring beyond the longest answer's: for hypotheses that go on from another."""
    return _SPARE if config.beams == 1 else config.max_new_tokens // 2 // _SPARE * _SPARE + _SPARE


def count_of_followers(config: SamplingConfig) -> int:
    """M: what is not among these has to be asked for again, under a mask."""
    return max(scores.TOP, 2 * config.beams)


def step(
    decoder: decode_lib.Decoder,
    params,
    prefix_cache: kv_cache.KeysValues,
    slots: Slots,
    state: DecodeState,
    feed: Feed,
    masks: Masks,
) -> tuple[DecodeState, Followers]:
    """Feeds a token a slot.

    Args:
      decoder: the fixed part.
      params: the model's parameters.
      prefix_cache: the shared prefixes.
      slots: what was asked.
      state: of which only the ring is read.
      feed: the tokens.
      masks: of what may follow.

    Returns:
      The state with the tokens' keys and values in the ring, and what may follow.
    """
    past = [
        kv_cache.prefix_block(prefix_cache, slots.prefix_starts, slots.prefix_lengths),
        kv_cache.suffix_block(slots.suffix, slots.prefix_lengths, slots.lengths),
    ]
    fed = state.replace(
        last_token=feed.tokens,
        generated=feed.depths,
        fed=feed.fed,
        done=feed.entries >= feed.fed.shape[1],
    )
    logits, kv = decode_lib.forward_token(decoder, params, past, slots, fed)
    write = jax.vmap(lambda row, token, entry: row.at[entry].set(token[0], mode="drop"))
    ring = jax.tree.map(lambda old, new: write(old, new, feed.entries), state.ring, kv)
    followers = _followers(logits, masks, count_of_followers(decoder.config))
    return state.replace(ring=ring, step=state.step + 1), followers


def _followers(logits: Float[Array, "B V"], masks: Masks, count: int) -> Followers:
    logits = logits.astype(jnp.float32)
    total = scores.log_total(logits)
    tokens, best = scores.top_tokens_of(logits, count)
    of_all = Followers(
        tokens=tokens, logprobs=best - total[:, None], log_allowed=jnp.zeros_like(total)
    )

    def under_masks(of_all: Followers) -> Followers:
        allowed = constrained.unpacked(masks.words, logits.shape[1])
        masked = jnp.where(allowed, logits.at[masks.slots].get(mode="clip"), -jnp.inf)
        own_total = total.at[masks.slots].get(mode="clip")
        tokens, best = scores.top_tokens_of(masked, count)
        of_masks = Followers(
            tokens=tokens,
            logprobs=best - own_total[:, None],
            log_allowed=scores.log_total(masked) - own_total,
        )
        return kv_cache.write_rows(of_all, of_masks, masks.slots)

    any_mask = jnp.any(masks.slots < len(logits))
    return jax.lax.cond(any_mask, under_masks, lambda of_all: of_all, of_all)

"""Constrained decoding: the host decides, token by token, what may come next.

The device offers a token for every slot; the answer's guide allows it or refuses it, which costs
microseconds. Only where one is refused are masks of the whole vocabulary made, for those slots, and
the draw is repeated among the tokens that they allow. So an answer that keeps to its guide's rules
gets the tokens it would have got without one.

    advance   takes the tokens that the host has settled on, and offers the next ones
    choose    a token of each slot, from its logits and its mask
"""

import functools
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from t2sql.sampling import decode as decode_lib
from t2sql.sampling import kv_cache, scheduler
from t2sql.sampling import programs as programs_lib
from t2sql.sampling.batch import DecodeState, Slots

_WORD = 32


class TokenGuide(Protocol):
    """What one answer may be, as far as it has come.

    Attributes:
      ended: whether the end token has come.
    """

    ended: bool

    def allows(self, token: int) -> bool:
        """Whether a token may come next."""

    def allowed(self) -> Any:
        """The tokens that may come next, with `write(words: UInt32[np.ndarray, "W"])`."""

    def advance(self, token: int) -> None:
        """Takes the next token."""


def choose(
    decoder: decode_lib.Decoder,
    logits: Float[Array, "B V"],
    slots: Slots,
    state: DecodeState,
    masks: UInt32[Array, "B W"],
) -> Int[Array, "B"]:
    """The next token of each slot, from those whose bit is set, the lowest bit first."""
    bits = (masks[:, :, None] >> jnp.arange(_WORD, dtype=jnp.uint32)) & 1
    allowed = bits.reshape(len(masks), -1)[:, : logits.shape[1]].astype(bool)
    return decode_lib.next_tokens(decoder, jnp.where(allowed, logits, -jnp.inf), slots, state)


def advance(
    decoder: decode_lib.Decoder,
    params,
    prefix_cache: kv_cache.KeysValues,
    slots: Slots,
    state: DecodeState,
    logits: Float[Array, "B V"],
    tokens: Int[Array, "B"],
    taken: Bool[Array, "B"],
    going: Bool[Array, "B"],
) -> tuple[DecodeState, Float[Array, "B V"], Int[Array, "B"]]:
    """Takes a token of each slot where one is `taken`, and computes what may follow.

    A slot that has just begun takes none: its prompt's last token is fed.

    Returns:
      The state, its logits in the memory of the old ones, and the tokens that they offer to the
      slots that are `going`.
    """
    del logits  # not read: 32 rows of 262,144 are 33 MB, and new memory for them takes time
    state = state.replace(
        last_token=jnp.where(taken, tokens, state.last_token),
        position=state.position + taken,
        generated=state.generated + taken,
        done=~going,
    )
    past = decode_lib.past_blocks(prefix_cache, slots)
    logits, kv = decode_lib.forward_token(decoder, params, past, state)
    logits = logits.astype(jnp.float32)
    state = state.replace(step=state.step + 1, ring=kv_cache.write_ring(state.ring, kv, state.step))
    return state, logits, decode_lib.next_tokens(decoder, logits, slots, state)


class ConstrainedCompiler(programs_lib.Compiler):
    """Builds `advance` and `choose` for a shape of the cache, in the place of `decode`."""

    decode_programs = ("advance", "choose")

    def _advance(self, shape: kv_cache.CacheShape):
        prefix_cache, slots, state = self.batch(shape)
        advance_ = jax.jit(
            functools.partial(advance, self._decoder),
            donate_argnums=(3, 4),
            keep_unused=True,
            out_shardings=programs_lib.shardings((state, self.logits(), self._tokens())),
        )
        mask = self.array((self.batch_size,), bool, self.by_row)
        return advance_.lower(
            self.params, prefix_cache, slots, state, self.logits(), self._tokens(), mask, mask
        )

    def _choose(self, shape: kv_cache.CacheShape):
        _, slots, state = self.batch(shape)
        words = -(-self.logits().shape[1] // _WORD)
        masks = self.array((self.batch_size, words), jnp.uint32, self.by_row)
        choose_ = jax.jit(functools.partial(choose, self._decoder), out_shardings=self.by_row)
        return choose_.lower(self.logits(), slots, state, masks)

    def logits(self) -> jax.ShapeDtypeStruct:
        """Abstract logits of all slots."""
        vocabulary = self._decoder.model.config.num_embed
        return self.array((self.batch_size, vocabulary), jnp.float32, self.by_row)

    def _tokens(self) -> jax.ShapeDtypeStruct:
        return self.array((self.batch_size,), jnp.int32, self.by_row)


class ConstrainedScheduler(scheduler.Scheduler):
    """A scheduler whose groups have guides."""

    def __init__(self, compiler: ConstrainedCompiler, *args):
        super().__init__(compiler, *args)
        size = compiler.batch_size
        logits = compiler.logits()
        self._logits = jax.device_put(np.zeros(logits.shape, logits.dtype), logits.sharding)
        self._offered = self._put(np.zeros(size, np.int32), by_row=True)
        self._guides: list[TokenGuide | None] = [None] * size
        self._texts: list[list[int]] = [[] for _ in range(size)]
        self._going = np.zeros(size, bool)
        self._offers = np.zeros(size, bool)  # which of them have been offered a token
        self._host_ends = np.asarray(jax.device_get(self._ends))

    def _take_slot(self, number: int, prompt: scheduler.Slot) -> None:
        super()._take_slot(number, prompt)
        self._guides[number] = prompt.group.guide(prompt.limit(self._shape.new))
        self._texts[number], self._going[number], self._offers[number] = [], True, False

    def _decode(self, max_active: int) -> None:
        with self._span("decode"):
            for _ in range(scheduler.STEPS_PER_SYNC):
                self._take(self._settle())
                if self._going.sum() <= max_active:
                    break
            jax.block_until_ready(self._offered)

    def _settle(self) -> np.ndarray:
        """The next token of each slot: the one offered where its guide allows it."""
        tokens = jax.device_get(self._offered)
        refused = [
            number
            for number in np.flatnonzero(self._offers)
            if not self._guides[number].allows(int(tokens[number]))
        ]
        if not refused:
            return tokens
        self._counters.refused_tokens += len(refused)
        words = -(-self._logits.shape[1] // _WORD)
        masks = np.full((len(self._slots), words), 0xFFFFFFFF, np.uint32)
        for number in refused:
            self._guides[number].allowed().write(masks[number])
        again = self._compiler.get("choose", self._shape)(
            self._logits, self._device_slots, self._state, self._put(masks, by_row=True)
        )
        # The others keep what was offered: top-k and top-p may look at more under a mask.
        return np.where(np.isin(np.arange(len(tokens)), refused), jax.device_get(again), tokens)

    def _take(self, tokens: np.ndarray) -> None:
        """Gives each slot its token, and has the device compute the next offers."""
        taken = self._offers
        for number in np.flatnonzero(taken):
            token, guide = int(tokens[number]), self._guides[number]
            guide.advance(token)
            self._texts[number].append(token)
            full = len(self._texts[number]) >= self._slots[number].limit(self._shape.new)
            self._going[number] = not (guide.ended or self._host_ends[token] or full)
        going = self._going.copy()
        self._counters.decode_steps += 1
        self._state, self._logits, self._offered = self._compiler.get("advance", self._shape)(
            self._compiler.params,
            self._prefix_cache,
            self._device_slots,
            self._state,
            self._logits,
            self._put(tokens.astype(np.int32), by_row=True),
            self._put(taken, by_row=True),
            self._put(going, by_row=True),
        )
        self._offers = going

    def _written(self) -> list[list[int]]:
        return self._texts

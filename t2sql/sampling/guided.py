"""Sampling with a guide: the host decides, token by token, what may come next.

The device offers a token for every row; a guide takes it or refuses it, which costs
microseconds. Only where one is refused are masks of the whole vocabulary made, for those
rows, and the same draw is made again among the tokens that they allow. So a row that keeps
to its guide's rules gets the tokens it would have got without one.

    insert    prompts into free rows; their logits wait, as those of all rows do
    choose    a token of each row, from its logits and its mask
    advance   takes the tokens that the host has settled on, and offers the next ones
"""

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from t2sql.sampling import cache as cache_lib
from t2sql.sampling import decode as decode_lib
from t2sql.sampling import programs as programs_lib
from t2sql.sampling import schedule

_WORD = 32


class Guide(Protocol):
    """What one answer may be.

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuidedPrograms:
    """As `programs.Programs`; see the head of this file."""

    insert_rows: int
    init: Any
    prefill_prefix: Any
    insert: Any
    choose: Any
    advance: Any


def init_logits(decoder: decode_lib.Decoder) -> Float[Array, "B V"]:
    """Logits of no row yet."""
    return jnp.zeros((decoder.rows, decoder.model.config.num_embed), jnp.float32)


def insert(
    decoder: decode_lib.Decoder,
    params,
    shelves: decode_lib.Shelves,
    rows: decode_lib.Rows,
    answers: decode_lib.Answers,
    logits: Float[Array, "B V"],
    prompts: decode_lib.Prompts,
) -> tuple[decode_lib.Rows, decode_lib.Answers, Float[Array, "B V"], Int[Array, "B"]]:
    """Prefills prompts into their rows.

    Returns:
      The batch with the new rows, which have no token yet; all logits, and the tokens
      they offer.
    """
    first, new_rows = decode_lib.prefill(decoder, params, shelves, rows, prompts)
    last_place = shelves.lengths[prompts.shelf] + prompts.lengths - 1
    begun = {"position": last_place, "generated": 0, "done": False}
    new_answers = decode_lib.begin_rows(answers, begun, prompts)
    logits = cache_lib.write_rows(logits, first.astype(logits.dtype), prompts.rows)
    return new_rows, new_answers, logits, _offer(decoder, logits, new_rows, new_answers)


def choose(
    decoder: decode_lib.Decoder,
    logits: Float[Array, "B V"],
    rows: decode_lib.Rows,
    answers: decode_lib.Answers,
    masks: UInt32[Array, "B W"],
) -> Int[Array, "B"]:
    """The next token of each row among those whose bit is set, the lowest bit first."""
    bits = (masks[:, :, None] >> jnp.arange(_WORD, dtype=jnp.uint32)) & 1
    allowed = bits.reshape(len(masks), -1)[:, : logits.shape[1]].astype(bool)
    return _offer(decoder, jnp.where(allowed, logits, -jnp.inf), rows, answers)


def advance(
    decoder: decode_lib.Decoder,
    params,
    shelves: decode_lib.Shelves,
    rows: decode_lib.Rows,
    answers: decode_lib.Answers,
    logits: Float[Array, "B V"],
    tokens: Int[Array, "B"],
    going: Bool[Array, "B"],
) -> tuple[decode_lib.Answers, Float[Array, "B V"], Int[Array, "B"]]:
    """Takes a token of each row that is `going`, and computes what may follow.

    Returns:
      The batch, its logits in the memory of the old ones, and the tokens they offer.
    """
    del logits  # not read: 32 rows of 262,144 are 33 MB, and new memory for them takes time
    answers = answers.replace(
        last_token=jnp.where(going, tokens, answers.last_token),
        position=answers.position + going,
        generated=answers.generated + going,
        done=~going,
    )
    past = decode_lib.past_blocks(shelves, rows)
    logits, kv = decode_lib.forward_token(decoder, params, past, answers)
    logits = logits.astype(jnp.float32)
    answers = answers.replace(
        step=answers.step + 1, ring=cache_lib.write_ring(answers.ring, kv, answers.step)
    )
    return answers, logits, _offer(decoder, logits, rows, answers)


def _offer(decoder: decode_lib.Decoder, logits, rows, answers) -> Int[Array, "B"]:
    return decode_lib.choose_token(decoder, logits, rows.sample_ids, answers.generated)


class GuidedCompiler(programs_lib.Compiler):
    """Builds `GuidedPrograms`."""

    programs_class = GuidedPrograms

    def _builders(self):
        return {
            "init": self._compile_init_with_logits,
            "insert": self._compile_guided_insert,
            "choose": self._compile_choose,
            "advance": self._compile_advance,
        }

    def _compile_init_with_logits(self, shape: cache_lib.CacheShape):
        init = self._bind(lambda decoder: (*decode_lib.init(decoder), init_logits(decoder)), shape)
        shardings = programs_lib.shardings((*self._batch(shape), self._logits()))
        return jax.jit(init, out_shardings=shardings).lower().compile()

    def _compile_guided_insert(self, shape: cache_lib.CacheShape):
        shelves, rows, answers = self._batch(shape)
        logits = self._logits()
        compiled = jax.jit(
            self._bind(insert, shape),
            donate_argnums=(2, 3, 4),
            out_shardings=programs_lib.shardings((rows, answers, logits, self._tokens())),
        )
        prompts = self._prompts(shape)
        return compiled.lower(self.params, shelves, rows, answers, logits, prompts).compile()

    def _compile_choose(self, shape: cache_lib.CacheShape):
        _, rows, answers = self._batch(shape)
        words = -(-self._logits().shape[1] // _WORD)
        masks = self._array((self.rows, words), jnp.uint32, self.by_row)
        compiled = jax.jit(self._bind(choose, shape), out_shardings=self.by_row)
        return compiled.lower(self._logits(), rows, answers, masks).compile()

    def _compile_advance(self, shape: cache_lib.CacheShape):
        shelves, rows, answers = self._batch(shape)
        compiled = jax.jit(
            self._bind(advance, shape),
            donate_argnums=(3, 4),
            keep_unused=True,
            out_shardings=programs_lib.shardings((answers, self._logits(), self._tokens())),
        )
        going = self._array((self.rows,), bool, self.by_row)
        return compiled.lower(
            self.params, shelves, rows, answers, self._logits(), self._tokens(), going
        ).compile()

    def _logits(self) -> jax.ShapeDtypeStruct:
        vocabulary = self._decoder.model.config.num_embed
        return self._array((self.rows, vocabulary), jnp.float32, self.by_row)

    def _tokens(self) -> jax.ShapeDtypeStruct:
        return self._array((self.rows,), jnp.int32, self.by_row)


class GuidedLane(schedule.Lane):
    """A lane whose groups have guides."""

    def _begin(self) -> None:
        self._shelves, self._asked, self._answers, self._logits = self._programs.init()
        size = len(self._rows)
        self._offered = self._put(np.zeros(size, np.int32), by_row=True)
        self._guides: list[Guide | None] = [None] * size
        self._texts: list[list[int]] = [[] for _ in range(size)]
        self._going = np.zeros(size, bool)
        self._host_ends = np.asarray(jax.device_get(self._ends))

    def _insert_prompts(self, rows: list[schedule.Row]) -> None:
        free = self._free_places()
        prompts = self._place(rows)
        for row, place in zip(rows, free, strict=False):
            self._guides[place] = row.group.guide(row.limit(self.shape.new))
            self._texts[place], self._going[place] = [], True
        self._asked, self._answers, self._logits, self._offered = self._programs.insert(
            self._compiler.params, self._shelves, self._asked, self._answers, self._logits, prompts
        )
        jax.block_until_ready(self._offered)

    def _decode(self, max_active: int) -> None:
        with self._span("decode"):
            for _ in range(schedule.STEPS_PER_LOOK):
                self._take(self._settle())
                if self._going.sum() <= max_active:
                    break

    def _settle(self) -> np.ndarray:
        """The next token of each row: the one offered where its guide allows it."""
        tokens = jax.device_get(self._offered)
        refused = [
            place
            for place in np.flatnonzero(self._going)
            if not self._guides[place].allows(int(tokens[place]))
        ]
        if not refused:
            return tokens
        self._counters.refused_tokens += len(refused)
        words = -(-self._logits.shape[1] // _WORD)
        masks = np.full((len(self._rows), words), 0xFFFFFFFF, np.uint32)
        for place in refused:
            self._guides[place].allowed().write(masks[place])
        again = self._programs.choose(
            self._logits, self._asked, self._answers, self._put(masks, by_row=True)
        )
        # The others keep what was offered: top-k and top-p may look at more under a mask.
        return np.where(np.isin(np.arange(len(tokens)), refused), jax.device_get(again), tokens)

    def _take(self, tokens: np.ndarray) -> None:
        """Gives each row its token, and has the device compute the next offers."""
        taken = self._going.copy()
        for place in np.flatnonzero(self._going):
            token, guide = int(tokens[place]), self._guides[place]
            guide.advance(token)
            self._texts[place].append(token)
            full = len(self._texts[place]) >= self._rows[place].limit(self.shape.new)
            self._going[place] = not (guide.ended or self._host_ends[token] or full)
        self._counters.decode_steps += 1
        self._answers, self._logits, self._offered = self._programs.advance(
            self._compiler.params,
            self._shelves,
            self._asked,
            self._answers,
            self._logits,
            self._put(tokens.astype(np.int32), by_row=True),
            self._put(taken, by_row=True),
        )

    def _written(self) -> list[list[int]]:
        return self._texts

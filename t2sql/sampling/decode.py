"""Decode: one token per slot and step, a block of steps at a time."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from t2sql.config import SamplingConfig
from t2sql.sampling import attention, constrained, kv_cache, next_token, scores
from t2sql.sampling.batch import Decoded, DecodeState, Slots


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoder:
    """What stays fixed while a program runs; hashable, closed over by `jax.jit`.

    Attributes:
      model: gemma's transformer.
      steps: K, decode steps of a block at most.
      tail_rows: batch size of a step when no more answers than this are going; 0 for none.
      config: how the next token is chosen.
      forbidden: token ids that are never chosen.
      kernel: of `decode_kernel`, for attention; empty for XLA's own.
    """

    model: nn.Module
    steps: int
    tail_rows: int
    config: SamplingConfig
    forbidden: tuple[int, ...]
    kernel: str = ""

    @property
    def top(self) -> int:
        """The most likely tokens of a step that the host is told: for its guides alone."""
        return scores.TOP if self.config.constrain else 0


def decode(
    decoder: Decoder,
    params,
    prefix_cache: kv_cache.KeysValues,
    slots: Slots,
    state: DecodeState,
    stopped: Bool[Array, "B"],
    ends: Bool[Array, "V"],
    max_active: Int[Array, ""],
    corrections: constrained.Corrections | None,
) -> tuple[DecodeState, Decoded]:
    """Decodes until at most `max_active` slots are active, or for a block of steps.

    Args:
      decoder: the fixed part.
      params: the model's parameters.
      prefix_cache: the shared prefixes.
      slots: what was asked.
      state: how far it has come.
      stopped: slots that the host has ended (a stop string spread over tokens).
      ends: token ids that end an answer.
      max_active: return once no more slots than this are still going.
      corrections: slots to be put back before the first step; None for a run that has neither a
        constraint nor several answers to a prompt.

    Returns:
      How far it has come after the last step, and what was written.
    """
    past = [
        kv_cache.prefix_block(prefix_cache, slots.prefix_starts, slots.prefix_lengths),
        kv_cache.suffix_block(slots.suffix, slots.prefix_lengths, slots.lengths),
    ]
    state = state.replace(done=state.done | stopped)
    redraws = jnp.bool_(False)
    if corrections is not None:
        state = constrained.put_back(state, corrections)
        state = constrained.make_room(state, decoder.steps)
        redraws = jnp.any(corrections.slots < len(state.done))
    decoded = _nothing_decoded(decoder, len(state.done))

    def go_on(carry: tuple[DecodeState, Decoded]) -> Bool[Array, ""]:
        state, decoded = carry
        # Masks are for the first step: it is taken however few slots are active.
        needed = (jnp.sum(~state.done) > max_active) | (redraws & (decoded.steps == 0))
        return needed & (decoded.steps < decoder.steps)

    def step(carry: tuple[DecodeState, Decoded]) -> tuple[DecodeState, Decoded]:
        state, decoded = carry
        logits, kv = forward_token(decoder, params, past, slots, state)
        is_redrawn = redraws & (decoded.steps == 0)
        token, draws = _draw(decoder, logits, slots, state, corrections, is_redrawn)
        if not decoder.kernel:
            kv = kv_cache.write_ring(state.ring, kv, state.step)
        return _write(state, decoded, kv, token, draws, slots, ends)

    return jax.lax.while_loop(go_on, step, (state, decoded))


def _nothing_decoded(decoder: Decoder, rows: int) -> Decoded:
    config = decoder.config
    draws = None
    if config.is_scored:
        draws = scores.Draws.none(rows, decoder.steps, config.samples, decoder.top)
    return Decoded(
        steps=jnp.int32(0),
        counts=jnp.zeros((rows,), jnp.int32),
        tokens=jnp.zeros((rows, decoder.steps), jnp.int32),
        draws=draws,
    )


def _draw(
    decoder: Decoder,
    logits: Float[Array, "B V"],
    slots: Slots,
    state: DecodeState,
    corrections: constrained.Corrections | None,
    is_redrawn: Bool[Array, ""],
) -> tuple[Int[Array, "B"], scores.Draws | None]:
    """The next token of each slot, from its mask where there is one; and all that was drawn."""
    config = decoder.config
    method = next_token.sample_tokens if config.is_scored else next_token.next_tokens
    draw = functools.partial(method, config=config, forbidden=decoder.forbidden)
    tokens = draw(logits, sample_ids=slots.sample_ids, generated=state.generated)
    log_allowed = jnp.zeros(len(tokens), jnp.float32) if config.is_scored else None
    if corrections is not None and corrections.masks is not None:
        tokens, log_allowed = jax.lax.cond(
            is_redrawn,
            functools.partial(constrained.redraw, draw, corrections),
            lambda tokens, log_allowed, *_: (tokens, log_allowed),
            *(tokens, log_allowed, logits, slots.sample_ids, state.generated),
        )
    if not config.is_scored:
        return tokens, None
    led = jnp.take_along_axis(tokens, state.leader[:, None], axis=1)[:, 0]
    return led, scores.score(logits, tokens, log_allowed, decoder.top)


def _write(
    state: DecodeState,
    decoded: Decoded,
    ring: kv_cache.KeysValues,
    token: Int[Array, "B"],
    draws: scores.Draws | None,
    slots: Slots,
    ends: Bool[Array, "V"],
) -> tuple[DecodeState, Decoded]:
    """Adds a step: the ring with the tokens fed, and the tokens drawn."""
    going = ~state.done
    newest = (jnp.arange(decoded.tokens.shape[1]) == decoded.steps) & going[:, None]
    generated = state.generated + going
    fed = jnp.where(going, state.generated, -1)[:, None]
    state = state.replace(
        step=state.step + 1,
        ring=ring,
        fed=kv_cache.write_ring(state.fed, fed, state.step),
        last_token=jnp.where(going, token, state.last_token),
        generated=generated,
        done=state.done | ends[token] | (generated >= slots.limits),
    )
    decoded = Decoded(
        steps=decoded.steps + 1,
        counts=decoded.counts + going,
        tokens=jnp.where(newest, token[:, None], decoded.tokens),
        draws=None if draws is None else decoded.draws.write(draws, decoded.steps),
    )
    return state, decoded


def forward_token(
    decoder: Decoder, params, past: list[kv_cache.Block], slots: Slots, state: DecodeState
) -> tuple[Float[Array, "B V"], kv_cache.KeysValues]:
    """Feeds each slot's newest token: its logits, and its keys and values.

    With a kernel these are the ring's, the tokens' own written to it. What comes out for slots that
    are done is not to be read.
    """
    past = [*past, kv_cache.ring_block(state.ring, state.fed, slots.prompt_lengths)]
    newest = state.last_token, slots.prompt_lengths + state.generated
    entry = state.step % state.fed.shape[1]
    forward = functools.partial(_forward, decoder, params, entry)
    if not decoder.tail_rows:
        output = forward(past, *newest)
    else:
        tail = functools.partial(_forward_tail, decoder, forward, ~state.done)
        is_tail = jnp.sum(~state.done) <= decoder.tail_rows
        output = jax.lax.cond(is_tail, tail, forward, past, *newest)
    # The ring is written after all of it is read: then XLA writes in place.
    return jax.lax.optimization_barrier(output)


def _forward(
    decoder: Decoder,
    params,
    entry: Int[Array, ""],
    past: list[kv_cache.Block],
    tokens: Int[Array, "B"],
    positions: Int[Array, "B"],
):
    logits, kv = attention.forward(
        decoder.model,
        params,
        tokens[:, None],
        positions=positions[:, None],
        mask=jnp.ones((len(tokens), 1, 1), bool),
        past=past,
        kernel=decoder.kernel,
        entry=entry,
    )
    return logits[:, 0], kv


def _forward_tail(decoder: Decoder, forward, going: Bool[Array, "B"], past, tokens, positions):
    """`forward` for the few slots that are still going; zeros for the others."""
    rows = jnp.flatnonzero(going, size=decoder.tail_rows, fill_value=len(going))
    output = forward(
        [block.take_rows(rows) for block in past],
        *kv_cache.take_rows((tokens, positions), rows),
    )

    def spread(array: jax.Array) -> jax.Array:
        zeros = jnp.zeros((len(going), *array.shape[1:]), array.dtype)
        return kv_cache.write_rows(zeros, array, rows)

    return jax.tree.map(spread, output)

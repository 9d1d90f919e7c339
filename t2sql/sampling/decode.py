"""Decode: one token per slot and step, until enough slots are free."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from t2sql.config import SamplingConfig
from t2sql.sampling import attention, kv_cache, next_token
from t2sql.sampling.batch import DecodeState, Slots


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoder:
    """What stays fixed while a program runs; hashable, closed over by `jax.jit`.

    Attributes:
      model: gemma's transformer.
      tail_rows: batch size of a step when no more answers than this are going; 0 for none.
      config: how the next token is chosen.
      forbidden: token ids that are never chosen.
    """

    model: nn.Module
    tail_rows: int
    config: SamplingConfig
    forbidden: tuple[int, ...]


def decode(
    decoder: Decoder,
    params,
    prefix_cache: kv_cache.KeysValues,
    slots: Slots,
    state: DecodeState,
    stopped: Bool[Array, "B"],
    ends: Bool[Array, "V"],
    max_active: Int[Array, ""],
    max_steps: Int[Array, ""],
) -> DecodeState:
    """Decodes until at most `max_active` slots are active, or for `max_steps` steps.

    Args:
      decoder: the fixed part.
      params: the model's parameters.
      prefix_cache: the shared prefixes.
      slots: what was asked.
      state: how far it has come.
      stopped: slots that the host has ended (a stop string spread over tokens).
      ends: token ids that end an answer.
      max_active: return once no more slots than this are still going.
      max_steps: return after this many steps at the latest.

    Returns:
      How far it has come after the last step.
    """
    past = past_blocks(prefix_cache, slots)
    first_step = state.step

    def go_on(state: DecodeState) -> Bool[Array, ""]:
        return (jnp.sum(~state.done) > max_active) & (state.step - first_step < max_steps)

    def step(state: DecodeState) -> DecodeState:
        return _step(decoder, params, past, slots, state, ends)

    return jax.lax.while_loop(go_on, step, state.replace(done=state.done | stopped))


def past_blocks(prefix_cache: kv_cache.KeysValues, slots: Slots) -> list[kv_cache.Block]:
    """The prompts, as the slots' next tokens see them."""
    return [
        kv_cache.prefix_block(prefix_cache, slots.prefix_starts, slots.prefix_lengths),
        kv_cache.suffix_block(slots.suffix, slots.prefix_lengths, slots.lengths),
    ]


def _step(
    decoder: Decoder,
    params,
    past: list[kv_cache.Block],
    slots: Slots,
    state: DecodeState,
    ends: Bool[Array, "V"],
) -> DecodeState:
    """Feeds each slot's newest token and samples the next."""
    logits, kv = forward_token(decoder, params, past, state)
    token = next_tokens(decoder, logits, slots, state)
    going = ~state.done
    writes = (jnp.arange(state.tokens.shape[1]) == state.generated[:, None]) & going[:, None]
    generated = state.generated + going
    return DecodeState(
        step=state.step + 1,
        ring=kv_cache.write_ring(state.ring, kv, state.step),
        last_token=jnp.where(going, token, state.last_token),
        position=state.position + going,
        generated=generated,
        done=state.done | ends[token] | (generated >= slots.limits),
        tokens=jnp.where(writes, token[:, None], state.tokens),
    )


def next_tokens(
    decoder: Decoder, logits: Float[Array, "B V"], slots: Slots, state: DecodeState
) -> Int[Array, "B"]:
    """The next token of each slot, none of the forbidden ones."""
    return next_token.next_tokens(
        logits, decoder.config, slots.sample_ids, state.generated, decoder.forbidden
    )


def forward_token(
    decoder: Decoder, params, past: list[kv_cache.Block], state: DecodeState
) -> tuple[Float[Array, "B V"], kv_cache.KeysValues]:
    """Feeds each slot's newest token: its logits, and its keys and values.

    What comes out for slots that are done is not to be read.
    """
    forward = functools.partial(_forward, decoder, params)
    if not decoder.tail_rows:
        output = forward(past, state)
    else:
        tail = functools.partial(_forward_tail, decoder, forward)
        is_tail = jnp.sum(~state.done) <= decoder.tail_rows
        output = jax.lax.cond(is_tail, tail, forward, past, state)
    # The ring is written after all of it is read: then XLA writes in place.
    return jax.lax.optimization_barrier(output)


def _forward(decoder: Decoder, params, past: list[kv_cache.Block], state: DecodeState):
    ring = kv_cache.ring_block(state.ring, state.step, state.generated + 1, state.position)
    logits, kv = attention.forward(
        decoder.model,
        params,
        state.last_token[:, None],
        positions=state.position[:, None],
        mask=jnp.ones((len(state.last_token), 1, 1), bool),
        past=[*past, ring],
    )
    return logits[:, 0], kv


def _forward_tail(decoder: Decoder, forward, past: list[kv_cache.Block], state: DecodeState):
    """`forward` for the few slots that are still going; zeros for the others."""
    batch_size = len(state.done)
    going = jnp.flatnonzero(~state.done, size=decoder.tail_rows, fill_value=batch_size)
    output = forward([block.take_rows(going) for block in past], kv_cache.take_rows(state, going))

    def spread(array: jax.Array) -> jax.Array:
        zeros = jnp.zeros((batch_size, *array.shape[1:]), array.dtype)
        return kv_cache.write_rows(zeros, array, going)

    return jax.tree.map(spread, output)

"""The three device steps of sampling, as pure functions over gemma's own model.

    prefill_prefix   the shared part of a group's prompts, one row, once
    insert           the own parts of up to R prompts, and their first token, into free rows
    decode           one token per row and step, until enough rows are free

The output layer (262,144 rows for Gemma 3) runs only where a token is sampled.
"""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Int, UInt32

from t2sql.sampling import cache as cache_lib
from t2sql.sampling import choose


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoder:
    """What stays fixed while a program runs; hashable, closed over by `jax.jit`.

    Attributes:
      model: gemma's transformer.
      rows: B, prompts decoded at a time on this host.
      shape: slots of the cache.
      choice: how the next token is chosen.
      seed: the run's seed.
      forbidden: token ids that are never chosen.
    """

    model: nn.Module
    rows: int
    shape: cache_lib.CacheShape
    choice: choose.Choice
    seed: int
    forbidden: tuple[int, ...]


@flax.struct.dataclass
class State:
    """A batch of B rows in the middle of decoding.

    Attributes:
      step: decode steps since the batch began; picks the slot of the ring.
      cache: gemma's KV cache, [B P+S+N] slots (see `cache.py`).
      prompt: which prompt slots hold a token of the row.
      last_token: the newest token, not yet in the cache.
      position: its place in the row's text.
      generated: tokens sampled so far, `last_token` included.
      done: rows that need no further token: finished, stopped, or empty.
      tokens: the sampled tokens.
      sample_ids: the example's number, from which its sampling key derives.
    """

    step: Int[Array, ""]
    cache: cache_lib.Cache
    prompt: Bool[Array, "B P+S"]
    last_token: Int[Array, "B"]
    position: Int[Array, "B"]
    generated: Int[Array, "B"]
    done: Bool[Array, "B"]
    tokens: Int[Array, "B N"]
    sample_ids: UInt32[Array, "B"]


@flax.struct.dataclass
class Prompts:
    """Up to R prompts to insert, right-padded with id 0; unused entries have length 0.

    Attributes:
      tokens: the prompts without the shared prefix.
      lengths: tokens in each.
      rows: the batch row each goes to; B (out of range) for an unused entry.
      sample_ids: the example's number, from which its sampling key derives.
    """

    tokens: Int[Array, "R S"]
    lengths: Int[Array, "R"]
    rows: Int[Array, "R"]
    sample_ids: UInt32[Array, "R"]


def init_state(decoder: Decoder) -> State:
    """A batch of empty rows: all done, so that none of them holds up a loop."""
    shape, rows = decoder.shape, decoder.rows
    return State(
        step=jnp.zeros((), jnp.int32),
        cache=cache_lib.init_cache(decoder.model, rows=rows, slots=shape.total),
        prompt=jnp.zeros((rows, shape.prompt), bool),
        last_token=jnp.zeros((rows,), jnp.int32),
        position=jnp.zeros((rows,), jnp.int32),
        generated=jnp.zeros((rows,), jnp.int32),
        done=jnp.ones((rows,), bool),
        tokens=jnp.zeros((rows, shape.new), jnp.int32),
        sample_ids=jnp.zeros((rows,), jnp.uint32),
    )


def prefill_prefix(
    decoder: Decoder, params, tokens: Int[Array, "1 P"], length: Int[Array, ""]
) -> cache_lib.Cache:
    """The keys and values of a shared prefix, [1 P] slots."""
    slots = tokens.shape[1]
    output = decoder.model.apply(
        {"params": params},
        tokens,
        positions=jnp.arange(slots)[None],
        cache=cache_lib.init_cache(decoder.model, rows=1, slots=slots),
        attention_mask=cache_lib.prefix_mask(length, slots),
        return_last_only=True,  # these logits are not read: XLA removes the output layer
    )
    return output.cache


def insert(
    decoder: Decoder,
    params,
    state: State,
    prefix: cache_lib.Cache,
    prefix_length: Int[Array, ""],
    prompts: Prompts,
    ends: Bool[Array, "V"],
) -> State:
    """Prefills prompts behind a shared prefix and starts them in their rows.

    Args:
      decoder: the fixed part.
      params: the model's parameters.
      state: the batch; only the rows named in `prompts` change.
      prefix: from `prefill_prefix`.
      prefix_length: its tokens.
      prompts: what to insert.
      ends: token ids that end a row.

    Returns:
      The batch with the new rows, each with its first token sampled.
    """
    shape = decoder.shape
    count = prompts.tokens.shape[0]
    output = decoder.model.apply(
        {"params": params},
        prompts.tokens,
        positions=jnp.broadcast_to(prefix_length + jnp.arange(shape.suffix), prompts.tokens.shape),
        cache=cache_lib.with_prefix(prefix, rows=count, suffix=shape.suffix),
        attention_mask=cache_lib.suffix_mask(prefix_length, prompts.lengths, shape),
        return_last_only=True,
    )
    generated = jnp.zeros((count,), jnp.int32)
    first = _choose(decoder, output.logits, prompts.sample_ids, generated)
    tokens = jnp.zeros((count, shape.new), jnp.int32).at[:, 0].set(first)
    rows = prompts.rows
    return state.replace(
        cache=cache_lib.insert_rows(state.cache, output.cache, rows),
        prompt=state.prompt.at[rows].set(
            cache_lib.prompt_slots(prefix_length, prompts.lengths, shape), mode="drop"
        ),
        last_token=state.last_token.at[rows].set(first, mode="drop"),
        position=state.position.at[rows].set(prefix_length + prompts.lengths, mode="drop"),
        generated=state.generated.at[rows].set(1, mode="drop"),
        done=state.done.at[rows].set(ends[first] | (shape.new == 1), mode="drop"),
        tokens=state.tokens.at[rows].set(tokens, mode="drop"),
        sample_ids=state.sample_ids.at[rows].set(prompts.sample_ids, mode="drop"),
    )


def decode(
    decoder: Decoder,
    params,
    state: State,
    stopped: Bool[Array, "B"],
    ends: Bool[Array, "V"],
    max_active: Int[Array, ""],
    max_steps: Int[Array, ""],
) -> State:
    """Decodes until at most `max_active` rows are active, or for `max_steps` steps.

    Args:
      decoder: the fixed part.
      params: the model's parameters.
      state: the batch.
      stopped: rows that the host has ended (a stop string spread over tokens).
      ends: token ids that end a row.
      max_active: return once no more rows than this are still going.
      max_steps: return after this many steps at the latest.

    Returns:
      The batch after the last step.
    """
    first_step = state.step

    def go_on(state: State) -> Bool[Array, ""]:
        return (jnp.sum(~state.done) > max_active) & (state.step - first_step < max_steps)

    def one_step(state: State) -> State:
        return _step(decoder, params, state, ends)

    return jax.lax.while_loop(go_on, one_step, state.replace(done=state.done | stopped))


def _step(decoder: Decoder, params, state: State, ends: Bool[Array, "V"]) -> State:
    """Feeds each row's newest token and samples the next."""
    shape = decoder.shape
    ring = cache_lib.ring_slots(state.step, state.generated, shape.new)
    output = decoder.model.apply(
        {"params": params},
        state.last_token[:, None],
        positions=state.position[:, None],
        cache=cache_lib.at_slot(state.cache, shape.prompt + state.step % shape.new),
        attention_mask=jnp.concatenate([state.prompt, ring], axis=-1)[:, None, :],
    )
    token = _choose(decoder, output.logits[:, 0], state.sample_ids, state.generated)
    going = ~state.done
    here = jnp.arange(shape.new) == state.generated[:, None]
    generated = state.generated + going
    return state.replace(
        step=state.step + 1,
        cache=output.cache,
        last_token=jnp.where(going, token, state.last_token),
        position=state.position + going,
        generated=generated,
        done=state.done | ends[token] | (generated >= shape.new),
        tokens=jnp.where(here & going[:, None], token[:, None], state.tokens),
    )


def _choose(decoder: Decoder, logits, sample_ids, generated) -> Int[Array, "B"]:
    if decoder.forbidden:
        logits = logits.at[:, jnp.asarray(decoder.forbidden)].set(-jnp.inf)
    return choose.choose_tokens(logits, decoder.choice, decoder.seed, sample_ids, generated)

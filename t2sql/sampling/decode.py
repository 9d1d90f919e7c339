"""The device steps of sampling, as pure functions over gemma's own model.

    prefill_prefix   the shared part of a group's prompts, once, onto a shelf
    insert           the own parts of up to R prompts, and their first token, into free rows
    grow             all of them into a larger cache, when longer prompts come
    decode           one token per row and step, until enough rows are free

The output layer (262,144 rows for Gemma 3) runs only where a token is sampled.
"""

import dataclasses
import functools

import flax.struct
import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, UInt32

from t2sql.sampling import attention, choose
from t2sql.sampling import cache as cache_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoder:
    """What stays fixed while a program runs; hashable, closed over by `jax.jit`.

    Attributes:
      model: gemma's transformer.
      rows: B, prompts decoded at a time on this host.
      few: where no more rows than this are going, a step computes no others; 0 for never.
      shape: slots of the cache.
      choice: how the next token is chosen.
      seed: the run's seed.
      forbidden: token ids that are never chosen.
    """

    model: nn.Module
    rows: int
    few: int
    shape: cache_lib.CacheShape
    choice: choose.Choice
    seed: int
    forbidden: tuple[int, ...]


@flax.struct.dataclass
class Shelves:
    """Shared beginnings of prompts.

    Attributes:
      kv: their keys and values, [G P K H] per layer.
      lengths: tokens on each shelf; 0 for a prompt that shares nothing.
    """

    kv: cache_lib.KeysValues
    lengths: Int[Array, "G"]


@flax.struct.dataclass
class Rows:
    """What the rows of a batch were asked: constant while they decode.

    Attributes:
      suffix: keys and values of the prompts' own parts, [B S K H] per layer.
      lengths: tokens in each.
      shelf: the shelf that the row's prompt begins with.
      limits: tokens of the longest answer it may get, N at most.
      sample_ids: the example's number, from which its sampling key derives.
    """

    suffix: cache_lib.KeysValues
    lengths: Int[Array, "B"]
    shelf: Int[Array, "B"]
    limits: Int[Array, "B"]
    sample_ids: UInt32[Array, "B"]


@flax.struct.dataclass
class Answers:
    """How far the rows of a batch have come: what the decode loop carries.

    Attributes:
      step: decode steps since the batch began; picks the slot of the ring.
      ring: keys and values of new tokens, [B N K H] per layer.
      last_token: the newest token, not yet in the ring.
      position: its place in the row's text.
      generated: tokens sampled so far, `last_token` included.
      done: rows that need no further token: finished, stopped, or empty.
      tokens: the sampled tokens.
    """

    step: Int[Array, ""]
    ring: cache_lib.KeysValues
    last_token: Int[Array, "B"]
    position: Int[Array, "B"]
    generated: Int[Array, "B"]
    done: Bool[Array, "B"]
    tokens: Int[Array, "B N"]


@flax.struct.dataclass
class Prompts:
    """Up to R prompts to insert, right-padded with id 0; unused entries have length 0.

    Attributes:
      tokens: the prompts without the shared prefix.
      lengths: tokens in each.
      rows: the batch row each goes to; B (out of range) for an unused entry.
      shelf: the shelf with what they share.
      limits: tokens of the longest answer to each.
      sample_ids: the examples' numbers.
    """

    tokens: Int[Array, "R S"]
    lengths: Int[Array, "R"]
    rows: Int[Array, "R"]
    shelf: Int[Array, ""]
    limits: Int[Array, "R"]
    sample_ids: UInt32[Array, "R"]


def init(decoder: Decoder) -> tuple[Shelves, Rows, Answers]:
    """A batch of empty rows: all done, so that none of them holds up a loop."""
    shape, count = decoder.shape, decoder.rows
    kv = lambda rows, slots: cache_lib.init_kv(decoder.model, rows=rows, slots=slots)  # noqa: E731
    zeros = jnp.zeros((count,), jnp.int32)
    shelves = Shelves(
        kv=kv(cache_lib.SHELVES, shape.prefix),
        lengths=jnp.zeros((cache_lib.SHELVES,), jnp.int32),
    )
    rows = Rows(
        suffix=kv(count, shape.suffix),
        lengths=zeros,
        shelf=zeros,
        limits=zeros,
        sample_ids=zeros.astype(jnp.uint32),
    )
    answers = Answers(
        step=jnp.zeros((), jnp.int32),
        ring=kv(count, shape.new),
        last_token=zeros,
        position=zeros,
        generated=zeros,
        done=jnp.ones((count,), bool),
        tokens=jnp.zeros((count, shape.new), jnp.int32),
    )
    return shelves, rows, answers


def grow(decoder: Decoder, shelves: Shelves, rows: Rows) -> tuple[Shelves, Rows]:
    """The prompts in a larger cache: answers that are on their way go on in it."""
    return (
        shelves.replace(kv=cache_lib.grow(shelves.kv, decoder.shape.prefix)),
        rows.replace(suffix=cache_lib.grow(rows.suffix, decoder.shape.suffix)),
    )


def prefill_prefix(
    decoder: Decoder,
    params,
    shelves: Shelves,
    tokens: Int[Array, "1 P"],
    length: Int[Array, ""],
    shelf: Int[Array, ""],
) -> Shelves:
    """Computes a shared prefix and puts it on a shelf."""
    slots = tokens.shape[1]
    _, kv = attention.forward(
        decoder.model,
        params,
        tokens,
        positions=jnp.arange(slots)[None],
        mask=cache_lib.causal_mask(length[None], slots),
        last_only=True,  # these logits are not read: XLA removes the output layer
    )
    return Shelves(
        kv=cache_lib.write_rows(shelves.kv, kv, shelf[None]),
        lengths=shelves.lengths.at[shelf].set(length),
    )


def insert(
    decoder: Decoder,
    params,
    shelves: Shelves,
    rows: Rows,
    answers: Answers,
    prompts: Prompts,
    ends: Bool[Array, "V"],
) -> tuple[Rows, Answers]:
    """Prefills prompts behind their shared prefix and starts them in their rows.

    Args:
      decoder: the fixed part.
      params: the model's parameters.
      shelves: the shared prefixes.
      rows: only the rows named in `prompts` change.
      answers: likewise.
      prompts: what to insert.
      ends: token ids that end a row.

    Returns:
      The batch with the new rows, each with its first token sampled.
    """
    logits, new_rows = prefill(decoder, params, shelves, rows, prompts)
    count = len(prompts.lengths)
    first = choose_token(decoder, logits, prompts.sample_ids, jnp.zeros((count,), jnp.int32))
    begun = {
        "last_token": first,
        "position": shelves.lengths[prompts.shelf] + prompts.lengths,
        "generated": 1,
        "done": ends[first] | (prompts.limits <= 1),
        "tokens": jnp.pad(first[:, None], ((0, 0), (0, decoder.shape.new - 1))),
    }
    return new_rows, begin_rows(answers, begun, prompts)


def begin_rows(answers: Answers, begun: dict[str, jax.Array | int | bool], prompts: Prompts):
    """The answers with these fields set in the rows of the prompts."""
    old = {name: getattr(answers, name) for name in begun}
    return answers.replace(**cache_lib.write_rows(old, begun, prompts.rows))


def prefill(
    decoder: Decoder, params, shelves: Shelves, rows: Rows, prompts: Prompts
) -> tuple[Float[Array, "R V"], Rows]:
    """The logits behind prompts, and the rows with them in their places."""
    count, slots = prompts.tokens.shape
    prefix_length = shelves.lengths[prompts.shelf]
    logits, suffix = attention.forward(
        decoder.model,
        params,
        prompts.tokens,
        positions=jnp.broadcast_to(prefix_length + jnp.arange(slots), (count, slots)),
        mask=cache_lib.causal_mask(prompts.lengths, slots),
        past=[
            cache_lib.one_shelf_block(shelves.kv, shelves.lengths, prompts.shelf, (count, slots))
        ],
        last_only=True,
    )
    asked = Rows(
        suffix=suffix,
        lengths=prompts.lengths,
        shelf=prompts.shelf,
        limits=prompts.limits,
        sample_ids=prompts.sample_ids,
    )
    return logits, cache_lib.write_rows(rows, asked, prompts.rows)


def decode(
    decoder: Decoder,
    params,
    shelves: Shelves,
    rows: Rows,
    answers: Answers,
    stopped: Bool[Array, "B"],
    ends: Bool[Array, "V"],
    max_active: Int[Array, ""],
    max_steps: Int[Array, ""],
) -> Answers:
    """Decodes until at most `max_active` rows are active, or for `max_steps` steps.

    Args:
      decoder: the fixed part.
      params: the model's parameters.
      shelves: the shared prefixes.
      rows: what was asked.
      answers: how far it has come.
      stopped: rows that the host has ended (a stop string spread over tokens).
      ends: token ids that end a row.
      max_active: return once no more rows than this are still going.
      max_steps: return after this many steps at the latest.

    Returns:
      How far it has come after the last step.
    """
    past = past_blocks(shelves, rows)
    first_step = answers.step

    def go_on(answers: Answers) -> Bool[Array, ""]:
        return (jnp.sum(~answers.done) > max_active) & (answers.step - first_step < max_steps)

    def one_step(answers: Answers) -> Answers:
        return _step(decoder, params, past, rows, answers, ends)

    return jax.lax.while_loop(go_on, one_step, answers.replace(done=answers.done | stopped))


def past_blocks(shelves: Shelves, rows: Rows) -> list[cache_lib.Block]:
    """The prompts, as the rows' next tokens see them."""
    return [
        cache_lib.shelf_block(shelves.kv, shelves.lengths, rows.shelf, 1),
        cache_lib.suffix_block(rows.suffix, shelves.lengths[rows.shelf], rows.lengths),
    ]


def _step(
    decoder: Decoder,
    params,
    past: list[cache_lib.Block],
    rows: Rows,
    answers: Answers,
    ends: Bool[Array, "V"],
) -> Answers:
    """Feeds each row's newest token and samples the next."""
    step, generated, position = answers.step, answers.generated, answers.position
    logits, kv = forward_token(decoder, params, past, answers)
    token = choose_token(decoder, logits, rows.sample_ids, generated)
    going = ~answers.done
    here = (jnp.arange(decoder.shape.new) == generated[:, None]) & going[:, None]
    generated = generated + going
    return Answers(
        step=step + 1,
        ring=cache_lib.write_ring(answers.ring, kv, step),
        last_token=jnp.where(going, token, answers.last_token),
        position=position + going,
        generated=generated,
        done=answers.done | ends[token] | (generated >= rows.limits),
        tokens=jnp.where(here, token[:, None], answers.tokens),
    )


def forward_token(
    decoder: Decoder, params, past: list[cache_lib.Block], answers: Answers
) -> tuple[Float[Array, "B V"], cache_lib.KeysValues]:
    """Feeds each row's newest token: its logits, and its keys and values.

    Those of rows that are done are not to be read.
    """
    forward = functools.partial(_forward, decoder, params)
    if not decoder.few:
        found = forward(past, answers)
    else:
        going = jnp.sum(~answers.done)
        few = functools.partial(_forward_few, decoder, forward)
        found = jax.lax.cond(going <= decoder.few, few, forward, past, answers)
    # The ring is written after all of it is read: then XLA writes in place.
    return jax.lax.optimization_barrier(found)


def _forward(decoder: Decoder, params, past: list[cache_lib.Block], answers: Answers):
    logits, kv = attention.forward(
        decoder.model,
        params,
        answers.last_token[:, None],
        positions=answers.position[:, None],
        mask=jnp.ones((len(answers.last_token), 1, 1), bool),
        past=[
            *past,
            cache_lib.ring_block(answers.ring, answers.step, answers.generated, answers.position),
        ],
    )
    return logits[:, 0], kv


def _forward_few(decoder: Decoder, forward, past: list[cache_lib.Block], answers: Answers):
    """The same of the rows that are going alone, which are few; zeros for the others."""
    places = jnp.flatnonzero(~answers.done, size=decoder.few, fill_value=decoder.rows)
    taken = cache_lib.take_rows(answers, places)
    found = forward([block.take_rows(places) for block in past], taken)

    def spread(array: jax.Array) -> jax.Array:
        zeros = jnp.zeros((decoder.rows, *array.shape[1:]), array.dtype)
        return cache_lib.write_rows(zeros, array, places)

    return jax.tree.map(spread, found)


def choose_token(decoder: Decoder, logits, sample_ids, generated) -> Int[Array, "B"]:
    """The next token of each row, none of the forbidden ones."""
    return choose.choose_tokens(
        logits, decoder.choice, decoder.seed, sample_ids, generated, decoder.forbidden
    )

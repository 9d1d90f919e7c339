"""The device steps of sampling, as pure functions over gemma's own model.

    prefix     keys and values of what a group of prompts shares, once
    prefill    those of the prompts' own parts
    begin      puts prompts into free rows of the cache
    grow       all of them into a larger cache, when longer prompts come
    decode     one token per row and step, until enough rows are free

A prompt's last token is not prefilled: it is the first one that its row decodes. So prefill never
runs the output layer (262,144 rows for Gemma 3).
"""

import dataclasses
import functools

import flax.struct
import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, UInt32

from t2sql.sampling import attention, kv_cache, next_token


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoder:
    """What stays fixed while a program runs; hashable, closed over by `jax.jit`.

    Attributes:
      model: gemma's transformer.
      few: where no more rows than this are going, a step computes no others; 0 for never.
      choice: how the next token is chosen.
      seed: the run's seed.
      forbidden: token ids that are never chosen.
    """

    model: nn.Module
    few: int
    choice: next_token.Choice
    seed: int
    forbidden: tuple[int, ...]


@flax.struct.dataclass
class Rows:
    """What the rows of a batch were asked: constant while they decode.

    Attributes:
      suffix: keys and values of the prompts' own parts, [B S K H] per layer.
      lengths: tokens in each.
      prefix_starts: the slot of the shelf that the row's prefix begins at.
      prefix_lengths: tokens in it; 0 for a prompt that shares nothing.
      limits: tokens of the longest answer it may get, N at most.
      sample_ids: the example's number, from which its sampling key derives.
    """

    suffix: kv_cache.KeysValues
    lengths: Int[Array, "B"]
    prefix_starts: Int[Array, "B"]
    prefix_lengths: Int[Array, "B"]
    limits: Int[Array, "B"]
    sample_ids: UInt32[Array, "B"]


@flax.struct.dataclass
class Answers:
    """How far the rows of a batch have come: what the decode loop carries.

    Attributes:
      step: decode steps since the batch began; picks the slot of the ring.
      ring: keys and values of the tokens fed, [B N K H] per layer.
      last_token: the newest token, not yet in the ring; at first the prompt's last.
      position: its place in the row's text.
      generated: tokens sampled so far.
      done: rows that need no further token: finished, stopped, or empty.
      tokens: the sampled tokens.
    """

    step: Int[Array, ""]
    ring: kv_cache.KeysValues
    last_token: Int[Array, "B"]
    position: Int[Array, "B"]
    generated: Int[Array, "B"]
    done: Bool[Array, "B"]
    tokens: Int[Array, "B N"]


@flax.struct.dataclass
class Prompts:
    """Up to R prompts to begin, besides their keys and values.

    Attributes:
      rows: the batch row each goes to; B (out of range) for an unused entry.
      lengths: tokens prefilled of its own part, all but the last one.
      last_token: that one.
      prefix_starts: as in `Rows`.
      prefix_lengths: likewise.
      limits: likewise.
      sample_ids: likewise.
    """

    rows: Int[Array, "R"]
    lengths: Int[Array, "R"]
    last_token: Int[Array, "R"]
    prefix_starts: Int[Array, "R"]
    prefix_lengths: Int[Array, "R"]
    limits: Int[Array, "R"]
    sample_ids: UInt32[Array, "R"]


def init(
    model: nn.Module, rows: int, shape: kv_cache.CacheShape
) -> tuple[kv_cache.KeysValues, Rows, Answers]:
    """An empty shelf, and a batch of empty rows: all done, so that none of them holds up a loop."""
    kv = functools.partial(kv_cache.init_kv, model)
    zeros = jnp.zeros((rows,), jnp.int32)
    asked = Rows(
        suffix=kv(rows=rows, slots=shape.suffix),
        lengths=zeros,
        prefix_starts=zeros,
        prefix_lengths=zeros,
        limits=zeros,
        sample_ids=zeros.astype(jnp.uint32),
    )
    answers = Answers(
        step=jnp.zeros((), jnp.int32),
        ring=kv(rows=rows, slots=shape.new),
        last_token=zeros,
        position=zeros,
        generated=zeros,
        done=jnp.ones((rows,), bool),
        tokens=jnp.zeros((rows, shape.new), jnp.int32),
    )
    return kv(rows=1, slots=shape.shelf), asked, answers


def grow(
    shelf: kv_cache.KeysValues, rows: Rows, shape: kv_cache.CacheShape
) -> tuple[kv_cache.KeysValues, Rows]:
    """The prompts in a larger cache: answers that are on their way go on in it."""
    suffix = kv_cache.grow(rows.suffix, shape.suffix)
    return kv_cache.grow(shelf, shape.shelf), rows.replace(suffix=suffix)


def prefill(
    model: nn.Module,
    params,
    tokens: Int[Array, "R L"],
    lengths: Int[Array, "R"],
    prefix: kv_cache.KeysValues | None,
    prefix_length: Int[Array, ""],
) -> kv_cache.KeysValues:
    """Keys and values of tokens that follow a prefix, [R L K H] per layer.

    Args:
      model: gemma's transformer.
      params: its parameters.
      tokens: right-padded with id 0.
      lengths: tokens in each row.
      prefix: keys and values of what all of them follow, [1 P K H] per layer; or None.
      prefix_length: tokens in it.
    """
    rows, slots = tokens.shape
    past = []
    if prefix is not None:
        same = jnp.zeros((rows,), jnp.int32)
        past = [kv_cache.shelf_block(prefix, same, same + prefix_length, slots)]
    _, kv = attention.forward(
        model,
        params,
        tokens,
        positions=jnp.broadcast_to(prefix_length + jnp.arange(slots), (rows, slots)),
        mask=kv_cache.causal_mask(lengths, slots),
        past=past,
        last_only=True,  # these logits are not read: XLA removes the output layer
    )
    return kv


def prefix(
    model: nn.Module, params, tokens: Int[Array, "P"], length: Int[Array, ""], *, kept: int
) -> kv_cache.KeysValues:
    """Keys and values of a prefix, padded to `kept` slots: [1 kept K H] per layer."""
    kv = prefill(model, params, tokens[None], length[None], None, jnp.zeros_like(length))
    return kv_cache.grow(kv, kept)


def begin(
    rows: Rows, answers: Answers, suffix: kv_cache.KeysValues, prompts: Prompts
) -> tuple[Rows, Answers]:
    """Puts prompts into their rows; only these change.

    Args:
      rows: what was asked.
      answers: how far it has come.
      suffix: keys and values of the prompts' own parts, [R L K H] per layer, L at most S.
      prompts: the rest of them.
    """
    asked = Rows(
        suffix=kv_cache.grow(suffix, kv_cache.slots_of(rows.suffix)),
        lengths=prompts.lengths,
        prefix_starts=prompts.prefix_starts,
        prefix_lengths=prompts.prefix_lengths,
        limits=prompts.limits,
        sample_ids=prompts.sample_ids,
    )
    begun = {
        "last_token": prompts.last_token,
        "position": prompts.prefix_lengths + prompts.lengths,
        "generated": 0,
        "done": False,
    }
    old = {name: getattr(answers, name) for name in begun}
    return (
        kv_cache.write_rows(rows, asked, prompts.rows),
        answers.replace(**kv_cache.write_rows(old, begun, prompts.rows)),
    )


def begin_across(
    devices: int, rows: Rows, answers: Answers, suffix: kv_cache.KeysValues, prompts: Prompts
) -> tuple[Rows, Answers]:
    """`begin` on one of several devices, under `jax.shard_map` over the axis `data`.

    A prompt's keys and values lie on the device that computed them, and its row may be another's:
    each device's prompts go once round, and no device ever holds more than two devices' of them.

    Args:
      devices: how many there are.
      rows: those of this device, B / devices.
      answers: likewise.
      suffix: keys and values of this device's prompts, [R / devices L K H] per layer.
      prompts: all R, with rows of the whole batch.
    """
    here, own_rows = jax.lax.axis_index("data"), len(answers.done)
    count = len(prompts.rows) // devices
    round_trip = [(device, (device + 1) % devices) for device in range(devices)]

    def take(turn: Int[Array, ""], carry):
        rows, answers, suffix = carry
        first = (here - turn) % devices * count
        some = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, first, count), prompts)
        own = some.rows - here * own_rows
        own = jnp.where((own >= 0) & (own < own_rows), own, own_rows)
        rows, answers = begin(rows, answers, suffix, some.replace(rows=own))
        return rows, answers, jax.lax.ppermute(suffix, "data", round_trip)

    rows, answers, _ = jax.lax.fori_loop(0, devices, take, (rows, answers, suffix))
    return rows, answers


def decode(
    decoder: Decoder,
    params,
    shelf: kv_cache.KeysValues,
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
      shelf: the shared prefixes.
      rows: what was asked.
      answers: how far it has come.
      stopped: rows that the host has ended (a stop string spread over tokens).
      ends: token ids that end a row.
      max_active: return once no more rows than this are still going.
      max_steps: return after this many steps at the latest.

    Returns:
      How far it has come after the last step.
    """
    past = past_blocks(shelf, rows)
    first_step = answers.step

    def go_on(answers: Answers) -> Bool[Array, ""]:
        return (jnp.sum(~answers.done) > max_active) & (answers.step - first_step < max_steps)

    def one_step(answers: Answers) -> Answers:
        return _step(decoder, params, past, rows, answers, ends)

    return jax.lax.while_loop(go_on, one_step, answers.replace(done=answers.done | stopped))


def past_blocks(shelf: kv_cache.KeysValues, rows: Rows) -> list[kv_cache.Block]:
    """The prompts, as the rows' next tokens see them."""
    return [
        kv_cache.shelf_block(shelf, rows.prefix_starts, rows.prefix_lengths),
        kv_cache.suffix_block(rows.suffix, rows.prefix_lengths, rows.lengths),
    ]


def _step(
    decoder: Decoder,
    params,
    past: list[kv_cache.Block],
    rows: Rows,
    answers: Answers,
    ends: Bool[Array, "V"],
) -> Answers:
    """Feeds each row's newest token and samples the next."""
    step, generated, position = answers.step, answers.generated, answers.position
    logits, kv = forward_token(decoder, params, past, answers)
    token = choose_token(decoder, logits, rows.sample_ids, generated)
    going = ~answers.done
    here = (jnp.arange(answers.tokens.shape[1]) == generated[:, None]) & going[:, None]
    generated = generated + going
    return Answers(
        step=step + 1,
        ring=kv_cache.write_ring(answers.ring, kv, step),
        last_token=jnp.where(going, token, answers.last_token),
        position=position + going,
        generated=generated,
        done=answers.done | ends[token] | (generated >= rows.limits),
        tokens=jnp.where(here, token[:, None], answers.tokens),
    )


def forward_token(
    decoder: Decoder, params, past: list[kv_cache.Block], answers: Answers
) -> tuple[Float[Array, "B V"], kv_cache.KeysValues]:
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


def _forward(decoder: Decoder, params, past: list[kv_cache.Block], answers: Answers):
    logits, kv = attention.forward(
        decoder.model,
        params,
        answers.last_token[:, None],
        positions=answers.position[:, None],
        mask=jnp.ones((len(answers.last_token), 1, 1), bool),
        past=[
            *past,
            kv_cache.ring_block(
                answers.ring, answers.step, answers.generated + 1, answers.position
            ),
        ],
    )
    return logits[:, 0], kv


def _forward_few(decoder: Decoder, forward, past: list[kv_cache.Block], answers: Answers):
    """The same of the rows that are going alone, which are few; zeros for the others."""
    rows = len(answers.done)
    places = jnp.flatnonzero(~answers.done, size=decoder.few, fill_value=rows)
    taken = kv_cache.take_rows(answers, places)
    found = forward([block.take_rows(places) for block in past], taken)

    def spread(array: jax.Array) -> jax.Array:
        zeros = jnp.zeros((rows, *array.shape[1:]), array.dtype)
        return kv_cache.write_rows(zeros, array, places)

    return jax.tree.map(spread, found)


def choose_token(decoder: Decoder, logits, sample_ids, generated) -> Int[Array, "B"]:
    """The next token of each row, none of the forbidden ones."""
    return next_token.choose_tokens(
        logits, decoder.choice, decoder.seed, sample_ids, generated, decoder.forbidden
    )

"""Prefill: keys and values of prompts, and their insertion into free slots of the batch.

A prompt's last token is not prefilled: it is the first one that its slot decodes. So prefill never
runs the output layer (262,144 rows for Gemma 3).
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Int

from t2sql.model import mesh as mesh_lib
from t2sql.sampling import attention, kv_cache
from t2sql.sampling.batch import DecodeState, Prompts, Slots


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
    rows, length = tokens.shape
    past = []
    if prefix is not None:
        starts = jnp.zeros((rows,), jnp.int32)
        past = [kv_cache.prefix_block(prefix, starts, starts + prefix_length, length)]
    _, kv = attention.forward(
        model,
        params,
        tokens,
        positions=jnp.broadcast_to(prefix_length + jnp.arange(length), (rows, length)),
        mask=kv_cache.causal_mask(lengths, length),
        past=past,
        last_only=True,  # these logits are not read: XLA removes the output layer
    )
    return kv


def prefix(
    model: nn.Module, params, tokens: Int[Array, "P"], length: Int[Array, ""], *, kept: int
) -> kv_cache.KeysValues:
    """Keys and values of a prefix, padded to the length `kept`: [1 kept K H] per layer."""
    kv = prefill(model, params, tokens[None], length[None], None, jnp.zeros_like(length))
    return kv_cache.grow(kv, kept)


def insert(
    slots: Slots, state: DecodeState, suffix: kv_cache.KeysValues, prompts: Prompts
) -> tuple[Slots, DecodeState]:
    """Puts prompts into their slots; only these change.

    Args:
      slots: what was asked.
      state: how far it has come.
      suffix: keys and values of the prompts' own parts, [R L K H] per layer, L at most S.
      prompts: the rest of them.
    """
    asked = Slots(
        suffix=kv_cache.grow(suffix, kv_cache.length_of(slots.suffix)),
        lengths=prompts.lengths,
        prefix_starts=prompts.prefix_starts,
        prefix_lengths=prompts.prefix_lengths,
        limits=prompts.limits,
        sample_ids=prompts.sample_ids,
    )
    begun = {
        "last_token": prompts.last_token,
        "generated": 0,
        "leader": 0,
        "done": False,
        "fed": -1,
    }
    old = {name: getattr(state, name) for name in begun}
    return (
        kv_cache.write_rows(slots, asked, prompts.slots),
        state.replace(**kv_cache.write_rows(old, begun, prompts.slots)),
    )


def insert_across(
    devices: int, slots: Slots, state: DecodeState, suffix: kv_cache.KeysValues, prompts: Prompts
) -> tuple[Slots, DecodeState]:
    """`insert` on one of several devices, under `jax.shard_map` over the data axis.

    A prompt's keys and values lie on the device that computed them, and its slot may be another's:
    each device's prompts go once round, and no device ever holds more than two devices' of them.

    Args:
      devices: how many there are.
      slots: this device's, B / devices of them.
      state: of these slots.
      suffix: keys and values of this device's prompts, [R / devices L K H] per layer.
      prompts: all R, numbered by the slots of the whole batch.
    """
    here, own_slots = jax.lax.axis_index(mesh_lib.DATA_AXIS), len(state.done)
    count = len(prompts.slots) // devices
    round_trip = [(device, (device + 1) % devices) for device in range(devices)]

    def take(turn: Int[Array, ""], carry):
        slots, state, suffix = carry
        first = (here - turn) % devices * count
        visiting = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, first, count), prompts)
        own = visiting.slots - here * own_slots
        own = jnp.where((own >= 0) & (own < own_slots), own, own_slots)
        slots, state = insert(slots, state, suffix, visiting.replace(slots=own))
        return slots, state, jax.lax.ppermute(suffix, mesh_lib.DATA_AXIS, round_trip)

    slots, state, _ = jax.lax.fori_loop(0, devices, take, (slots, state, suffix))
    return slots, state

"""One step of training, compiled: gradients of packed sequences, accumulated, and the update."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Int

from t2sql.training import attention, packing


@flax.struct.dataclass
class State:
    """What training changes.

    Attributes:
      step: steps done; also the position in the data.
      trained: the adapter, or all parameters, in float32.
      optimizer: the state of optax.
    """

    step: Int[Array, ""]
    trained: Any
    optimizer: Any


@flax.struct.dataclass
class Metrics:
    """Of one step: the mean loss per token in nats, and the gradients' norm before clipping."""

    loss: Float[Array, ""]
    gradient_norm: Float[Array, ""]


@flax.struct.dataclass
class Batch:
    """`packing.Sequences` on devices."""

    tokens: Int[Array, "B L"]
    positions: Int[Array, "B L"]
    segments: Int[Array, "B L"]
    parents: Int[Array, "B L"]
    chunks: Int[Array, "B N W"]
    places: Int[Array, "B M"]
    answers: Int[Array, "B M"]
    weights: Float[Array, "B M"]
    rows: Int[Array, "B R"]
    row_offsets: Float[Array, "B R"]

    @classmethod
    def of(cls, sequences: packing.Sequences) -> "Batch":
        return cls(**{f.name: getattr(sequences, f.name) for f in dataclasses.fields(sequences)})


@jax.custom_vjp
def output_layer(hidden: Float[Array, "B M D"], table: Float[Array, "V D"]) -> jax.Array:
    """Logits [B M V] in float32, whose gradients are taken in the table's own dtype.

    JAX's would turn the whole table to float32 first: at 262,144 rows that is a fifth of the
    memory of a step in bfloat16.
    """
    return jnp.einsum("bmd,vd->bmv", hidden, table, preferred_element_type=jnp.float32)


def _output_forward(hidden, table):
    return output_layer(hidden, table), (hidden, table)


def _output_backward(saved, gradient):
    hidden, table = saved
    gradient = gradient.astype(table.dtype)
    of_hidden = jnp.einsum("bmv,vd->bmd", gradient, table)
    return of_hidden, jnp.einsum("bmv,bmd->vd", gradient, hidden)


output_layer.defvjp(_output_forward, _output_backward)


def loss_sum(model: nn.Module, params: Any, batch: Batch) -> Float[Array, ""]:
    """The cross-entropy of the answers' tokens, summed.

    The output layer runs at their places only.

    Args:
      model: gemma's transformer.
      params: its parameters.
      batch: packed sequences.
    """
    hidden = attention.hidden_states(
        model,
        params,
        batch.tokens,
        positions=batch.positions,
        segments=batch.segments,
        parents=batch.parents,
        chunks=batch.chunks,
    )
    hidden = jnp.take_along_axis(hidden, batch.places[:, :, None], axis=1)
    table = params["embedder"]["input_embedding"]
    if not batch.rows.shape[-1]:
        logits, labels = _capped(model, output_layer(hidden, table)), batch.answers
    else:
        logits = jax.vmap(output_layer)(hidden[:, None], table[batch.rows])[:, 0]
        logits = _capped(model, logits) + batch.row_offsets[:, None]
        labels = jax.vmap(jnp.searchsorted)(batch.rows, batch.answers)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return jnp.sum(losses * batch.weights)


def _capped(model: nn.Module, logits: jax.Array) -> jax.Array:
    cap = model.config.final_logit_softcap
    return logits if cap is None else jnp.tanh(logits / cap) * cap


def make_step(
    loss: Callable[[Any, Any, Batch], Float[Array, ""]], optimizer: optax.GradientTransformation
) -> Callable[[State, Any, Batch], tuple[State, Metrics]]:
    """A function of state, frozen parameters and a batch [accumulated, B, ...].

    Args:
      loss: of what is trained, the frozen parameters and a batch [B, ...]; a sum over tokens.
      optimizer: the update.
    """

    def step(state: State, frozen: Any, batch: Batch) -> tuple[State, Metrics]:
        def accumulate(sums, part: Batch):
            found = jax.value_and_grad(loss)(state.trained, frozen, part)
            return jax.tree.map(jnp.add, sums, found), None

        zeros = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, state.trained))
        sums, _ = jax.lax.scan(accumulate, zeros, batch)
        tokens = jnp.maximum(jnp.sum(batch.weights), 1)
        mean, gradients = jax.tree.map(lambda total: total / tokens, sums)
        updates, inner = optimizer.update(gradients, state.optimizer, state.trained)
        trained = optax.apply_updates(state.trained, updates)
        metrics = Metrics(loss=mean, gradient_norm=optax.global_norm(gradients))
        return State(step=state.step + 1, trained=trained, optimizer=inner), metrics

    return step

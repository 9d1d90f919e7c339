"""One training step: the gradients of packed sequences, accumulated, and the update."""

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
class TrainState:
    """What training changes.

    Attributes:
      step: steps done, which is also the position in the data.
      trained: the adapter, or all parameters, in float32.
      optimizer: optax's state.
    """

    step: Int[Array, ""]
    trained: Any
    optimizer: Any


@flax.struct.dataclass
class Metrics:
    """A step's mean loss per token in nats, and its gradients' norm before clipping."""

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
    predict_at: Int[Array, "B M"]
    answers: Int[Array, "B M"]
    weights: Float[Array, "B M"]
    rows: Int[Array, "B R"]
    row_offsets: Float[Array, "B R"]

    @classmethod
    def of(cls, sequences: packing.Sequences) -> "Batch":
        return cls(**{f.name: getattr(sequences, f.name) for f in dataclasses.fields(sequences)})


@jax.custom_vjp
def output_layer(hidden: Float[Array, "B M D"], table: Float[Array, "V D"]) -> jax.Array:
    """Logits [B M V] in float32, with gradients in the table's own dtype.

    JAX's own gradients would make a float32 copy of the table first: with 262,144 rows that is a
    fifth of the memory of a step in bfloat16.
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
    """The cross-entropy of the answers' tokens, summed. The output layer runs for these only.

    Args:
      model: gemma's transformer.
      params: of the model.
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
    hidden = jnp.take_along_axis(hidden, batch.predict_at[:, :, None], axis=1)
    table = params["embedder"]["input_embedding"]
    if not batch.rows.shape[-1]:
        logits, labels = _soft_capped(model, output_layer(hidden, table)), batch.answers
    else:
        logits = jax.vmap(output_layer)(hidden[:, None], table[batch.rows])[:, 0]
        logits = _soft_capped(model, logits) + batch.row_offsets[:, None]
        labels = jax.vmap(jnp.searchsorted)(batch.rows, batch.answers)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return jnp.sum(losses * batch.weights)


def _soft_capped(model: nn.Module, logits: jax.Array) -> jax.Array:
    cap = model.config.final_logit_softcap
    return logits if cap is None else jnp.tanh(logits / cap) * cap


def make_step(
    loss: Callable[[Any, Any, Batch], Float[Array, ""]], optimizer: optax.GradientTransformation
) -> Callable[[TrainState, Any, Batch], tuple[TrainState, Metrics]]:
    """The step, a function of state, frozen parameters and a batch [accumulated, B, ...].

    Args:
      loss: a function of the trained and the frozen parameters and a batch [B, ...]; a sum over
        tokens.
      optimizer: makes the update.
    """

    def step(state: TrainState, frozen: Any, batch: Batch) -> tuple[TrainState, Metrics]:
        def accumulate(sums, part: Batch):
            loss_and_gradients = jax.value_and_grad(loss)(state.trained, frozen, part)
            return jax.tree.map(jnp.add, sums, loss_and_gradients), None

        zeros = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, state.trained))
        sums, _ = jax.lax.scan(accumulate, zeros, batch)
        tokens = jnp.maximum(jnp.sum(batch.weights), 1)
        mean, gradients = jax.tree.map(lambda total: total / tokens, sums)
        updates, inner = optimizer.update(gradients, state.optimizer, state.trained)
        trained = optax.apply_updates(state.trained, updates)
        metrics = Metrics(loss=mean, gradient_norm=optax.global_norm(gradients))
        return TrainState(step=state.step + 1, trained=trained, optimizer=inner), metrics

    return step

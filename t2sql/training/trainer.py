"""A training's state on all hosts' devices: it learns, is saved and exported."""

import functools
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from t2sql import errors
from t2sql.model import mesh as mesh_lib
from t2sql.training import checkpoints as checkpoints_lib
from t2sql.training import multihost, setup
from t2sql.training import step as step_lib


class Trainer:
    """A training's state on the devices of all hosts.

    Args:
      parts: of the training.
      checkpoints: of the first host; None on the others.
    """

    def __init__(self, parts: setup.Parts, checkpoints: checkpoints_lib.Checkpoints | None):
        self._parts = parts
        self._checkpoints = checkpoints
        self._own_mesh = parts.factory.mesh
        mesh = multihost.all_devices(self._own_mesh)
        self._shape = batch_shape(parts.config.train, mesh)
        params = parts.method.load(parts.factory)
        self._own_frozen = parts.method.frozen(params)
        self.best: dict[str, Any] | None = None
        self.state = multihost.spread(self._restored(self._new_state(params)), mesh)
        self._frozen = multihost.spread(self._own_frozen, mesh)
        self._by_sequence = NamedSharding(mesh, PartitionSpec(None, mesh_lib.DATA_AXIS))
        self._step = self._make_step()

    def _new_state(self, params: Any) -> step_lib.TrainState:
        trained = self._parts.method.init(params)
        state = step_lib.TrainState(
            step=jnp.zeros((), jnp.int32),
            trained=trained,
            optimizer=self._parts.optimizer.init(trained),
        )
        return jax.tree.map(self._place, state)

    def _place(self, leaf: jax.Array) -> jax.Array:
        """Replicates a leaf, unless it lies on the mesh already, as full weights do."""
        if isinstance(leaf.sharding, NamedSharding):
            return leaf
        return jax.device_put(leaf, NamedSharding(self._own_mesh, PartitionSpec()))

    def _restored(self, state: step_lib.TrainState) -> step_lib.TrainState:
        """The first host's last checkpoint, or the state itself where there is none."""
        restored = state
        if self._checkpoints and self._checkpoints.latest is not None:
            restored, notes = self._checkpoints.restore(state)
            self.best = notes["best"]
        if jax.process_count() > 1:
            restored = multihost.from_first(restored)
        return jax.tree.map(lambda new, old: jax.device_put(new, old.sharding), restored, state)

    def _make_step(self) -> Callable[[step_lib.TrainState, Any, step_lib.Batch], Any]:
        loss = functools.partial(self._parts.method.loss, self._parts.factory.model)
        shardings = jax.tree.map(lambda leaf: leaf.sharding, self.state)
        step = step_lib.make_step(loss, self._parts.optimizer)
        return jax.jit(step, donate_argnums=0, out_shardings=(shardings, None))

    def compile(self) -> None:
        """Compiles the next step, if there is one to do."""
        for batch in itertools.islice(self.batches(), 1):
            self._step.lower(self.state, self._frozen, self._spread(batch)).compile()

    @property
    def steps_done(self) -> int:
        return int(self.state.step)

    @property
    def leads(self) -> bool:
        """Whether this host is the one that writes."""
        return self._checkpoints is not None

    def batches(self) -> Iterator[step_lib.Batch]:
        """Yields this host's part of each batch that is left, as NumPy arrays."""
        size = self._shape[1] // jax.process_count()
        share = slice(jax.process_index() * size, (jax.process_index() + 1) * size)
        for sequences in self._parts.steps.batches(self.steps_done, self._shape, share):
            yield step_lib.Batch.of(sequences)

    def learn(self, batch: step_lib.Batch) -> step_lib.Metrics:
        """Does one step, and waits for it."""
        self.state, metrics = self._step(self.state, self._frozen, self._spread(batch))
        return jax.device_get(metrics)

    def _spread(self, batch: step_lib.Batch) -> step_lib.Batch:
        """The batch on all devices, from this host's part of it."""
        return jax.tree.map(
            lambda leaf: jax.make_array_from_process_local_data(self._by_sequence, leaf), batch
        )

    def save(self) -> None:
        """Writes a checkpoint of this step, if there is none and this host leads."""
        if self._checkpoints:
            own = multihost.own(self.state, self._own_mesh)
            self._checkpoints.save(jax.device_get(own), {"best": self.best})

    def params(self) -> Any:
        """Parameters of gemma's plain model with what is trained, on this host's mesh."""
        trained = multihost.own(self.state.trained, self._own_mesh)
        return self._parts.method.merged(trained, self._own_frozen)

    def export(self, folder: Path, training: dict[str, Any]) -> None:
        """Writes what was trained, as a run loads it."""
        parts = self._parts
        parts.method.save(
            folder,
            multihost.own(self.state.trained, self._own_mesh),
            base=setup.base(parts),
            prompt={"name": parts.prompt.name, "sha256": parts.prompt.digest},
            training=training,
        )


def batch_shape(train: ml_collections.ConfigDict, mesh: Mesh) -> tuple[int, int]:
    """A step's sequences as (gradients accumulated, sequences at a time on all devices).

    Raises:
      InputError: the sequences cannot be divided evenly.
    """
    devices = mesh.shape[mesh_lib.DATA_AXIS]
    at_a_time = devices * train.sequences_per_device
    if train.sequences_per_step % at_a_time:
        raise errors.InputError(
            f"--config.train.sequences_per_step is {train.sequences_per_step}; it has to be a "
            f"multiple of {at_a_time}, the devices on the mesh's data axis ({devices}) times "
            f"--config.train.sequences_per_device ({train.sequences_per_device})"
        )
    return train.sequences_per_step // at_a_time, at_a_time

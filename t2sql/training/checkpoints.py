"""Checkpoints of a training: its state, and what has to be equal for it to go on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax import checkpoint as ocp

from t2sql import errors
from t2sql.training.step import TrainState

# Raise when the state or the order of the data changes.
FORMAT_VERSION = 1
_FOLDER = "checkpoints"


class Checkpoints:
    """The checkpoints in a training's output folder.

    Args:
      output: the folder.
      about: JSON values that decide the state's shapes and the order of the data. A checkpoint
        with others is refused.

    Raises:
      InputError: the folder cannot be written.
    """

    def __init__(self, output: Path, about: dict[str, Any]):
        self._folder = output.absolute() / _FOLDER
        self._about = {"format_version": FORMAT_VERSION, **about}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / ".writable").write_text("")
        except OSError as error:
            raise errors.InputError(
                f"--config.output: {self._folder} cannot be written: {error.strerror}"
            ) from error
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                create=False,
                max_to_keep=2,
                enable_async_checkpointing=False,
                cleanup_tmp_directories=True,
                # Only the first host writes, and does not wait for the others.
                multiprocessing_options=ocp.options.MultiprocessingOptions(
                    primary_host=0, active_processes={0}
                ),
            ),
        )

    @property
    def latest(self) -> int | None:
        """The step of the last complete checkpoint, None where there is none."""
        return self._manager.latest_step()

    def save(self, state: TrainState, notes: dict[str, Any]) -> None:
        """Writes a checkpoint, atomically: a process that dies meanwhile leaves none.

        Args:
          state: as NumPy arrays.
          notes: JSON values that `restore` returns.

        Raises:
          InputError: the disk is full or the folder cannot be written.
        """
        step = int(state.step)
        if step == self.latest:
            return
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(_tree(state)),
                    about=ocp.args.JsonSave({**self._about, "notes": notes}),
                ),
            )
        except OSError as error:
            raise errors.InputError(f"{self._folder}: cannot write step {step}: {error}") from error

    def restore(self, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """The last checkpoint's state, as NumPy arrays, and notes.

        Args:
          like: a state of the same shapes.

        Raises:
          RefusedError: the checkpoint is of another training.
          InputError: the checkpoint is damaged.
        """
        step = self.latest
        abstract = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
        try:
            about = self._manager.restore(
                step, args=ocp.args.Composite(about=ocp.args.JsonRestore())
            )
            self._check(about["about"])
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(state=ocp.args.StandardRestore(_tree(abstract))),
            )
        except (ValueError, OSError, KeyError, TypeError) as error:
            raise errors.InputError(
                f"{self._folder / str(step)}: the checkpoint is damaged ({error}); delete it to go "
                "on from the one before it, if there is one, or choose another --config.output"
            ) from error
        return TrainState(**restored["state"]), about["about"]["notes"]

    def _check(self, found: dict[str, Any]) -> None:
        known = {name: found.get(name) for name in self._about}
        for name, there, here in _differences(known, self._about):
            raise errors.RefusedError(
                f"{self._folder} is of a training with another {name}: {there!r} there, {here!r} "
                "here; choose another --config.output"
            )


def _differences(there: Any, here: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yields where nested dicts differ: the names with dots, and both values."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(here.keys() | there.keys()):
            yield from _differences(there.get(key), here.get(key), f"{name}.{key}".lstrip("."))
    elif there != here:
        yield name, there, here


def _tree(state: TrainState) -> dict[str, Any]:
    return {"step": state.step, "trained": state.trained, "optimizer": state.optimizer}

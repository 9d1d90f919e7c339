"""Checkpoints of a training: its state, and what it has to agree with to go on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax import checkpoint as ocp

from t2sql import errors
from t2sql.training.step import State

# Raise when the state or the order of the data changes.
FORMAT_VERSION = 1
_FOLDER = "checkpoints"


class Checkpoints:
    """The checkpoints in a training's output folder.

    Args:
      output: the folder.
      about: what decides the state's shapes and the order of the data; a training goes on
        with the same only.

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
                # The other hosts have nothing to add, and are not waited for.
                multiprocessing_options=ocp.options.MultiprocessingOptions(
                    primary_host=0, active_processes={0}
                ),
            ),
        )

    @property
    def latest(self) -> int | None:
        """The step of the last complete checkpoint, None where there is none."""
        return self._manager.latest_step()

    def save(self, state: State, notes: dict[str, Any]) -> None:
        """Writes a checkpoint; what is half written when the process dies is none.

        Args:
          state: all of it, as NumPy arrays.
          notes: JSON values to have back.

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

    def restore(self, like: State) -> tuple[State, dict[str, Any]]:
        """The last checkpoint's state, as NumPy arrays, and notes.

        Args:
          like: a state of the same shapes.

        Raises:
          RefusedError: it is of another training.
          InputError: it is damaged.
        """
        step = self.latest
        abstract = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
        try:
            about = self._manager.restore(
                step, args=ocp.args.Composite(about=ocp.args.JsonRestore())
            )
            self._check(about["about"])
            found = self._manager.restore(
                step,
                args=ocp.args.Composite(state=ocp.args.StandardRestore(_tree(abstract))),
            )
        except (ValueError, OSError, KeyError, TypeError) as error:
            raise errors.InputError(
                f"{self._folder / str(step)}: the checkpoint is damaged ({error}); delete it to go "
                "on from the one before it, if there is one, or choose another --config.output"
            ) from error
        return State(**found["state"]), about["about"]["notes"]

    def _check(self, found: dict[str, Any]) -> None:
        known = {name: found.get(name) for name in self._about}
        for name, there, here in _differences(known, self._about):
            raise errors.RefusedError(
                f"{self._folder} is of a training with another {name}: {there!r} there, {here!r} "
                "here; choose another --config.output"
            )


def _differences(there: Any, here: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The values of nested dicts that are not the same, by their names with dots."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(here.keys() | there.keys()):
            yield from _differences(there.get(key), here.get(key), f"{name}.{key}".lstrip("."))
    elif there != here:
        yield name, there, here


def _tree(state: State) -> dict[str, Any]:
    return {"step": state.step, "trained": state.trained, "optimizer": state.optimizer}

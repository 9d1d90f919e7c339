"""Checkpoints of a training: its state, and what has to be equal for it to go on."""

import sys
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
# What messages call values whose name in `about` is not that of their flag.
_WORDS = {"sequences": "[sequence_tokens, sequence_answers, sequences_per_step]"}


class Checkpoints:
    """The checkpoints in a training's output folder.

    Args:
      output: the folder.
      about: JSON values that decide the state's shapes and the order of the data. A checkpoint
        with others is refused.
      data_keys: values of the config that `about`'s digest of the data depends on, by their names.
        They say why the digest of a refused checkpoint differs.

    Raises:
      InputError: the folder cannot be written.
    """

    def __init__(self, output: Path, about: dict[str, Any], data_keys: dict[str, Any]):
        self._folder = output.absolute() / _FOLDER
        self._about = {"format_version": FORMAT_VERSION, **about}
        self._data_keys = data_keys
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
                    about=ocp.args.JsonSave(
                        {**self._about, "data_keys": self._data_keys, "notes": notes}
                    ),
                ),
            )
        except OSError as error:
            raise errors.InputError(f"{self._folder}: cannot write step {step}: {error}") from error

    def restore(self, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """The last checkpoint's state, as NumPy arrays, and notes.

        Args:
          like: a state with its shapes.

        Raises:
          RefusedError: the checkpoint is of another training.
          InputError: the checkpoint is damaged.
        """
        _hide_late_reads()
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

    def _check(self, saved: dict[str, Any]) -> None:
        """Refuses a checkpoint of another training, and names the value that differs."""
        known = {name: saved.get(name) for name in self._about}
        differences = list(_differences(known, self._about))
        # The data's digest comes last: the seed or the packing may have changed it.
        differences.sort(key=lambda difference: difference[0] == "data")
        for name, there, here in differences:
            if name == "data":
                name, there, here = self._why_data_differs(saved, there, here)
            raise errors.RefusedError(
                f"{self._folder} is of a training with another {_WORDS.get(name, name)}: "
                f"{there!r} there, {here!r} here; choose another --config.output"
            )

    def _why_data_differs(
        self, saved: dict[str, Any], there: str, here: str
    ) -> tuple[str, str, str]:
        keys = saved.get("data_keys")  # older checkpoints have none
        if keys is None:
            return f"data ({', '.join(self._data_keys)} or the files)", there, here
        in_files = (f"content of {self._data_keys['data.path']}", there, here)
        return next(_differences(keys, self._data_keys), in_files)


def _differences(there: Any, here: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yields where nested dicts differ: the names with dots, and both values."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(here.keys() | there.keys()):
            yield from _differences(there.get(key), here.get(key), f"{name}.{key}".lstrip("."))
    elif there != here:
        yield name, there, here


def _hide_late_reads() -> None:
    """Hides the tracebacks of reads that end after another one has failed.

    The first failed read closes Orbax's event loop. TensorStore's threads then raise for each
    read that still goes on, and Python prints a traceback for each, before the error that counts.
    """
    show = sys.unraisablehook

    def hook(unraisable) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            show(unraisable)

    sys.unraisablehook = hook


def _tree(state: TrainState) -> dict[str, Any]:
    return {"step": state.step, "trained": state.trained, "optimizer": state.optimizer}

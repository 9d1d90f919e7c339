"""Gemma checkpoints, onto the devices of one host.

gemma's own loader reads them. Around it: a check that model and checkpoint fit, placement on
the mesh, and no waiting for other hosts.
"""

import contextlib
import functools
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from jax.sharding import SingleDeviceSharding
from orbax import checkpoint as ocp

from t2sql import errors
from t2sql.model import mesh as mesh_lib
from t2sql.model import registry
from t2sql.model.light_gemma import gm

# What Orbax raises on files that are missing, cut or empty.
_DAMAGE = (ValueError, OSError, KeyError, TypeError)


def save_params(path: Path, params: Any) -> None:
    """Writes a checkpoint that loads fast: compression would double the time."""
    handler = ocp.PyTreeCheckpointHandler(
        use_compression=False, multiprocessing_options=_this_process()
    )
    with ocp.Checkpointer(handler, multiprocessing_options=_this_process()) as checkpointer:
        checkpointer.save(path, params)


class _Checked(Exception):
    """Ends gemma's loader once it has read the shapes."""


def check_params(path: Path, *, expected: Any, model: Any) -> None:
    """Compares a checkpoint's shapes with the model's; reads its metadata only.

    Raises:
      InputError: the metadata is damaged, or the checkpoint belongs to another model.
    """

    def check(stored: Any) -> Any:
        _check_fits(stored.tree, expected, path, type(model).__name__)
        raise _Checked

    with contextlib.suppress(_Checked):
        _load(path, check)


def load_params(path: Path, *, expected: Any, shardings: Any, model: Any) -> Any:
    """Reads each parameter of a checkpoint once, and places it on the mesh.

    Args:
      path: Orbax checkpoint, in any layout that gemma's loader knows.
      expected: tree of `jax.ShapeDtypeStruct`, what the model wants.
      shardings: tree of `jax.sharding.Sharding`.
      model: gemma's transformer.

    Raises:
      InputError: the checkpoint is damaged, or belongs to another model.
    """

    def spread(stored: Any) -> Any:
        _check_fits(stored.tree, expected, path, type(model).__name__)
        return _one_device_each(stored)

    return _place(_load(path, spread), expected, shardings)


def _load(path: Path, sharding: Callable[[Any], Any]) -> Any:
    """Runs gemma's loader; it calls `sharding` with the stored shapes before it reads arrays."""
    try:
        with _no_other_hosts():
            return gm.ckpts.load_params(path, text_only=True, sharding=sharding)
    except Exception as error:
        # Orbax raises a bare Exception where TensorStore cannot read.
        if type(error) is not Exception and not isinstance(error, _DAMAGE):
            raise
        raise errors.InputError(
            f"{path}: the checkpoint is damaged or incomplete ({_reason(error)});"
            " fetch it or copy it again"
        ) from error


def _one_device_each(stored: Any) -> Any:
    """Assigns each parameter to the device that holds least so far.

    Where a parameter is split, Orbax reads the file's chunk (often all of it) again for each
    part. Read for one device and then sent on, each byte is read once and held once.
    """
    leaves, structure = jax.tree.flatten(stored)
    held = dict.fromkeys(jax.local_devices(), 0)
    places = []
    for leaf in leaves:
        device = min(held, key=held.get)
        held[device] += leaf.size * leaf.dtype.itemsize
        places.append(SingleDeviceSharding(device))
    return jax.tree.unflatten(structure, places)


def _place(params: Any, expected: Any, shardings: Any) -> Any:
    """Casts each parameter and moves it to its place; frees the old copy before the next."""
    leaves, structure = jax.tree.flatten(params)
    targets = zip(jax.tree.leaves(expected), jax.tree.leaves(shardings), strict=True)
    for index, (like, sharding) in enumerate(targets):
        leaf = leaves[index]
        if leaf.dtype != like.dtype:
            leaf = leaf.astype(like.dtype)
            leaves[index].delete()
        leaves[index] = mesh_lib.place(leaf, sharding)
    return jax.tree.unflatten(structure, leaves)


def _check_fits(stored: Any, expected: Any, path: Path, model_name: str) -> None:
    stored_shapes, model_shapes = _shapes(stored), _shapes(expected)
    for name in sorted(stored_shapes.keys() | model_shapes.keys()):
        if stored_shapes.get(name) != model_shapes.get(name):
            raise errors.InputError(
                f"{path}: this checkpoint is not of {model_name}: {name} is"
                f" {stored_shapes.get(name, 'absent')} in the checkpoint and"
                f" {model_shapes.get(name, 'absent')} in the model; set --config.model.name"
                f" ({registry.looks_like(stored_shapes.get('embedder/input_embedding'))})"
            )


def _shapes(params: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {mesh_lib.path_name(path): leaf.shape for path, leaf in leaves}


def _reason(error: Exception) -> str:
    """Returns the first line of the error's cause."""
    cause = error.__cause__ or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0][:200]


def _this_process() -> ocp.options.MultiprocessingOptions:
    """Options under which Orbax takes this process to be the only one."""
    index = jax.process_index()
    return ocp.options.MultiprocessingOptions(primary_host=index, active_processes={index})


@contextlib.contextmanager
def _no_other_hosts() -> Iterator[None]:
    """Lets gemma's loader, which makes its own checkpointer, make one that waits for nobody."""
    loader = sys.modules[gm.ckpts.load_params.__module__]
    original = loader.ocp
    alone = functools.partial(
        original.StandardCheckpointer, multiprocessing_options=_this_process()
    )
    loader.ocp = types.SimpleNamespace(StandardCheckpointer=alone)
    try:
        yield
    finally:
        loader.ocp = original

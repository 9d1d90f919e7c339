"""Placement on eight devices: they have to be asked for before JAX starts, hence a process."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from dummy_files import make_factory

from t2sql import errors
from t2sql.model import mesh as mesh_lib

_PROGRAM = """
import sys
from pathlib import Path

import jax
import numpy as np
from dummy_files import make_factory, random_params
from t2sql import errors
from t2sql.model import checkpoints, mesh

folder = Path(sys.argv[1])
params = random_params(folder)
checkpoints.save_params(folder / "checkpoint", params)
assert jax.local_device_count() == 8

seen = []
place = checkpoints._place
def spy(loaded, *arguments):
    seen.append([leaf.devices() for leaf in jax.tree.leaves(loaded)])
    return place(loaded, *arguments)
checkpoints._place = spy

for parallel in (1, 2, 8):
    factory = make_factory(folder / "checkpoint", folder, parallel=parallel)
    assert dict(factory.mesh.shape) == {"data": 8 // parallel, "model": parallel}
    loaded = factory.load_params()
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a), b), loaded, params)
    for leaf, wanted in zip(
        jax.tree.leaves(loaded), jax.tree.leaves(mesh.param_shardings(loaded, factory.mesh))
    ):
        assert leaf.sharding.is_equivalent_to(wanted, leaf.ndim)
    for leaf in jax.tree.leaves(loaded):
        places = {shard.data.unsafe_buffer_pointer() for shard in leaf.addressable_shards}
        whole = leaf.sharding.is_fully_replicated and leaf.nbytes > 64
        assert len(places) == 1 or not whole, "a copy for each virtual device"
    odd = np.zeros(2**20 + 1, np.uint8)[1:]  # begins where no device reads in place
    whole = mesh.share(odd, mesh.NamedSharding(factory.mesh, mesh.PartitionSpec()))
    places = {shard.data.unsafe_buffer_pointer() for shard in whole.addressable_shards}
    assert len(places) == 1, "a copy for each virtual device of memory that NumPy laid out"
    held = [leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(loaded)]
    print(parallel, sum(held) / sum(leaf.nbytes for leaf in jax.tree.leaves(loaded)))

for devices in seen:
    assert all(len(one) == 1 for one in devices), "read for more than one device"
    assert len(set.union(*devices)) == 8, "read for few devices only"
try:
    make_factory("dummy:0", folder, parallel=3).mesh
except errors.InputError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    environ = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path_factory.mktemp("mesh"))]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_values_and_shardings_for_each_split(lines):
    share = {int(line.split()[0]): float(line.split()[1]) for line in lines[:3]}
    assert share[1] == 1
    assert 0.5 <= share[2] < 0.6  # Norms and the one key head stay whole.
    assert share[8] < 0.5  # Two query heads do not divide by eight, the rest does.


def test_a_split_that_does_not_divide_the_devices(lines):
    assert lines[3] == "--config.model.parallel is 3; it has to divide the 8 devices of a host"


@pytest.mark.parametrize("parallel", [0, -1, 1000])
def test_impossible_splits(parallel):
    with pytest.raises(errors.InputError, match=f"model.parallel is {parallel}"):
        mesh_lib.make_mesh(parallel)


def test_every_large_parameter_has_a_rule(tmp_path):
    """A parameter that the table of dimensions misses would be replicated unnoticed."""
    shapes = make_factory("dummy:0", tmp_path).abstract_params
    named = jax.tree_util.tree_leaves_with_path(shapes)
    for path, leaf in named:
        name = mesh_lib.path_name(path)
        kind = name.split("/", 1)[1] if name.startswith("layer_") else name
        assert kind in mesh_lib._SPLIT_DIMENSION or leaf.ndim == 1, name

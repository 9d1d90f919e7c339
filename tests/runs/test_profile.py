"""A profile of some steps lies where XProf looks for it."""

import jax
import jax.numpy as jnp

from t2sql import storage
from t2sql.runs import profile


def test_a_trace_of_some_blocks_is_written_through_storage(tmp_path):
    profiler = profile.Profiler(str(tmp_path / "trace"), storage.StorageConfig())
    for _ in range(40):
        profiler.on_step()
        jax.block_until_ready(jnp.ones(3) + 1)
    assert profiler.close() == 0  # it ended by itself
    (trace,) = (tmp_path / "trace" / "plugins" / "profile").iterdir()
    assert list(trace.glob("*.trace.json.gz")) and list(trace.glob("*.xplane.pb"))


def test_a_run_that_ends_early_has_its_trace(tmp_path):
    profiler = profile.Profiler(str(tmp_path), storage.StorageConfig())
    for _ in range(6):
        profiler.on_step()
    assert profiler.close() > 0


def test_without_a_folder_nothing_is_traced(tmp_path):
    profiler = profile.Profiler("", storage.StorageConfig())
    for _ in range(40):
        profiler.on_step()
    assert profiler.close() == 0

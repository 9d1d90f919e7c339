"""The compilation cache: kept on disk, or shared through a bucket."""

import jax
import jobs
import pytest
from jax.experimental.compilation_cache import compilation_cache

from t2sql.runs import storage


@pytest.fixture(autouse=True)
def own_cache():
    """JAX opens its cache once, for the first program of the process: here, not before."""
    before = jax.config.jax_compilation_cache_dir
    compilation_cache.reset_cache()
    jax.clear_caches()
    yield
    jax.config.update("jax_compilation_cache_dir", before)
    compilation_cache.reset_cache()


@pytest.mark.parametrize("remote", [False, True])
def test_programs_are_kept_and_found_again(tmp_path, bucket, remote):
    place = f"{bucket}/xla" if remote else str(tmp_path / "xla")
    hits = []
    jax.monitoring.register_event_listener(
        lambda name, **_: (
            hits.append(name) if name.endswith("compilation_cache/cache_hits") else None
        )
    )
    values = {"compilation_cache": place, "data.limit": 4}
    rows = jobs.run(tmp_path / "first", cache_dir=str(tmp_path / "host1"), **values)
    kept = storage.open_storage(place).names()
    assert kept
    hits.clear()
    jax.clear_caches()
    compilation_cache.reset_cache()
    again = jobs.run(tmp_path / "second", cache_dir=str(tmp_path / "host2"), **values)
    jax.monitoring.clear_event_listeners()
    assert again == rows
    assert len(hits) >= 4

"""The compilation cache: kept on disk, or shared through a bucket."""

from collections.abc import Iterator

import fault_proxy
import jax
import jax.numpy as jnp
import jobs
import pytest
from jax.experimental.compilation_cache import compilation_cache as jax_cache

from t2sql import errors, storage
from t2sql.runtime import compilation_cache


@pytest.fixture(autouse=True)
def own_cache():
    """JAX opens its cache once, for the first program of the process: here, not before."""
    before = jax.config.jax_compilation_cache_dir
    jax_cache.reset_cache()
    jax.clear_caches()
    yield
    jax.config.update("jax_compilation_cache_dir", before)
    jax_cache.reset_cache()


@pytest.fixture
def hits() -> Iterator[list[str]]:
    """A name for each program that JAX finds in its cache."""
    names = []

    def listen(name: str, **_) -> None:
        if name.endswith("compilation_cache/cache_hits"):
            names.append(name)

    jax.monitoring.register_event_listener(listen)
    yield names
    jax.monitoring.clear_event_listeners()


def _compile(location: str, cache_dir) -> None:
    """Compiles a program as a new process would, with the cache at `location`."""
    jax.clear_caches()
    jax_cache.reset_cache()
    cache = compilation_cache.CompilationCache(location, cache_dir, storage.StorageConfig())
    with cache.open():
        jax.jit(lambda x: jnp.sin(x) @ x).lower(jnp.ones((8, 8))).compile()
    cache.close()


@pytest.mark.parametrize("remote", [False, True])
def test_programs_are_kept_and_found_again(tmp_path, bucket, hits, remote):
    location = f"{bucket}/xla" if remote else str(tmp_path / "xla")
    _compile(location, tmp_path / "host1")
    assert storage.open_storage(location).names()
    hits.clear()
    _compile(location, tmp_path / "host2")
    assert hits


def test_a_second_run_finds_all_of_its_programs(tmp_path, hits):
    values = {"compilation_cache": str(tmp_path / "xla"), "data.limit": 4}
    rows = jobs.run(tmp_path / "first", **values)
    hits.clear()
    jax.clear_caches()
    jax_cache.reset_cache()
    assert jobs.run(tmp_path / "second", **values) == rows
    assert len(hits) >= 4


def test_a_cache_that_cannot_be_written_is_bad_input(tmp_path):
    (tmp_path / "file").write_text("in the way")
    location = str(tmp_path / "file" / "xla")
    with pytest.raises(errors.InputError, match="compilation_cache: cannot write to .*xla"):
        _compile(location, tmp_path)


def test_a_bucket_that_may_only_be_read_costs_a_warning(
    tmp_path, bucket, gcs_server, monkeypatch, caplog
):
    def refuse_uploads(request):
        return fault_proxy.Fault.STATUS_403 if request.is_upload else fault_proxy.Fault.NONE

    with fault_proxy.running(gcs_server.url, refuse_uploads) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        _compile(f"{bucket}/xla", tmp_path)
    assert "the compiled programs are not kept: gs://" in caplog.text
    assert "roles/storage.objectUser" in caplog.text


def test_jax_has_its_own_cache_back_afterwards(tmp_path):
    before = jax.config.jax_compilation_cache_dir
    location = tmp_path / "xla"
    _compile(str(location), tmp_path)
    assert jax.config.jax_compilation_cache_dir == before
    assert any(location.iterdir()) and not any(path.is_symlink() for path in location.iterdir())

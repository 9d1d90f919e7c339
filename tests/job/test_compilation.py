"""The compilation cache: kept on disk, or shared through a bucket."""

import fault_proxy
import jax
import jobs
import pytest
from jax.experimental.compilation_cache import compilation_cache

from t2sql import errors
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


def test_a_cache_that_cannot_be_written_is_bad_input(tmp_path):
    (tmp_path / "file").write_text("in the way")
    place = str(tmp_path / "file" / "xla")
    with pytest.raises(errors.InputError, match="compilation_cache: cannot write to .*xla"):
        jobs.run(tmp_path / "run", **{"compilation_cache": place, "data.limit": 4})


def test_a_bucket_that_may_only_be_read_costs_a_warning(
    tmp_path, bucket, gcs_server, monkeypatch, caplog
):
    def refuse_uploads(request):
        return fault_proxy.Fault.STATUS_403 if request.is_upload else fault_proxy.Fault.NONE

    with fault_proxy.running(gcs_server.url, refuse_uploads) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        values = {"compilation_cache": f"{bucket}/xla", "data.limit": 4}
        rows = jobs.run(tmp_path / "run", cache_dir=str(tmp_path / "host"), **values)
    assert len(rows) == 4
    assert "the compiled programs are not kept: gs://" in caplog.text
    assert "roles/storage.objectUser" in caplog.text


def test_jax_has_its_own_cache_back_afterwards(tmp_path):
    before = jax.config.jax_compilation_cache_dir
    place = tmp_path / "xla"
    jobs.run(tmp_path / "run", **{"compilation_cache": str(place), "data.limit": 4})
    assert jax.config.jax_compilation_cache_dir == before
    assert not any(path.is_symlink() for path in place.iterdir())

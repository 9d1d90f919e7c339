"""A copy of a bucket of which only what is asked for comes to the disk."""

import multiprocessing
import os

import fault_proxy
import pytest
from fault_proxy import Fault

from t2sql import errors, storage
from t2sql.storage import on_demand, stage

FILES = {
    "dev.json": b"[]",
    "database/a/a.sqlite": b"a" * 100_000,
    "database/a/schema.sql": b"CREATE",
    "database/b/b.sqlite": b"b" * 1000,
}
CONFIG = storage.StorageConfig(
    first_delay_s=0.005, max_delay_s=0.02, deadline_s=0.3, request_timeout_s=0.25
)


@pytest.fixture
def url(bucket):
    source = storage.open_storage(f"{bucket}/spider", CONFIG)
    for name, data in FILES.items():
        source.create(name, data)
    return source.url


@pytest.fixture
def proxy(gcs_server, url, monkeypatch):
    """A proxy that counts the requests."""
    with fault_proxy.running(gcs_server.url, lambda request: Fault.NONE) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        yield proxy


def folder_of(name: str) -> str:
    return name.rpartition("/")[0]


def open_copy(url, cache) -> on_demand.OnDemandCopy:
    return on_demand.OnDemandCopy(url, cache, folder_of, CONFIG)


def fetch_all(url, cache) -> None:
    copy = open_copy(url, cache)
    copy.fetch("database/a")
    copy.fetch("database/b")


def files(copy) -> set[str]:
    paths = (path for path in copy.path.rglob("*") if path.is_file())
    return {path.relative_to(copy.path).as_posix() for path in paths}


def downloads(proxy) -> int:
    return sum(request.is_download for request, _ in proxy.seen)


def test_a_folder_comes_when_it_is_asked_for_and_once(url, proxy, tmp_path):
    copy = open_copy(url, tmp_path)
    assert files(copy) == {"dev.json"}
    assert (copy.path / "database").is_dir()
    for _ in range(2):
        copy.fetch("database/a")
    assert files(copy) == {*FILES} - {"database/b/b.sqlite"}
    assert (copy.path / "database/a/a.sqlite").read_bytes() == FILES["database/a/a.sqlite"]
    open_copy(url, tmp_path).fetch("database/a")
    assert downloads(proxy) == 3
    copy.fetch("database/nowhere")
    assert downloads(proxy) == 3


def test_what_is_fetched_ahead_is_not_fetched_again(url, proxy, tmp_path):
    copy = open_copy(url, tmp_path)
    copy.prefetch(["database/b", "database/nowhere", "database/a"])
    copy.fetch("database/a")
    copy.fetch("database/b")
    assert files(copy) == {*FILES}
    assert downloads(proxy) == len(FILES)


def test_a_whole_copy_is_used_as_it_is(url, proxy, tmp_path):
    whole = stage.stage_directory(url, tmp_path, CONFIG)
    copy = open_copy(url, tmp_path)
    copy.fetch("database/a")
    assert copy.path == whole
    assert downloads(proxy) == len(FILES)


def test_a_changed_source_is_another_copy(url, tmp_path):
    before = open_copy(url, tmp_path)
    storage.open_storage(url, CONFIG).create("database/a/new.sqlite", b"new")
    assert open_copy(url, tmp_path).path != before.path


def test_a_file_that_was_cut_is_fetched_again(url, tmp_path):
    copy = open_copy(url, tmp_path)
    copy.fetch("database/a")
    os.truncate(copy.path / "database/a/a.sqlite", 500)
    open_copy(url, tmp_path).fetch("database/a")
    assert (copy.path / "database/a/a.sqlite").read_bytes() == FILES["database/a/a.sqlite"]


def test_damage_on_the_way_is_never_taken_for_the_file(url, gcs_server, tmp_path, monkeypatch):
    def damage_a(request):
        return (
            Fault.DAMAGED_REPLY
            if request.is_download and "a.sqlite" in request.path
            else (Fault.NONE)
        )

    with fault_proxy.running(gcs_server.url, damage_a) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        copy = open_copy(url, tmp_path)
        copy.prefetch(["database/a"])
        with pytest.raises(errors.TryAgainError):
            copy.fetch("database/a")
    assert "database/a/a.sqlite" not in files(copy)


def test_processes_that_share_a_cache_may_fetch_at_once(url, tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=fetch_all, args=(url, tmp_path)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 3
    assert files(open_copy(url, tmp_path)) == {*FILES}


def test_a_hostile_name_cannot_leave_the_cache(url, gcs_server, tmp_path):
    from google.cloud import storage as google_storage

    bucket = google_storage.Client(project=None).bucket(url.removeprefix("gs://").split("/")[0])
    bucket.blob("spider/database/../../../escaped").upload_from_string(b"evil")
    with pytest.raises(errors.InputError, match="cannot be an object's name"):
        open_copy(url, tmp_path / "deep" / "cache")
    assert not list(tmp_path.rglob("escaped"))


def test_nothing_under_the_url_is_bad_input(bucket, tmp_path):
    with pytest.raises(errors.InputError, match="nothing lies there"):
        open_copy(f"{bucket}/nothing", tmp_path)

"""Remote directories staged to local disk: whole, verified, once."""

import multiprocessing
import os

import fault_proxy
import pytest
from fault_proxy import Fault

from t2sql import errors, storage
from t2sql.storage import stage

FILES = {"dev.json": b"[]", "database/a/a.sqlite": b"a" * 100_000, "database/b/b.sqlite": b""}
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
    """A proxy that counts the requests of the staging."""
    with fault_proxy.running(gcs_server.url, lambda request: Fault.NONE) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        yield proxy


def _files(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def _downloads(proxy):
    return sum(request.is_download for request, _ in proxy.seen)


def test_a_directory_is_staged_whole_and_only_once(url, proxy, tmp_path):
    staged = stage.stage_directory(url, tmp_path / "cache", CONFIG)
    assert _files(staged) == FILES
    assert staged.name.startswith("spider-")
    assert _downloads(proxy) == len(FILES)
    assert stage.stage_directory(url, tmp_path / "cache", CONFIG) == staged
    assert _downloads(proxy) == len(FILES)


def test_a_changed_source_is_staged_anew_beside_the_old_copy(url, tmp_path):
    before = stage.stage_directory(url, tmp_path, CONFIG)
    storage.open_storage(url, CONFIG).create("tables.json", b"{}")
    after = stage.stage_directory(url, tmp_path, CONFIG)
    assert _files(before) == FILES
    assert _files(after) == {**FILES, "tables.json": b"{}"}


def test_an_interrupted_staging_continues_with_what_is_missing(
    url, gcs_server, tmp_path, monkeypatch
):
    def fail_on_a(request):
        return Fault.STATUS_503 if "a.sqlite" in request.path else Fault.NONE

    with fault_proxy.running(gcs_server.url, fail_on_a) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        with pytest.raises(errors.TryAgainError, match="gave up"):
            stage.stage_directory(url, tmp_path, CONFIG)
    assert [path.suffix for path in tmp_path.iterdir() if path.is_dir()] == [".partial"]
    with fault_proxy.running(gcs_server.url, lambda request: Fault.NONE) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        assert _files(stage.stage_directory(url, tmp_path, CONFIG)) == FILES
        assert _downloads(proxy) == 1


@pytest.mark.parametrize("change", ["cut", "deleted"])
def test_a_copy_that_lost_bytes_is_noticed_and_mended(url, proxy, tmp_path, change):
    staged = stage.stage_directory(url, tmp_path, CONFIG)
    if change == "cut":
        os.truncate(staged / "database/a/a.sqlite", 500)
    else:
        (staged / "database/a/a.sqlite").unlink()
    assert _files(stage.stage_directory(url, tmp_path, CONFIG)) == FILES
    assert _downloads(proxy) == len(FILES) + 1


def test_half_written_files_of_a_killed_staging_are_not_trusted(url, tmp_path):
    staged = stage.stage_directory(url, tmp_path, CONFIG)
    partial = staged.rename(staged.with_name(f"{staged.name}.partial"))
    (partial / "database/a/a.sqlite").write_bytes(b"b" * 100_000)
    assert _files(stage.stage_directory(url, tmp_path, CONFIG)) == FILES


def test_processes_that_share_a_cache_stage_it_once(url, proxy, tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=stage.stage_directory, args=(url, tmp_path, CONFIG))
        for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 3
    assert _downloads(proxy) == len(FILES)


def test_nothing_under_the_url_is_bad_input_unless_it_may_be_empty(bucket, tmp_path):
    with pytest.raises(errors.InputError, match="nothing lies there"):
        stage.stage_directory(f"{bucket}/nothing", tmp_path, CONFIG)
    empty = stage.stage_directory(f"{bucket}/nothing", tmp_path, CONFIG, may_be_empty=True)
    assert _files(empty) == {}


def test_a_hostile_name_cannot_leave_the_cache(url, gcs_server, tmp_path):
    from google.cloud import storage as google_storage

    bucket_name = url.removeprefix("gs://").split("/")[0]
    bucket = google_storage.Client(project=None).bucket(bucket_name)
    bucket.blob("spider/../../escaped").upload_from_string(b"evil")
    with pytest.raises(errors.InputError, match="cannot be an object's name"):
        stage.stage_directory(url, tmp_path / "deep" / "cache", CONFIG)
    assert not list(tmp_path.rglob("escaped"))


def test_a_cache_that_cannot_be_made_is_bad_input(url, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.InputError, match="file"):
        stage.stage_directory(url, tmp_path / "file" / "cache", CONFIG)


def test_publishing_creates_what_is_missing_and_replaces_nothing(url, bucket, tmp_path):
    staged = stage.stage_directory(url, tmp_path / "cache", CONFIG)
    (staged / "new-cache").write_bytes(b"compiled")
    (staged / "dev.json").write_bytes(b"[1]")
    assert stage.publish_directory(staged, url, CONFIG) == 1
    remote = storage.open_storage(url, CONFIG)
    assert remote.names() == {*FILES, "new-cache"}
    assert remote.read("dev.json") == b"[]"

"""gs:// through the real client against a real server on loopback."""

import pytest
from google.cloud import storage as google_storage

from t2sql import errors, storage

QUICK = storage.StorageConfig(
    first_delay_s=0.01, max_delay_s=0.05, deadline_s=0.6, request_timeout_s=2.0
)


@pytest.fixture
def run(bucket):
    return storage.open_storage(f"{bucket}/some/run/", QUICK)


def test_the_server_itself_keeps_the_precondition_the_layer_stands_on(bucket):
    blobs = google_storage.Client(project=None).bucket(bucket.removeprefix("gs://"))
    blobs.blob("name").upload_from_string(b"first", if_generation_match=0)
    with pytest.raises(Exception, match="412"):
        blobs.blob("name").upload_from_string(b"second", if_generation_match=0)
    assert blobs.blob("name").download_as_bytes() == b"first"


def test_an_object_is_created_once_and_never_replaced(run):
    assert run.create("predictions/a.jsonl", b"one") is storage.Outcome.CREATED
    assert run.create("predictions/a.jsonl", b"one") is storage.Outcome.SAME
    assert run.create("predictions/a.jsonl", b"two") is storage.Outcome.OTHER
    assert run.read("predictions/a.jsonl") == b"one"


def test_objects_lie_below_the_prefix_of_the_url(run, bucket, gcs_server):
    run.create("run.json", b"{}")
    assert gcs_server.objects(bucket.removeprefix("gs://")) == {"some/run/run.json": b"{}"}


@pytest.mark.parametrize("name", ["a b#?%.txt", "ü/文.jsonl", "x" * 200])
def test_names_survive_the_url(run, name):
    run.create(name, b"1")
    assert run.names() == {name}
    assert run.read(name) == b"1"


def test_listing_tells_size_and_checksum(run):
    for name, data in [("p/b", b"22"), ("p/a", b""), ("q", b"x" * 70_000)]:
        run.create(name, data)
    assert run.list("p/") == [
        storage.ObjectInfo(name="p/a", size=0, crc32c=storage.checksum(b"")),
        storage.ObjectInfo(name="p/b", size=2, crc32c=storage.checksum(b"22")),
    ]
    assert run.names("p/") == {"p/a", "p/b"}
    assert run.read("p/a") == b""


def test_an_object_above_the_clients_limit_for_one_request_arrives_whole(run):
    data = bytes(range(256)) * (36 << 10)
    assert run.create("done.json", data) is storage.Outcome.CREATED
    assert run.list()[0].crc32c == storage.checksum(data)
    assert run.read("done.json") == data


def test_several_prefixes_are_one_listing(run):
    for name in ("p/1", "p/2", "q/1", "r"):
        run.create(name, b"x")
    assert run.names("p/", "q/", "nothing") == {"p/1", "p/2", "q/1"}
    assert [info.name for info in run.list("q/", "p/")] == ["p/1", "p/2", "q/1"]


def test_a_neighbour_whose_name_begins_alike_is_not_listed(run, bucket):
    storage.open_storage(f"{bucket}/some/run2", QUICK).create("x", b"")
    assert run.names() == set()


def test_a_folder_made_in_the_console_is_no_object(run, bucket):
    client = google_storage.Client(project=None).bucket(bucket.removeprefix("gs://"))
    client.blob("some/run/predictions/").upload_from_string(b"")
    assert run.names() == set()
    assert run.list() == []


def test_a_missing_object_is_told_from_a_missing_bucket(run, gcs_server):
    assert not run.exists("run.json")
    with pytest.raises(FileNotFoundError, match=r"gs://bucket-\d+/some/run/run.json"):
        run.read("run.json")
    nowhere = storage.open_storage("gs://no-such-bucket/run", QUICK)
    for call in (
        lambda: nowhere.read("run.json"),
        lambda: nowhere.exists("run.json"),
        lambda: nowhere.create("run.json", b""),
        lambda: nowhere.names(),
        lambda: nowhere.list(),
    ):
        with pytest.raises(errors.InputError, match="there is no bucket 'no-such-bucket'"):
            call()


def test_deleting_many_objects_and_those_already_gone(run):
    names = [f"p/{i}" for i in range(30)]
    for name in names:
        run.create(name, b"1")
    run.delete([*names, "p/never-was"])
    assert run.names() == set()
    assert run.create("p/0", b"2") is storage.Outcome.CREATED


def test_download_writes_the_bytes_to_a_file(run, tmp_path):
    run.create("weights", b"w" * 100_000)
    run.download("weights", tmp_path / "weights")
    assert (tmp_path / "weights").read_bytes() == b"w" * 100_000
    with pytest.raises(FileNotFoundError):
        run.download("nothing", tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("name", ["../up", "/absolute", "a//b", "a/./b", "", "a\\b", "a\0b"])
def test_a_name_that_leaves_its_directory_is_refused(run, name):
    with pytest.raises(errors.InputError, match="cannot be an object's name"):
        run.create(name, b"")


@pytest.mark.parametrize("url", ["gs://", "gs:///run", "gs://-bad-/run"])
def test_a_url_without_a_sound_bucket_is_refused(bucket, url):
    with pytest.raises(errors.InputError, match="bucket name"):
        storage.open_storage(url, QUICK)


def test_no_server_at_all_ends_in_try_again_after_the_deadline(monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    with pytest.raises(errors.TryAgainError, match="gave up after 0.6 s"):
        storage.open_storage("gs://bucket/run", QUICK).names()


def test_an_endpoint_that_is_no_url_is_refused(monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "nonsense")
    with pytest.raises(errors.InputError, match="nonsense"):
        storage.open_storage("gs://bucket/run", QUICK).names()


def test_an_object_is_withdrawn_only_with_the_bytes_that_it_holds(run):
    run.create("p/unit", b"broken")
    assert not run.withdraw("p/unit", b"other")
    assert run.withdraw("p/unit", b"broken")
    assert not run.withdraw("p/unit", b"broken")
    assert run.create("p/unit", b"whole") is storage.Outcome.CREATED
    assert [info.name for info in run.list("p/", only={"p/unit", "p/other"})] == ["p/unit"]

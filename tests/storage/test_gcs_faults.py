"""A fault-injecting proxy between the real client and a real server."""

import json
import random

import fault_proxy
import pytest
from fault_proxy import Fault
from small_run import Example, make_plan, make_rows, open_run, write

from t2sql import errors, storage
from t2sql.runs import predictions, reader

PASSING = [
    Fault.STATUS_429,
    Fault.STATUS_500,
    Fault.STATUS_503,
    Fault.RESET_BEFORE,
    Fault.RESET_AFTER,
    Fault.LOST_REPLY,
    Fault.TRUNCATED_REPLY,
    Fault.SLOW,
]
UPLOAD_FAULTS = [*PASSING, Fault.DAMAGED_UPLOAD, Fault.REFUSED_UPLOAD, Fault.WRONG_CHECKSUM]
DOWNLOAD_FAULTS = [*PASSING, Fault.DAMAGED_REPLY, Fault.WRONG_CHECKSUM]
# The write was done before the fault, so the second try meets our own object.
WRITTEN_BEFORE = {Fault.RESET_AFTER, Fault.LOST_REPLY, Fault.TRUNCATED_REPLY, Fault.SLOW}

CONFIG = storage.StorageConfig(
    first_delay_s=0.005, max_delay_s=0.02, deadline_s=5.0, request_timeout_s=0.25
)


@pytest.fixture
def through(gcs_server, bucket, monkeypatch):
    """Opens a run whose requests go through a proxy with the given choice of faults."""
    proxies = []

    def open_run(choose, config=CONFIG):
        running = fault_proxy.running(gcs_server.url, choose)
        proxy = running.__enter__()
        proxies.append(running)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        return storage.open_storage(f"{bucket}/run", config), proxy

    yield open_run
    for running in proxies:
        running.__exit__(None, None, None)


def _upload(request):
    return request.is_upload


def _download(request):
    return request.is_download


def _listing(request):
    return request.method == "GET" and "/o?" in request.path


@pytest.mark.parametrize("fault", UPLOAD_FAULTS)
def test_an_upload_survives_the_fault_and_is_there_once(through, gcs_server, bucket, fault):
    run, proxy = through(fault_proxy.once_each(_upload, fault))
    outcome = run.create("unit", b"payload")
    retried = fault in WRITTEN_BEFORE
    assert outcome is (storage.Outcome.SAME if retried else storage.Outcome.CREATED)
    assert proxy.count(fault) == 1
    assert gcs_server.objects(bucket.removeprefix("gs://")) == {"run/unit": b"payload"}


def test_a_lost_reply_does_not_hide_another_processs_other_bytes(through):
    run, _ = through(fault_proxy.once_each(_upload, Fault.NONE, Fault.STATUS_503))
    run.create("unit", b"theirs")
    assert run.create("unit", b"ours") is storage.Outcome.OTHER
    assert run.read("unit") == b"theirs"


@pytest.mark.parametrize("fault", DOWNLOAD_FAULTS)
def test_a_download_survives_the_fault_with_the_right_bytes(through, tmp_path, fault):
    run, proxy = through(fault_proxy.once_each(_download, fault, Fault.NONE, fault))
    run.create("unit", b"payload" * 10_000)
    assert run.read("unit") == b"payload" * 10_000
    run.download("unit", tmp_path / "unit")
    assert (tmp_path / "unit").read_bytes() == b"payload" * 10_000
    assert proxy.count(fault) == 2


@pytest.mark.parametrize("fault", PASSING)
def test_a_listing_survives_the_fault(through, fault):
    run, proxy = through(fault_proxy.once_each(_listing, fault))
    for name in ("a", "b"):
        run.create(name, b"1")
    assert run.names() == {"a", "b"}
    assert proxy.count(fault) == 1


@pytest.mark.parametrize("fault", [Fault.STATUS_503, Fault.RESET_BEFORE, Fault.SLOW])
def test_a_fault_that_does_not_pass_ends_in_try_again(through, fault):
    config = storage.StorageConfig(
        first_delay_s=0.01, max_delay_s=0.05, deadline_s=0.4, request_timeout_s=0.05
    )
    run, _ = through(lambda request: fault, config)
    with pytest.raises(errors.TryAgainError, match=r"gs://.*: gave up after 0.4 s of trying; last"):
        run.create("unit", b"payload")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault.STATUS_401, "Google credentials, or they were refused"),
        (Fault.STATUS_403, "no permission.*roles/storage.objectUser"),
        (Fault.STATUS_404, "there is no bucket"),
    ],
)
def test_a_fault_that_cannot_pass_ends_at_once_in_bad_input(through, fault, message):
    run, proxy = through(lambda request: fault)
    for call in (
        lambda: run.create("unit", b"payload"),
        lambda: run.read("unit"),
        lambda: run.exists("unit"),
        lambda: run.list(),
    ):
        before = len(proxy.seen)
        with pytest.raises(errors.InputError, match=rf"(?s){message}"):
            call()
        assert len(proxy.seen) - before <= 2


def test_a_retry_is_told_in_the_log(through, caplog):
    run, _ = through(fault_proxy.once_each(_upload, Fault.STATUS_503))
    run.create("unit", b"payload")
    assert "trying again after: ServiceUnavailable" in caplog.text


def _random_mix(seed):
    """A third of all requests meets a fault; which one depends on what the request is."""
    chance = random.Random(seed)

    def choose(request):
        if chance.random() > 1 / 3:
            return Fault.NONE
        if request.is_upload:
            return chance.choice(UPLOAD_FAULTS)
        return chance.choice(DOWNLOAD_FAULTS if request.is_download else PASSING)

    return choose


PLAN = make_plan([Example(f"dev/{i:04d}", f"db{i % 200}") for i in range(600)], unit_size=4)


def _work(url, config):
    """What a host does: joins the run and writes the units that nobody wrote yet."""
    run = open_run(url, plan=PLAN, config=config)
    finished = run.finished()
    write(run, [unit for unit in PLAN if unit.name not in finished])
    return run.write_done_if_complete()


def _assert_complete(gcs_server, bucket):
    """Every object is there once with its own bytes, seen without proxy and client."""
    there = gcs_server.objects(bucket.removeprefix("gs://"))
    done = json.loads(there.pop("run/done.json"))
    assert json.loads(there.pop("run/run.json"))["units"] == len(PLAN) == 200
    there = {name: data for name, data in there.items() if "/checksums/" not in name}
    assert there == {f"run/{unit.name}": predictions.encode_rows(make_rows(unit)) for unit in PLAN}
    for unit in PLAN:
        assert done["objects"][unit.name]["crc32c"] == storage.checksum(there[f"run/{unit.name}"])


def test_a_run_of_200_units_through_a_random_mix_of_faults(through, gcs_server, bucket):
    config = storage.StorageConfig(
        first_delay_s=0.002,
        max_delay_s=0.01,
        deadline_s=20,
        request_timeout_s=0.1,
        upload_threads=8,
    )
    run, proxy = through(_random_mix(seed=4), config)
    assert _work(run.url, config)
    _assert_complete(gcs_server, bucket)
    contents = reader.read_run(run.url, config)
    read = [row.example_id for unit in contents.units() for row in unit.rows]
    assert sorted(read) == [f"dev/{i:04d}" for i in range(600)]
    assert {fault for _, fault in proxy.seen} >= {*UPLOAD_FAULTS, *DOWNLOAD_FAULTS}


def test_a_job_stopped_by_faults_is_finished_by_the_second_run(through, gcs_server, bucket):
    config = storage.StorageConfig(
        first_delay_s=0.01, max_delay_s=0.02, deadline_s=0.1, request_timeout_s=0.1
    )
    up = iter(range(80))
    run, _ = through(lambda _: Fault.RESET_AFTER if next(up, None) is None else Fault.NONE, config)
    with pytest.raises(errors.TryAgainError, match="gave up"):
        _work(run.url, config)
    patient = storage.StorageConfig(first_delay_s=0.01, max_delay_s=0.02)
    run, proxy = through(lambda request: Fault.NONE, patient)
    assert _work(run.url, patient)
    _assert_complete(gcs_server, bucket)
    assert sum(request.is_upload for request, _ in proxy.seen) < 150

"""`launch/tpu/run.sh` from an empty project to the report, through a preemption in the middle."""

import contextlib
import json
import re
import socket
import subprocess
import time

import fake_gcloud
import fault_proxy
import pods

EXAMPLES = pods.EXAMPLES
UNITS = EXAMPLES // 2


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def written(gcs_server, bucket) -> dict[str, bytes]:
    objects = gcs_server.objects(bucket.removeprefix("gs://"))
    return {name: body for name, body in objects.items() if name.endswith(".jsonl")}


@contextlib.contextmanager
def running(command, cloud, log):
    """Runs a command with its output in a file, and ends it at the latest at the end."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env=cloud.environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(condition, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_pod_goes_from_create_to_report_through_a_preemption(
    cloud, gcs_server, bucket, tmp_path, pod_cache
):
    # Uploads take half a second each, so that the preemption falls among them.
    def slow_uploads(request):
        return fault_proxy.Fault.SLOW if request.is_upload else fault_proxy.Fault.NONE

    log = tmp_path / "log"
    data = pods.write_data(tmp_path / "data")
    job = [*pods.Pods(tmp_path, pod_cache).job_flags(), "--config.storage.upload_threads=1"]
    flags = [f"--output={bucket}/run", f"--report-data={data}", "--poll-seconds=1"]
    flags += [f"--coordinator-port={free_port()}"]
    with fault_proxy.running(gcs_server.url, slow_uploads) as proxy:
        cloud.set_worker_environment(
            STORAGE_EMULATOR_HOST=proxy.url,
            T2SQL_PYTHON=cloud.environment["T2SQL_PYTHON"],
            T2SQL_CACHE=str(pod_cache),
            JAX_PLATFORMS="cpu",
        )
        with running(cloud.command("run", *flags, "--", *job), cloud, log) as process:
            wait_for(lambda: written(gcs_server, bucket) or process.poll() is not None, 120)
            fake_gcloud.preempt()
            before = written(gcs_server, bucket)
            assert 0 < len(before) < UNITS, log.read_text()
            assert process.wait(240) == 0, log.read_text()
    assert re.search("(was preempted|is PREEMPTED): asking for it again", log.read_text())
    assert_complete(gcs_server, bucket, before)
    assert len(cloud.calls("compute", "tpus", "queued-resources", "create")) == 2
    assert not (cloud.state / "slice.json").exists()
    assert not fake_gcloud.worker_processes()
    assert (cloud.results / "report" / "report.html").exists()
    (logs,) = cloud.results.glob("logs-*")
    assert sorted(path.name for path in logs.iterdir()) == [f"{i}.log" for i in range(4)]


def assert_complete(gcs_server, bucket, before: dict[str, bytes]) -> None:
    objects = gcs_server.objects(bucket.removeprefix("gs://"))
    units = written(gcs_server, bucket)
    assert len(units) == UNITS
    assert before.items() <= units.items()
    rows = [json.loads(line) for body in units.values() for line in body.splitlines()]
    assert sorted(row["example_id"] for row in rows) == [f"dev/{i:04d}" for i in range(EXAMPLES)]
    assert json.loads(objects["run/done.json"])["examples"] == EXAMPLES
    assert json.loads(objects["run/run.json"])["recorded"]["hosts"] == 4

"""Pods of every shape write the same bytes, whatever is killed on the way."""

import contextlib
import json
import random
import socket
import subprocess
import time

import pods as pods_lib
import pytest

from t2sql import storage


@pytest.fixture(scope="module")
def pods(tmp_path_factory, pod_cache) -> pods_lib.Pods:
    root = tmp_path_factory.mktemp("pods")
    pods_lib.write_data(root / "data")
    return pods_lib.Pods(root, pod_cache)


@pytest.fixture(scope="module")
def expected(pods) -> dict[str, bytes]:
    """What one host with one device writes when nothing disturbs it."""
    return run_undisturbed(pods, hosts=1)


def run_undisturbed(pods, *, hosts: int) -> dict[str, bytes]:
    output = pods.root / f"undisturbed-{hosts}"
    pods.run(output, hosts=hosts)
    written = pods_lib.objects(output)
    rows = b"".join(body for name, body in written.items() if name != "done.json").splitlines()
    assert len(rows) == len(json.loads((pods.root / "data" / "dev.json").read_text()))
    assert "done.json" in written
    return written


def wait_for_objects(output, count: int, process) -> None:
    deadline = time.monotonic() + 120
    while len(pods_lib.objects(output)) < count:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def wait_for_hosts(hosts) -> list[str]:
    """Waits for processes that have to succeed; returns what each printed."""
    told = []
    for host in hosts:
        told.append(host.communicate(timeout=240)[0])
        assert host.returncode == 0, told[-1]
    return told


@pytest.mark.parametrize(("hosts", "devices"), [(1, 8), (2, 4), (4, 2)])
def test_every_shape_of_a_pod_writes_the_same_bytes(pods, expected, hosts, devices):
    output = pods.root / f"{hosts}x{devices}"
    said = pods.run(output, hosts=hosts, devices=devices)
    assert pods_lib.objects(output) == expected
    assert f"on {devices} x cpu" in said
    assert ("host: process 0 of" in said) == (hosts > 1)


def test_what_four_hosts_began_two_finish(pods, expected):
    output = pods.root / "begun"
    process = pods.start(output, hosts=4, devices=2)
    wait_for_objects(output, 2, process)
    pods_lib.kill(process)
    before = pods_lib.objects(output)
    assert "done.json" not in before
    pods.run(output, hosts=2, devices=4)
    assert pods_lib.objects(output) == expected
    assert before.items() <= expected.items()


def kill_at_random(pods, kills: int) -> dict[str, bytes]:
    """Kills a run of two hosts until it is complete all the same, then begins the next one.

    Every other kill comes at any moment, the rest when some more units are written. Each run
    writes what one writes that is not killed; returns that.
    """
    chance = random.Random(11)
    start = time.monotonic()
    expected = run_undisturbed(pods, hosts=2)
    duration = time.monotonic() - start
    killed = runs = halfway = 0
    while killed < kills:
        output = pods.root / f"killed-{runs}"
        process = pods.start(output, hosts=2)
        if killed % 2:
            await_moment(process, chance.uniform(0, 1.1) * duration)
        else:
            await_more_objects(process, output, chance.randint(1, 5))
        if process.poll() is None:
            pods_lib.kill(process)
            killed += 1
            halfway += 0 < len(pods_lib.objects(output)) < len(expected)
            continue
        assert process.returncode == 0, process.communicate()[0]
        assert pods_lib.objects(output) == expected
        runs += 1
    pods.run(output, hosts=2)
    assert pods_lib.objects(output) == expected
    assert halfway, "no kill fell between the first unit and the last"
    return expected


def await_moment(process, seconds: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def await_more_objects(process, output, count: int) -> None:
    """Waits for `count` more units than are there, or for the end."""
    target = len(pods_lib.objects(output)) + count
    while process.poll() is None and len(pods_lib.objects(output)) < target:
        time.sleep(0.005)


def test_a_pod_that_is_killed_at_random_moments(pods, expected):
    assert kill_at_random(pods, kills=8) == expected


@pytest.mark.weights
def test_a_pod_with_real_weights_that_is_killed_at_random_moments(tmp_path):
    pods_lib.write_data(tmp_path / "data", count=24)  # two batches a host
    pods = pods_lib.Pods(tmp_path, weights=True)
    kill_at_random(pods, kills=1)


def test_a_host_that_dies_costs_its_own_units_only(pods, expected):
    """Host 0 and host 2 die; the others finish theirs; restarted, they finish the run."""
    output = pods.root / "without-0-and-2"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    job = {"T2SQL_COORDINATOR": address, "T2SQL_NUM_PROCESSES": "4"}
    hosts = [pods.start_host(output, **job, T2SQL_PROCESS_ID=str(index)) for index in range(4)]
    for victim in (0, 2):
        while "weights:" not in hosts[victim].stdout.readline():  # Then it has met the others.
            assert hosts[victim].poll() is None
        hosts[victim].kill()
        hosts[victim].communicate()
    for host in (1, 3):
        said = hosts[host].communicate(timeout=240)[0]
        assert hosts[host].returncode == 0, said
    units = sorted(name for name in expected if name != "done.json")
    assert pods_lib.objects(output).keys() == {*units[1::4], *units[3::4]}
    for victim in (0, 2):
        again = pods.start_host(output, **job, T2SQL_PROCESS_ID=str(victim), T2SQL_RESTARTS="1")
        said = again.communicate(timeout=240)[0]
        assert again.returncode == 0, said
        assert "again after a crash" in said
    assert pods_lib.objects(output) == expected


def test_two_launches_of_the_same_run_at_once(pods, expected):
    output = pods.root / "twice"
    launches = [pods.start_host(output) for _ in range(2)]
    told = wait_for_hosts(launches)
    assert pods_lib.objects(output) == expected
    assert any("Computed twice: another process wrote" in said for said in told)


@pytest.fixture(params=["local", "gcs"])
def output(request, pods) -> str:
    """A new run directory, once locally and once on gs://."""
    if request.param == "local":
        return str(pods.root / request.node.name)
    return f"{request.getfixturevalue('bucket')}/run"


def test_damage_between_two_runs_is_told_and_made_good(pods, expected, output):
    """Units cut, emptied and changed, some noted, some of a host that was killed before."""
    pods.run(output, hosts=2)
    run = storage.open_storage(output)
    assert {name: run.read(name) for name in expected} == expected
    run.delete(["done.json", min(run.names("checksums/"))])
    broken = [name for name in expected if name != "done.json"][3:8]
    for name, change in zip(broken, (0, 10, -10, -1, 200), strict=True):
        data = run.read(name)
        run.delete([name])
        run.create(name, data[:change])
    pods.run(output, hosts=3)
    logs = (pods.root / "logs" / output.rpartition("/")[2]).iterdir()
    said = "".join(path.read_text() for path in logs)
    for name in broken:
        assert f"broken: {name}: " in said
    assert {name: run.read(name) for name in expected} == expected
    assert len(run.names("broken/")) == len(broken)


def test_replicas_share_the_units_without_meeting(pods, expected, output):
    """Three pods of a Kubernetes Job, none of which waits for another."""
    job = {"T2SQL_NUM_REPLICAS": "3"}
    first = wait_for_hosts([pods.start_host(output, **job, JOB_COMPLETION_INDEX="1")])[0]
    assert "host: process 1 of 3 (replica, by JOB_COMPLETION_INDEX), meeting nobody" in first
    run = storage.open_storage(output)
    units = sorted(name for name in expected if name != "done.json")
    assert run.names("predictions/") == {*units[1::3]}
    told = wait_for_hosts(
        [pods.start_host(output, **job, JOB_COMPLETION_INDEX=index) for index in "02"]
    )
    assert {name: run.read(name) for name in expected} == expected
    assert not any("Computed twice" in said for said in told)


def test_two_slices_of_gke_compute_each_unit_once(pods, expected, output):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    gke = {
        **pods_lib.GKE_ENVIRONMENT,
        "MEGASCALE_COORDINATOR_ADDRESS": "127.0.0.1:8080",
        "T2SQL_COORDINATOR_PORT": port,
    }
    hosts = [
        pods.start_host(
            output,
            **gke,
            MEGASCALE_SLICE_ID=slice_id,
            TPU_WORKER_ID=worker,
            JOB_COMPLETION_INDEX=worker,
        )
        for slice_id in "01"
        for worker in "01"
    ]
    told = wait_for_hosts(hosts)
    run = storage.open_storage(output)
    assert {name: run.read(name) for name in expected} == expected
    assert "host: process 3 of 4 (TPU slice of GKE, slice 1 of 2), met at 127.0.0.1" in told[3]
    assert not any("Computed twice" in said for said in told)

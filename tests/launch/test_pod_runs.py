"""Pods of every shape write the same bytes, whatever is killed on the way."""

import random
import socket
import subprocess
import time

import pods as pods_lib
import pytest


@pytest.fixture(scope="module")
def pods(tmp_path_factory, pod_cache) -> pods_lib.Pods:
    root = tmp_path_factory.mktemp("pods")
    pods_lib.write_data(root / "data")
    return pods_lib.Pods(root, pod_cache)


@pytest.fixture(scope="module")
def expected(pods) -> dict[str, bytes]:
    return run_undisturbed(pods)


def run_undisturbed(pods) -> dict[str, bytes]:
    """What one host with one device writes when nothing disturbs it."""
    pods.run(pods.root / "1x1", hosts=1)
    found = pods_lib.objects(pods.root / "1x1")
    rows = b"".join(body for name, body in found.items() if name != "done.json").splitlines()
    assert len(rows) == pods_lib.EXAMPLES
    assert "done.json" in found
    return found


def wait_for_objects(output, count: int, process) -> None:
    deadline = time.monotonic() + 120
    while len(pods_lib.objects(output)) < count:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.005)


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


def kill_at_random(pods, expected, kills: int) -> None:
    """Kills a run of two hosts until it is complete all the same, then begins the next one."""
    chance = random.Random(11)
    start = time.monotonic()
    pods.run(pods.root / "measured", hosts=2)
    duration = time.monotonic() - start
    killed = runs = halfway = 0
    while killed < kills:
        output = pods.root / f"killed-{runs}"
        process = pods.start(output, hosts=2)
        try:
            process.communicate(timeout=chance.uniform(0, 1.1) * duration)
        except subprocess.TimeoutExpired:
            pods_lib.kill(process)
            killed += 1
            halfway += 0 < len(pods_lib.objects(output)) < len(expected)
            continue
        assert process.returncode == 0
        assert pods_lib.objects(output) == expected
        runs += 1
    pods.run(output, hosts=2)
    assert pods_lib.objects(output) == expected
    assert halfway, "no kill fell between the first unit and the last"


def test_a_pod_that_is_killed_at_random_moments(pods, expected):
    kill_at_random(pods, expected, kills=25)


@pytest.mark.weights
def test_a_pod_with_real_weights_that_is_killed_at_random_moments(tmp_path):
    pods_lib.write_data(tmp_path / "data")
    pods = pods_lib.Pods(tmp_path, weights=True)
    kill_at_random(pods, run_undisturbed(pods), kills=6)


@pytest.mark.parametrize("victim", [0, 2])
def test_a_host_that_dies_costs_its_own_units_only(pods, expected, victim):
    """The others finish theirs; restarted, as a supervisor does, it finishes the run."""
    output = pods.root / f"without-{victim}"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    places = [
        {
            "T2SQL_COORDINATOR": address,
            "T2SQL_NUM_PROCESSES": "4",
            "T2SQL_PROCESS_ID": str(index),
        }
        for index in range(4)
    ]
    hosts = [pods.start_host(output, **place) for place in places]
    line = ""
    while "weights:" not in line:  # It has met the others.
        line = hosts[victim].stdout.readline()
    hosts[victim].kill()
    hosts[victim].communicate()
    for index, host in enumerate(hosts):
        if index != victim:
            said = host.communicate(timeout=120)[0]
            assert host.returncode == 0, said
    missing = expected.keys() - pods_lib.objects(output).keys()
    units = sorted(name for name in expected if name != "done.json")
    assert missing == {"done.json", *units[victim::4]}
    again = pods.start_host(output, **places[victim], T2SQL_RESTARTS="1")
    said = again.communicate(timeout=120)[0]
    assert again.returncode == 0, said
    assert "again after a crash" in said
    assert pods_lib.objects(output) == expected


def test_two_launches_of_the_same_run_at_once(pods, expected):
    output = pods.root / "twice"
    launches = [pods.start_host(output) for _ in range(2)]
    for launch in launches:
        said = launch.communicate(timeout=120)[0]
        assert launch.returncode == 0, said
    assert pods_lib.objects(output) == expected

"""Processes that meet over JAX's runtime, and are processes of their own afterwards."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest
from fake_cluster import EXPLICIT, SLURM, metadata_server

from t2sql import errors
from t2sql.runtime import distributed

PROGRAM = """
import json, os, sys, pathlib
from t2sql.runtime import distributed, tpu
if "GCE_METADATA_IP" in os.environ:
    tpu.is_tpu_vm = lambda: True
process = distributed.start()
import jax
from t2sql import storage
from t2sql.runtime import compilation_cache
cache = pathlib.Path(sys.argv[1])
programs = compilation_cache.CompilationCache("auto", cache, storage.StorageConfig())
hits = []
jax.monitoring.register_event_listener(
    lambda name, **_: hits.append(name) if name.endswith("cache_hits") else None)
with programs.open():
    jax.jit(lambda x: x * 3 + 1).lower(1.0).compile()
programs.close()
print(json.dumps({
    "host": process.description, "hits": len(hits), "devices": [d.id for d in jax.devices()],
    "as_jax_says": [jax.process_index(), jax.process_count()],
    "chips": os.environ.get("TPU_PROCESS_BOUNDS"),
    "preemption": jax.config.jax_enable_preemption_service,
}))
"""


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def start(cache, environ: dict[str, str]) -> subprocess.Popen:
    # JAX sets TPU_SKIP_MDS_QUERY where there is no chip, in the process of these tests too.
    ours = {name: value for name, value in os.environ.items() if name != "TPU_SKIP_MDS_QUERY"}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(cache)],
        env=ours | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2"} | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def told(process: subprocess.Popen) -> dict:
    output, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    return json.loads(output)


def test_the_tasks_of_a_slurm_step_meet_and_part(tmp_path):
    """The second host finds what the first compiled, and the other way round."""
    slurm = SLURM | {"SLURM_STEP_NODELIST": "localhost", "SLURM_STEP_NUM_TASKS": "2"}
    slurm |= {"T2SQL_COORDINATOR_PORT": free_port()}
    tasks = [start(tmp_path / str(i), slurm | {"SLURM_PROCID": str(i)}) for i in range(2)]
    first, second = map(told, tasks)
    assert first["host"].startswith("process 0 of 2 (Slurm job 4711), met at localhost:")
    assert second["host"].startswith("process 1 of 2")
    for task in (first, second):
        assert task["as_jax_says"] == [0, 1]
        assert task["devices"] == [0, 1]
        assert not task["preemption"]
    names = [{path.name for path in (tmp_path / str(i) / "xla").iterdir()} for i in range(2)]
    assert names[0] == names[1] != set()
    again = EXPLICIT | {"T2SQL_RESTARTS": "1"}
    restarted = told(start(tmp_path / "1", again))
    assert restarted["host"] == "process 2 of 4 (given explicitly), again after a crash"
    assert restarted["hits"] == 1


def test_the_workers_of_a_tpu_slice_meet_with_their_own_chips(tmp_path):
    slice_ = {"worker_network_endpoints": "127.0.0.1,127.0.0.1"}
    port = free_port()
    with (
        metadata_server(agent_worker_number="0", **slice_) as first,
        metadata_server(agent_worker_number="1", **slice_) as second,
    ):
        workers = [
            start(tmp_path, server.environ | {"T2SQL_COORDINATOR_PORT": port})
            for server in (first, second)
        ]
        for index, worker in enumerate(map(told, workers)):
            assert worker["host"] == f"process {index} of 2 (TPU slice), met at 127.0.0.1:{port}"
            assert worker["chips"] == "1,1,1"


def test_the_hosts_of_two_slices_of_gke_meet_with_their_own_chips(tmp_path):
    port = free_port()
    gke = {"TPU_WORKER_HOSTNAMES": "a,b", "TPU_HOST_BOUNDS": "1,2,1", "MEGASCALE_NUM_SLICES": "2"}
    gke |= {"MEGASCALE_COORDINATOR_ADDRESS": "127.0.0.1:8080", "T2SQL_COORDINATOR_PORT": port}
    hosts = [
        start(tmp_path, gke | {"MEGASCALE_SLICE_ID": slice_id, "TPU_WORKER_ID": worker})
        for slice_id in "01"
        for worker in "01"
    ]
    for index, host in enumerate(map(told, hosts)):
        kind = f"TPU slice of GKE, slice {index // 2} of 2"
        assert host["host"] == f"process {index} of 4 ({kind}), met at 127.0.0.1:{port}"
        assert host["as_jax_says"] == [0, 1]


def test_replicas_of_one_process_meet_nobody():
    pods = [
        distributed.start({"T2SQL_NUM_REPLICAS": "3", "JOB_COMPLETION_INDEX": str(index)})
        for index in range(3)
    ]
    assert [(pod.index, pod.count) for pod in pods] == [(0, 3), (1, 3), (2, 3)]
    assert pods[1].description == (
        "process 1 of 3 (replica, by JOB_COMPLETION_INDEX), meeting nobody"
    )


def test_the_processes_of_a_replica_meet_among_themselves(tmp_path):
    environ = {"T2SQL_NUM_PROCESSES": "2", "T2SQL_NUM_REPLICAS": "2", "T2SQL_REPLICA": "1"}
    environ |= {"T2SQL_COORDINATOR": f"127.0.0.1:{free_port()}"}
    pair = [start(tmp_path, environ | {"T2SQL_PROCESS_ID": str(index)}) for index in range(2)]
    for index, process in enumerate(map(told, pair)):
        kind = "given explicitly, replica 1 of 2"
        assert process["host"].startswith(f"process {2 + index} of 4 ({kind}), met at")


def test_a_pod_of_a_job_that_names_no_replicas_says_so():
    process = distributed.start({"JOB_COMPLETION_INDEX": "3"})
    assert (process.index, process.count) == (0, 1)
    assert "JOB_COMPLETION_INDEX does not count without T2SQL_NUM_REPLICAS" in process.description


def test_a_training_has_no_replicas():
    with pytest.raises(errors.InputError, match="a training has no replicas"):
        distributed.join({"T2SQL_NUM_REPLICAS": "2", "T2SQL_REPLICA": "0"})


@pytest.mark.parametrize("index", [0, 1])
def test_a_meeting_that_somebody_misses_ends_in_try_again(tmp_path, index):
    address = f"127.0.0.1:{free_port()}"
    environ = EXPLICIT | {"T2SQL_NUM_PROCESSES": "2", "T2SQL_PROCESS_ID": str(index)}
    environ |= {"T2SQL_COORDINATOR": address, "T2SQL_MEETING_SECONDS": "1.5"}
    process = start(tmp_path, environ)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 75
    assert f"not all 2 processes (given explicitly) came to {address} within 1.5 s" in error


@pytest.mark.parametrize("seconds", ["soon", "-1", "nan", "inf"])
def test_a_time_for_the_meeting_that_is_no_number_is_bad_input(seconds):
    with pytest.raises(errors.InputError, match=f"T2SQL_MEETING_SECONDS is '{seconds}'"):
        distributed.start(EXPLICIT | {"T2SQL_MEETING_SECONDS": seconds})


def test_a_process_that_is_to_meet_nobody_waits_for_nobody():
    environ = EXPLICIT | {"T2SQL_MEETING_SECONDS": "0"}
    process = distributed.start(environ)
    assert (process.index, process.count) == (
        int(EXPLICIT["T2SQL_PROCESS_ID"]),
        int(EXPLICIT["T2SQL_NUM_PROCESSES"]),
    )
    assert process.description.endswith("meeting nobody")
    with pytest.raises(errors.InputError, match="the hosts of a training have to meet"):
        distributed.join(environ)


def test_the_flags_of_the_job_say_where_it_is(tmp_path):
    """They are more than the environment, and all three belong together."""
    environ = os.environ | {"T2SQL_COORDINATOR": "elsewhere:1", "T2SQL_NUM_PROCESSES": "9"}
    job = ["--config=configs/quickstart.py", f"--config.output={tmp_path / 'run'}"]
    flags = ["--coordinator=127.0.0.1:1", "--num_processes=2"]
    for more, message in (
        ([], "given, but not T2SQL_PROCESS_ID"),
        (["--process_id=2"], "process 2 of 2; they are numbered from 0"),
        (["--process_id=1", "--replica=0"], "T2SQL_REPLICA given, but not T2SQL_NUM_REPLICAS"),
        (["--process_id=1", "--num_replicas=2"], "but not T2SQL_REPLICA"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "t2sql.main", *job, *flags, *more],
            cwd=pathlib.Path(__file__).parents[2],
            env=environ,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2
        assert message in done.stderr

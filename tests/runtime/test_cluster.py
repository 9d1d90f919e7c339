"""Which processes form the job: flags, Slurm, a TPU slice with a stand-in metadata server."""

import pytest
from fake_cluster import EXPLICIT, SLURM, metadata_server

from t2sql import errors
from t2sql.runtime import cluster, tpu


@pytest.fixture
def tpu_vm(monkeypatch):
    monkeypatch.setattr(tpu, "is_tpu_vm", lambda: True)
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def test_nothing_in_the_environment_is_a_process_of_its_own():
    assert cluster.detect({"HOME": "/root"}) is None


def test_what_is_given_explicitly_comes_first(tpu_vm):
    job = cluster.detect(EXPLICIT | SLURM)
    assert (job.index, job.count, job.address) == (2, 4, "10.0.0.1:8476")
    assert job.gpus is None


def test_one_process_needs_nobody():
    assert cluster.detect(EXPLICIT | {"T2SQL_NUM_PROCESSES": "1", "T2SQL_PROCESS_ID": "0"}) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"T2SQL_PROCESS_ID": "4"}, "process 4 of 4; they are numbered from 0"),
        ({"T2SQL_PROCESS_ID": "-1"}, "process -1 of 4"),
        ({"T2SQL_PROCESS_ID": "two"}, "T2SQL_PROCESS_ID is 'two'; expected a number"),
        ({"T2SQL_NUM_PROCESSES": "4.0"}, "T2SQL_NUM_PROCESSES is '4.0'"),
        ({"T2SQL_COORDINATOR": "10.0.0.1"}, "the coordinator is '10.0.0.1'; expected HOST:PORT"),
    ],
)
def test_wrong_values_are_named(change, message):
    with pytest.raises(errors.InputError, match=message):
        cluster.detect(EXPLICIT | change)


@pytest.mark.parametrize("missing", sorted(EXPLICIT))
def test_half_of_the_variables_is_an_error_and_no_single_process(missing):
    given = {name: value for name, value in EXPLICIT.items() if name != missing}
    with pytest.raises(errors.InputError, match=f"but not {missing}.*--process_id"):
        cluster.detect(given)


def test_a_task_of_slurm():
    job = cluster.detect(SLURM)
    assert (job.index, job.count) == (5, 8)
    assert job.address == f"gpu007:{61440 + 4711 % 4096}"
    assert job.kind == "Slurm job 4711"
    assert cluster.detect(SLURM | {"T2SQL_COORDINATOR_PORT": "99"}).address == "gpu007:99"
    assert cluster.detect(SLURM | {"SLURM_STEP_ID": "1"}).address != job.address


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node001", "node001"),
        ("node001,host2", "node001"),
        ("node[001-015],host2", "node001"),
        ("node[003,007-015]", "node003"),
        ("node[004]", "node004"),
        ("rack-2-gpu[10-11]", "rack-2-gpu10"),
    ],
)
def test_the_first_node_of_a_step(nodes, first):
    job = cluster.detect(SLURM | {"SLURM_STEP_NODELIST": nodes})
    assert job.address.partition(":")[0] == first


def test_a_batch_script_without_srun_is_a_process_of_its_own():
    batch = {
        "SLURM_JOB_ID": "4711",
        "SLURM_NTASKS": "8",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_JOB_NODELIST": "gpu[007-008]",
    }
    assert cluster.detect(batch) is None


@pytest.mark.parametrize(
    ("change", "gpus"),
    [
        ({}, (1, 5)),  # eight GPUs, four tasks
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, (1,)),
        ({"CUDA_VISIBLE_DEVICES": "", "SLURM_GPUS_ON_NODE": "4"}, (1,)),
        ({"CUDA_VISIBLE_DEVICES": ""}, (1,)),
        # One task on the node takes all; JAX would give it the first.
        ({"SLURM_STEP_TASKS_PER_NODE": "7,1"}, None),
        ({"SLURM_STEP_TASKS_PER_NODE": "7,1", "SLURM_NODEID": "0"}, (1,)),
        # Slurm shows each task its own, which have the numbers from 0.
        ({"SLURM_GPUS_PER_TASK": "1", "CUDA_VISIBLE_DEVICES": "0"}, None),
        ({"SLURM_TRES_PER_TASK": "gres/gpu:2", "CUDA_VISIBLE_DEVICES": "0,1"}, None),
        ({"CUDA_VISIBLE_DEVICES": "0"}, None),
    ],
)
def test_the_tasks_of_a_node_share_its_gpus(change, gpus):
    assert cluster.detect(SLURM | change).gpus == gpus


def test_together_the_tasks_of_a_node_have_every_gpu_once():
    dealt = [cluster.detect(SLURM | {"SLURM_LOCALID": str(i)}).gpus for i in range(4)]
    assert sorted(gpu for gpus in dealt for gpu in gpus) == list(range(8))


@pytest.mark.parametrize(
    "endpoints", ["10.0.0.2,10.0.0.3,10.0.0.4", "a:0:10.0.0.2,b:1:10.0.0.3,c:2:10.0.0.4"]
)
def test_a_worker_of_a_tpu_slice(tpu_vm, endpoints):
    with metadata_server(agent_worker_number="1", worker_network_endpoints=endpoints) as server:
        job = cluster.detect(server.environ)
    assert (job.index, job.count) == (1, 3)
    assert job.address == "10.0.0.2:8476"  # not JAX's 8482, closed on v6e
    assert job.kind == "TPU slice"


def test_a_single_tpu_vm(tpu_vm):
    with metadata_server(agent_worker_number="0", worker_network_endpoints="10.0.0.2") as server:
        assert cluster.detect(server.environ) is None


def test_a_tpu_vm_whose_server_knows_of_no_slice(tpu_vm):
    with metadata_server() as server:
        assert cluster.detect(server.environ) is None


def test_a_busy_metadata_server_is_asked_again(tpu_vm):
    endpoints = "10.0.0.2,10.0.0.3"
    with metadata_server(agent_worker_number="1", worker_network_endpoints=endpoints) as server:
        server.busy = 3
        assert cluster.detect(server.environ).index == 1
        server.busy = 100
        with pytest.raises(errors.TryAgainError, match="does not tell agent-worker-number: .*503"):
            cluster.detect(server.environ)


def test_a_metadata_server_that_is_not_there(tpu_vm):
    with pytest.raises(errors.TryAgainError, match="127.0.0.1:9 does not tell"):
        cluster.detect({"GCE_METADATA_IP": "127.0.0.1:9"})


def test_no_server_is_asked_where_there_is_no_tpu():
    assert cluster.detect({"GCE_METADATA_IP": "127.0.0.1:9"}) is None


def test_a_slice_of_gke_is_in_the_environment():
    job = cluster.detect({"TPU_WORKER_HOSTNAMES": "tpu-0.svc,tpu-1.svc", "TPU_WORKER_ID": "1"})
    assert (job.index, job.count, job.address) == (1, 2, "tpu-0.svc:8476")


def test_a_slice_whose_addresses_come_with_ports_or_in_a_file(tmp_path):
    addresses = "tpu-0.svc:8471,tpu-1.svc:8471"
    (tmp_path / "addresses").write_text(f"{addresses}\n")
    for given in (
        {"TPU_PROCESS_ADDRESSES": addresses, "TPU_WORKER_HOSTNAMES": "other"},
        {"TPU_PROCESS_ADDRESSES_PATH": str(tmp_path / "addresses"), "TPU_PROCESS_ADDRESSES": "x"},
    ):
        job = cluster.detect(given | {"TPU_WORKER_ID": "1"})
        assert (job.index, job.count, job.address) == (1, 2, "tpu-0.svc:8476")


@pytest.mark.parametrize("text", [None, "", "\n"])
def test_a_file_of_addresses_that_says_nothing_is_named(tmp_path, text):
    if text is not None:
        (tmp_path / "addresses").write_text(text)
    with pytest.raises(errors.InputError, match="TPU_PROCESS_ADDRESSES_PATH is '.*addresses'"):
        cluster.detect({"TPU_PROCESS_ADDRESSES_PATH": str(tmp_path / "addresses")})


# What GKE sets in the containers of a JobSet of two v5litepod-8 slices with two hosts each.
GKE_SLICES = {
    "TPU_WORKER_HOSTNAMES": "run-slice-1-0.run,run-slice-1-1.run",
    "TPU_WORKER_ID": "1",
    "TPU_SKIP_MDS_QUERY": "true",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_TOPOLOGY": "2x4",
    "TPU_HOST_BOUNDS": "1,2,1",
    "TPU_CHIPS_PER_HOST_BOUNDS": "2,2,1",
    "MEGASCALE_NUM_SLICES": "2",
    "MEGASCALE_SLICE_ID": "1",
    "MEGASCALE_COORDINATOR_ADDRESS": "run-slice-0-0.run:8080",
    "JOB_COMPLETION_INDEX": "1",
}


def test_hosts_are_counted_over_slices():
    places = set()
    for slice_id in range(2):
        for worker in range(2):
            change = {"MEGASCALE_SLICE_ID": str(slice_id), "TPU_WORKER_ID": str(worker)}
            job = cluster.detect(GKE_SLICES | change)
            assert (job.count, job.address) == (4, "run-slice-0-0.run:8476")
            assert job.kind == f"TPU slice of GKE, slice {slice_id} of 2"
            places.add(job.index)
    assert places == {0, 1, 2, 3}


def test_slices_of_one_host_each_are_hosts():
    single = GKE_SLICES | {"TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"}
    assert (cluster.detect(single).index, cluster.detect(single).count) == (1, 2)
    assert cluster.detect(single | {"MEGASCALE_NUM_SLICES": "1"}) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"MEGASCALE_SLICE_ID": "2"}, "MEGASCALE_SLICE_ID is 2 and MEGASCALE_NUM_SLICES 2"),
        ({"MEGASCALE_SLICE_ID": "b"}, "MEGASCALE_SLICE_ID is 'b'; expected a number"),
        ({"MEGASCALE_SLICE_ID": None}, "MEGASCALE_SLICE_ID is not set; expected a number"),
        ({"MEGASCALE_COORDINATOR_ADDRESS": None}, "the coordinator is ':8476'"),
        ({"TPU_WORKER_ID": None}, "TPU_WORKER_ID is not set; expected a number"),
        ({"TPU_WORKER_ID": "x"}, "TPU_WORKER_ID is 'x'"),
    ],
)
def test_slices_that_are_told_by_half_are_an_error(change, message):
    environ = {name: value for name, value in (GKE_SLICES | change).items() if value is not None}
    with pytest.raises(errors.InputError, match=message):
        cluster.detect(environ)


def test_slices_that_the_metadata_server_knows(tpu_vm):
    tpu_env = "\n".join(
        (
            "ACCELERATOR_TYPE: 'v5litepod-16'",
            "MEGASCALE_NUM_SLICES: '3'",
            "MEGASCALE_SLICE_ID: '2'",
            "MEGASCALE_COORDINATOR_ADDRESS: '10.0.0.7:8080'",
        )
    )
    endpoints = "10.0.2.2,10.0.2.3"
    with metadata_server(
        agent_worker_number="1", worker_network_endpoints=endpoints, tpu_env=tpu_env
    ) as server:
        job = cluster.detect(server.environ)
    assert (job.index, job.count, job.address) == (5, 6, "10.0.0.7:8476")
    assert job.kind == "TPU slice, slice 2 of 3"


def test_no_server_is_asked_where_the_platform_says_so(tpu_vm):
    assert cluster.detect({"GCE_METADATA_IP": "127.0.0.1:9", "TPU_SKIP_MDS_QUERY": "true"}) is None


@pytest.mark.parametrize(
    ("environ", "source"),
    [
        ({"T2SQL_REPLICA": "2", "JOB_COMPLETION_INDEX": "9"}, "T2SQL_REPLICA"),
        ({"JOB_COMPLETION_INDEX": "2"}, "JOB_COMPLETION_INDEX"),
        ({"SLURM_ARRAY_TASK_ID": "2"}, "SLURM_ARRAY_TASK_ID"),
    ],
)
def test_a_replica_is_numbered_by_whoever_began_it(environ, source):
    replica = cluster.detect_replica({"T2SQL_NUM_REPLICAS": "3"} | environ, 1)
    assert (replica.index, replica.count, replica.source) == (2, 3, source)


def test_an_array_is_no_set_of_replicas_until_somebody_says_so():
    environ = {"SLURM_ARRAY_TASK_ID": "2"}
    assert cluster.detect_replica(environ, 1) == cluster.Replica()
    assert cluster.unused_index(environ) == "SLURM_ARRAY_TASK_ID"


@pytest.mark.parametrize(
    ("environ", "processes", "message"),
    [
        ({"T2SQL_REPLICA": "0"}, 1, "T2SQL_REPLICA given, but not T2SQL_NUM_REPLICAS"),
        ({"T2SQL_NUM_REPLICAS": "2"}, 1, "but not T2SQL_REPLICA .--replica.; JOB_COMPLETION_INDEX"),
        ({"T2SQL_NUM_REPLICAS": "2", "T2SQL_REPLICA": "2"}, 1, "T2SQL_REPLICA is 2 and .*from 0"),
        ({"T2SQL_NUM_REPLICAS": "2", "T2SQL_REPLICA": "-1"}, 1, "T2SQL_REPLICA is -1"),
        ({"T2SQL_NUM_REPLICAS": "two", "T2SQL_REPLICA": "0"}, 1, "NUM_REPLICAS is 'two'"),
        ({"T2SQL_NUM_REPLICAS": "2", "JOB_COMPLETION_INDEX": "1"}, 4, "numbers the 4 hosts of a"),
    ],
)
def test_replicas_that_are_told_by_half_are_an_error(environ, processes, message):
    with pytest.raises(errors.InputError, match=message):
        cluster.detect_replica(environ, processes)

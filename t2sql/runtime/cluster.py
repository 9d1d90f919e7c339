"""What the environment says about the processes of a job: flags, Slurm, TPU slices, replicas.

JAX could find this out by itself, but it always takes port 8482 on a TPU, which the automatic
firewall rule of v6e does not open, and under Slurm one GPU per process.
"""

import dataclasses
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from t2sql import errors
from t2sql.runtime import tpu

COORDINATOR = "T2SQL_COORDINATOR"
NUM_PROCESSES = "T2SQL_NUM_PROCESSES"
PROCESS_ID = "T2SQL_PROCESS_ID"
COORDINATOR_PORT = "T2SQL_COORDINATOR_PORT"
NUM_REPLICAS = "T2SQL_NUM_REPLICAS"
REPLICA = "T2SQL_REPLICA"
# Numbers of a pod in a Kubernetes Job, and of a job in a Slurm array, from 0 unless told otherwise.
# https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode
# https://slurm.schedmd.com/job_array.html
POD_INDEX = "JOB_COMPLETION_INDEX"
_REPLICA_INDICES = (POD_INDEX, "SLURM_ARRAY_TASK_ID")
# JAX's own before 8482; within the ports that every TPU network has open.
TPU_PORT = 8476
_METADATA_HOST = "GCE_METADATA_IP"  # the name that JAX and google-auth read too
_METADATA_TRIES = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cluster:
    """The processes of the job as this one finds them.

    Attributes:
      kind: how they were found, for people.
      address: HOST:PORT of the process with the coordinator.
      index: of this process, from 0.
      count: of all processes.
      gpus: numbers of the GPUs that are this process's own; None for all it sees.
    """

    kind: str
    address: str
    index: int
    count: int
    gpus: tuple[int, ...] | None = None

    def __post_init__(self):
        if not 0 <= self.index < self.count:
            raise errors.InputError(
                f"{self.kind}: process {self.index} of {self.count}; they are numbered from 0"
            )
        if not re.fullmatch(r".+:\d+", self.address):
            raise errors.InputError(
                f"{self.kind}: the coordinator is {self.address!r}; expected HOST:PORT"
            )


def detect(environ: Mapping[str, str]) -> Cluster | None:
    """Returns the processes of the job; None for a process of its own.

    What is said explicitly comes first, then Slurm, then the TPU slice.

    Raises:
      InputError: variables are incomplete or no numbers.
      TryAgainError: the metadata server of a TPU VM does not answer.
    """
    finders: tuple[Callable[[Mapping[str, str]], Cluster | None], ...] = (
        _find_explicit,
        _find_slurm,
        _find_tpu_hosts,
    )
    job = next(filter(None, (find(environ) for find in finders)), None)
    return job if job and job.count > 1 else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replica:
    """Which of several launches of the job this is; they share the units and never meet.

    Attributes:
      index: from 0.
      count: of all launches; each has the same number of processes.
      source: the variable that said the index; empty where there is one launch only.
    """

    index: int = 0
    count: int = 1
    source: str = ""


def detect_replica(environ: Mapping[str, str], processes: int) -> Replica:
    """Returns which replica this process belongs to, one of `processes` in it.

    The index is `T2SQL_REPLICA`, else that of a pod or of a Slurm array's job, but only where
    `T2SQL_NUM_REPLICAS` says that there are several: the jobs of an array may be different runs.

    Raises:
      InputError: variables are incomplete, no numbers, or number something else.
    """
    if NUM_REPLICAS not in environ:
        if REPLICA in environ:
            raise errors.InputError(f"{REPLICA} given, but not {NUM_REPLICAS} (--num_replicas)")
        return Replica()
    source = next((name for name in (REPLICA, *_REPLICA_INDICES) if name in environ), None)
    if source is None:
        raise errors.InputError(
            f"{NUM_REPLICAS} given, but not {REPLICA} (--replica); "
            f"{' or '.join(_REPLICA_INDICES)} would tell it too"
        )
    index, count = _number(environ, source), _number(environ, NUM_REPLICAS)
    if source == POD_INDEX and processes > 1:
        raise errors.InputError(
            f"{POD_INDEX} numbers the {processes} hosts of a slice here, not the replicas: "
            f"give {REPLICA} (--replica)"
        )
    if not 0 <= index < count:
        raise errors.InputError(
            f"{source} is {index} and {NUM_REPLICAS} {count}; replicas are numbered from 0"
        )
    return Replica(index=index, count=count, source=source)


def unused_index(environ: Mapping[str, str]) -> str:
    """A variable that says that this process is one of several, where nothing heeds it."""
    return next((name for name in _REPLICA_INDICES if name in environ), "")


def _find_explicit(environ: Mapping[str, str]) -> Cluster | None:
    names = (COORDINATOR, NUM_PROCESSES, PROCESS_ID)
    given = [name for name in names if name in environ]
    if not given:
        return None
    if missing := [name for name in names if name not in environ]:
        raise errors.InputError(
            f"{' and '.join(given)} given, but not {' and '.join(missing)}: these variables (or "
            "the flags --coordinator, --num_processes, --process_id) belong together"
        )
    return Cluster(
        kind="given explicitly",
        address=environ[COORDINATOR],
        index=_number(environ, PROCESS_ID),
        count=_number(environ, NUM_PROCESSES),
    )


def _find_slurm(environ: Mapping[str, str]) -> Cluster | None:
    """The tasks of a job step; a batch script itself is none, whatever SLURM_NTASKS says.

    https://slurm.schedmd.com/srun.html#SECTION_OUTPUT-ENVIRONMENT-VARIABLES
    """
    needed = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID")
    if any(name not in environ for name in needed):
        return None
    job = _number(environ, "SLURM_JOB_ID")
    step = int(environ.get("SLURM_STEP_ID", "0"))
    # Steps of one machine at the same time need different ports; of 4,096 ephemeral ones.
    port = environ.get(COORDINATOR_PORT) or 61440 + (job + step) % 4096
    return Cluster(
        kind=f"Slurm job {job}",
        address=f"{_first_node(environ['SLURM_STEP_NODELIST'])}:{port}",
        index=_number(environ, "SLURM_PROCID"),
        count=_number(environ, "SLURM_STEP_NUM_TASKS"),
        gpus=_slurm_gpus(environ),
    )


def _first_node(nodes: str) -> str:
    """`node[007-009,011],other` begins with node007."""
    first = re.match(r"([^,\[]+)(?:\[(\w+))?", nodes)
    if not first:
        raise errors.InputError(f"SLURM_STEP_NODELIST is {nodes!r}: it names no node")
    return first[1] + (first[2] or "")


def _slurm_gpus(environ: Mapping[str, str]) -> tuple[int, ...] | None:
    """Deals the GPUs of a node to its tasks, unless Slurm gave each task its own."""
    tasks = _tasks_on_node(environ)
    bound = "SLURM_GPUS_PER_TASK" in environ or "gpu" in environ.get("SLURM_TRES_PER_TASK", "")
    if tasks == 1 or bound:
        return None
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    gpus = len(visible.split(",")) if visible else int(environ.get("SLURM_GPUS_ON_NODE", tasks))
    return tuple(range(_number(environ, "SLURM_LOCALID"), gpus, tasks)) or None


def _tasks_on_node(environ: Mapping[str, str]) -> int:
    """`4(x2),3` in SLURM_STEP_TASKS_PER_NODE: two nodes with four tasks, one with three."""
    node = int(environ.get("SLURM_NODEID", "0"))
    for part in environ.get("SLURM_STEP_TASKS_PER_NODE", "1").split(","):
        tasks, _, nodes = part.rstrip(")").partition("(x")
        node -= int(nodes or 1)
        if node < 0:
            return int(tasks)
    return 1


def _find_tpu_hosts(environ: Mapping[str, str]) -> Cluster | None:
    """The hosts of all slices: GKE says it in the environment, a TPU VM's metadata server knows.

    As jax/_src/clusters/cloud_tpu_cluster.py: hosts are counted over the slices.
    """
    if hosts := _hosts_of_gke(environ):
        kind, worker = "TPU slice of GKE", environ if len(hosts) > 1 else {"TPU_WORKER_ID": "0"}
    elif (
        tpu.is_tpu_vm()
        and "TPU_SKIP_MDS_QUERY" not in environ
        and (number := _metadata(environ, "agent-worker-number")) is not None
    ):
        kind, worker = "TPU slice", {"TPU_WORKER_ID": number}
        hosts = (_metadata(environ, "worker-network-endpoints") or "").split(",")
        environ = _tpu_env(environ) | environ
    else:
        return None
    # NAME:ID:ADDRESS, HOST:PORT or HOST
    first = hosts[0].split(":")[2 if hosts[0].count(":") == 2 else 0]
    slices = _number(environ, "MEGASCALE_NUM_SLICES") if "MEGASCALE_NUM_SLICES" in environ else 1
    slice_id = 0
    if slices > 1:
        slice_id = _number(environ, "MEGASCALE_SLICE_ID")
        if not 0 <= slice_id < slices:
            raise errors.InputError(
                f"MEGASCALE_SLICE_ID is {slice_id} and MEGASCALE_NUM_SLICES {slices}; slices are "
                "numbered from 0"
            )
        first = environ.get("MEGASCALE_COORDINATOR_ADDRESS", "").partition(":")[0]
        kind += f", slice {slice_id} of {slices}"
    return Cluster(
        kind=kind,
        address=f"{first}:{environ.get(COORDINATOR_PORT, TPU_PORT)}",
        index=slice_id * len(hosts) + _number(worker, "TPU_WORKER_ID"),
        count=slices * len(hosts),
    )


def _hosts_of_gke(environ: Mapping[str, str]) -> list[str]:
    """The hosts of this slice as GKE's variables have them, in the order in which JAX asks."""
    if path := environ.get("TPU_PROCESS_ADDRESSES_PATH"):
        try:
            addresses = Path(path).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise errors.InputError(f"TPU_PROCESS_ADDRESSES_PATH is {path!r}: {error}") from error
        if not addresses:
            raise errors.InputError(f"TPU_PROCESS_ADDRESSES_PATH is {path!r}: the file is empty")
    else:
        names = ("TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES")
        addresses = next((environ[name] for name in names if environ.get(name)), "")
    return addresses.split(",") if addresses else []


def _tpu_env(environ: Mapping[str, str]) -> dict[str, str]:
    """What the metadata server says about slices, in lines such as MEGASCALE_NUM_SLICES: '2'."""
    lines = (_metadata(environ, "tpu-env") or "").splitlines()
    pairs = [line.partition(":") for line in lines if line.startswith("MEGASCALE_")]
    return {name.strip(): value.strip().strip("'") for name, _, value in pairs}


def _metadata(environ: Mapping[str, str], key: str) -> str | None:
    """Asks the metadata server for an attribute of this VM; None where it has none."""
    host = environ.get(_METADATA_HOST, "metadata.google.internal")
    request = urllib.request.Request(
        f"http://{host}/computeMetadata/v1/instance/attributes/{key}",
        headers={"Metadata-Flavor": "Google"},
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    reason: Exception | None = None
    for pause in range(_METADATA_TRIES):
        time.sleep(pause and 0.5)
        try:
            return direct.open(request, timeout=10).read().decode().strip()
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            reason = error
        except OSError as error:
            reason = error
    raise errors.TryAgainError(f"the metadata server {host} does not tell {key}: {reason}")


def _number(environ: Mapping[str, str], name: str) -> int:
    try:
        return int(environ[name])
    except (KeyError, ValueError):
        value = repr(environ[name]) if name in environ else "not set"
        raise errors.InputError(f"{name} is {value}; expected a number") from None

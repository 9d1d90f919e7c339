"""What the environment says about the processes of a job: flags, Slurm, a TPU slice.

JAX could find this out by itself, but it always takes port 8482 on a TPU, which the automatic
firewall rule of v6e does not open, and under Slurm one GPU per process.
"""

import dataclasses
import glob
import importlib.util
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping

from t2sql import errors

COORDINATOR = "T2SQL_COORDINATOR"
NUM_PROCESSES = "T2SQL_NUM_PROCESSES"
PROCESS_ID = "T2SQL_PROCESS_ID"
COORDINATOR_PORT = "T2SQL_COORDINATOR_PORT"
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


def is_tpu_vm() -> bool:
    """Whether this machine has TPU chips and their library, which is JAX's own test."""
    chips = glob.glob("/dev/accel[0-9]*") or glob.glob("/dev/vfio/[0-9]*")
    return bool(chips) and importlib.util.find_spec("libtpu") is not None


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
    """The hosts of a slice: GKE says it in the environment, a TPU VM's metadata server knows."""
    if "TPU_WORKER_HOSTNAMES" in environ and "TPU_WORKER_ID" in environ:
        kind, index = "TPU slice of GKE", environ["TPU_WORKER_ID"]
        hosts = environ["TPU_WORKER_HOSTNAMES"].split(",")
    elif is_tpu_vm() and (number := _metadata(environ, "agent-worker-number")) is not None:
        kind, index = "TPU slice", number
        endpoints = _metadata(environ, "worker-network-endpoints") or ""
        # Either hosts, or NAME:ID:ADDRESS.
        hosts = [endpoint.rpartition(":")[2] for endpoint in endpoints.split(",")]
    else:
        return None
    return Cluster(
        kind=kind,
        address=f"{hosts[0]}:{environ.get(COORDINATOR_PORT, TPU_PORT)}",
        index=_number({"the number of this TPU worker": index}, "the number of this TPU worker"),
        count=len(hosts),
    )


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

"""Which host of how many this process is, and JAX's distributed runtime.

Hosts are independent: the runtime brings them together at the start, which shows that all are
there, and each leaves it before its work begins. While it runs, JAX ends every process when one of
them dies, and all others when the one with the coordinator is done.
"""

import dataclasses
import os
import sys
import threading
from collections.abc import Mapping

from t2sql import errors
from t2sql.runtime import cluster, tpu

RESTARTS = "T2SQL_RESTARTS"
MEETING_SECONDS = "T2SQL_MEETING_SECONDS"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Process:
    """This process among those of the job.

    Attributes:
      index: from 0.
      count: processes in the job.
      description: which process this is and how that is known, for the log; empty when alone.
    """

    index: int
    count: int
    description: str = ""


ALONE = Process(index=0, count=1)


def start(environ: Mapping[str, str] = os.environ) -> Process:
    """Joins the job that the environment describes; call before anything else of JAX.

    Raises:
      InputError: the variables are incomplete or no numbers.
      TryAgainError: the metadata server of a TPU VM does not answer.
    """
    job = cluster.detect(environ)
    replica = cluster.detect_replica(environ, job.count if job else 1)
    if job is None:
        if replica.source:
            return _process(replica, 0, 1, f"replica, by {replica.source}", "meeting nobody")
        if name := cluster.unused_index(environ):
            text = f"alone: {name} does not count without {cluster.NUM_REPLICAS} (--num_replicas)"
            return dataclasses.replace(ALONE, description=text)
        return ALONE
    if tpu.is_tpu_vm():
        tpu.use_own_chips()
    if environ.get(RESTARTS, "0") != "0":
        # The others have left the coordinator, and may be done.
        return _process(replica, job.index, job.count, job.kind, "again after a crash")
    if _meeting_seconds(environ) == 0:
        return _process(replica, job.index, job.count, job.kind, "meeting nobody")
    _initialize(job, environ)
    _leave()
    return _process(replica, job.index, job.count, job.kind, f"met at {job.address}")


def join(environ: Mapping[str, str] = os.environ) -> Process:
    """Joins the job for good: from here on its devices are one mesh, and its hosts in step.

    Where one of them ends, JAX ends the others.

    Raises:
      InputError: the variables are incomplete or no numbers.
      TryAgainError: the metadata server of a TPU VM does not answer.
    """
    job = cluster.detect(environ)
    if cluster.NUM_REPLICAS in environ:
        raise errors.InputError(f"{cluster.NUM_REPLICAS} is given, but a training has no replicas")
    if job is None:
        return ALONE
    if _meeting_seconds(environ) == 0:
        raise errors.InputError(f"{MEETING_SECONDS} is 0, but the hosts of a training have to meet")
    _initialize(job, environ)
    return _process(cluster.Replica(), job.index, job.count, job.kind, "in step")


def _process(replica: cluster.Replica, index: int, count: int, kind: str, how: str) -> Process:
    """The process with this place in its replica; all replicas have as many processes."""
    if replica.count > 1 and count > 1:
        kind += f", replica {replica.index} of {replica.count}"
    index, count = replica.index * count + index, replica.count * count
    text = f"process {index} of {count} ({kind}), {how}"
    return Process(index=index, count=count, description=text)


def _leave() -> None:
    """Leaves the coordinator; from here on this is a process of its own."""
    import jax
    from jax._src import distributed

    jax.distributed.shutdown()
    # JAX forgets the others, but not this process's number among them: then only process 0 would
    # write the compilation cache, and the devices of each have other numbers and other keys in it.
    distributed.global_state.process_id = 0
    distributed.global_state.num_processes = 1


def _initialize(job: cluster.Cluster, environ: Mapping[str, str]) -> None:
    """Waits for all processes at the coordinator."""
    import jax

    seconds = _meeting_seconds(environ)
    # It would take SIGTERM for itself.
    jax.config.update("jax_enable_preemption_service", False)
    alarm = threading.Timer(seconds, _give_up, (job, seconds))
    alarm.daemon = True
    alarm.start()
    jax.distributed.initialize(
        job.address,
        num_processes=job.count,
        process_id=job.index,
        local_device_ids=job.gpus,
        cluster_detection_method="deactivate",  # else one GPU for each process under Slurm
        initialization_timeout=int(seconds) + 60,  # it ends the process with a stack trace
    )
    alarm.cancel()


def _meeting_seconds(environ: Mapping[str, str]) -> float:
    given = environ.get(MEETING_SECONDS, "300")
    try:
        if 0 <= float(given) < threading.TIMEOUT_MAX:
            return float(given)
    except ValueError:
        pass
    raise errors.InputError(f"{MEETING_SECONDS} is {given!r}; expected a number of seconds")


def _give_up(job: cluster.Cluster, seconds: float) -> None:
    """Ends the process: nothing interrupts JAX while it waits."""
    print(
        f"error: not all {job.count} processes ({job.kind}) came to {job.address} within "
        f"{seconds:g} s ({MEETING_SECONDS}). See the logs of the others; the port has to be open "
        f"between the hosts ({cluster.COORDINATOR_PORT}).",
        file=sys.stderr,
        flush=True,
    )
    os._exit(errors.TryAgainError.exit_code)

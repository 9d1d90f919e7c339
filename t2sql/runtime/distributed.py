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
from t2sql.runtime import cluster

RESTARTS = "T2SQL_RESTARTS"
MEETING_SECONDS = "T2SQL_MEETING_SECONDS"
# A host of a slice opens its own chips only, all four: else the TPU runtime waits for every host
# of the slice, at the start and again after the crash of one.
# https://cloud.google.com/tpu/docs/jax-pods, https://github.com/pytorch/xla/issues/7714
_OWN_CHIPS = {
    "TPU_PROCESS_BOUNDS": "1,1,1",
    "TPU_CHIPS_PER_PROCESS_BOUNDS": "2,2,1",
    "TPU_VISIBLE_DEVICES": "0,1,2,3",
}


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
    if job is None:
        return ALONE
    if cluster.is_tpu_vm():
        for name, value in _OWN_CHIPS.items():
            os.environ.setdefault(name, value)
    if environ.get(RESTARTS, "0") != "0":
        # The others have left the coordinator, and may be done.
        return _describe(job, "again after a crash")
    _initialize(job, environ)
    _leave()
    return _describe(job, f"met at {job.address}")


def join(environ: Mapping[str, str] = os.environ) -> Process:
    """Joins the job for good: from here on its devices are one mesh, and its hosts in step.

    Where one of them ends, JAX ends the others.

    Raises:
      InputError: the variables are incomplete or no numbers.
      TryAgainError: the metadata server of a TPU VM does not answer.
    """
    job = cluster.detect(environ)
    if job is None:
        return ALONE
    _initialize(job, environ)
    return _describe(job, "in step")


def _describe(job: cluster.Cluster, how: str) -> Process:
    text = f"process {job.index} of {job.count} ({job.kind}), {how}"
    return Process(index=job.index, count=job.count, description=text)


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
        if 0 < float(given) < threading.TIMEOUT_MAX:
            return float(given)
    except ValueError:
        pass
    raise errors.InputError(f"{MEETING_SECONDS} is {given!r}; expected a number above 0")


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

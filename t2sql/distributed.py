"""Which host of how many this process is.

Hosts are independent: JAX's distributed runtime brings them together at the start, and
each leaves it before its work begins. While it runs, JAX ends every process when one of
them dies, and all others when the one with the coordinator is done.
"""

import dataclasses
import os
from collections.abc import Mapping

from t2sql import errors

COORDINATOR = "T2SQL_COORDINATOR"
NUM_PROCESSES = "T2SQL_NUM_PROCESSES"
PROCESS_ID = "T2SQL_PROCESS_ID"
RESTARTS = "T2SQL_RESTARTS"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Process:
    """This process among those of the job.

    Attributes:
      index: from 0.
      count: processes in the job.
      found: how that was found out, for the log.
    """

    index: int
    count: int
    found: str


def start(environ: Mapping[str, str] = os.environ) -> Process:
    """Joins the job that the environment describes; call before anything else of JAX.

    Raises:
      InputError: the variables are incomplete or no numbers.
    """
    if COORDINATOR not in environ:
        return Process(index=0, count=1, found="a single process")
    address = environ[COORDINATOR]
    index, count = (_number(environ, name) for name in (PROCESS_ID, NUM_PROCESSES))
    if not 0 <= index < count:
        raise errors.InputError(
            f"{PROCESS_ID} is {index}; with {count} processes it is at most {count - 1}"
        )
    found = f"process {index} of {count}"
    if int(environ.get(RESTARTS, "0")):
        # The others have left the coordinator, and may be done.
        return Process(index=index, count=count, found=f"{found}, again after a crash")
    _meet(address, index, count)
    return Process(index=index, count=count, found=f"{found}, met at {address}")


def _number(environ: Mapping[str, str], name: str) -> int:
    try:
        return int(environ[name])
    except KeyError:
        raise errors.InputError(f"{COORDINATOR} is set, but {name} is not") from None
    except ValueError:
        raise errors.InputError(f"{name} is {environ[name]!r}, not a number") from None


def _meet(address: str, index: int, count: int) -> None:
    """Waits for all processes at the coordinator, learns the devices, and leaves it."""
    import jax

    # It would take SIGTERM for itself.
    jax.config.update("jax_enable_preemption_service", False)
    # Gloo asks the coordinator for addresses, even where all devices are this host's.
    jax.config.update("jax_cpu_collectives_implementation", None)
    jax.distributed.initialize(address, num_processes=count, process_id=index)
    jax.local_devices()  # the backend asks the coordinator once
    jax.distributed.shutdown()

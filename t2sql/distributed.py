"""Which host of how many this process is.

Hosts are independent: JAX's distributed runtime tells index and count, and nothing
else is asked of it. What would tie the hosts together is switched off.
"""

import dataclasses
import os
from collections.abc import Mapping

from t2sql import errors

COORDINATOR = "T2SQL_COORDINATOR"
NUM_PROCESSES = "T2SQL_NUM_PROCESSES"
PROCESS_ID = "T2SQL_PROCESS_ID"


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
    _join(address, index, count)
    return Process(index=index, count=count, found=f"process {index} of {count} at {address}")


def _number(environ: Mapping[str, str], name: str) -> int:
    try:
        return int(environ[name])
    except KeyError:
        raise errors.InputError(f"{COORDINATOR} is set, but {name} is not") from None
    except ValueError:
        raise errors.InputError(f"{name} is {environ[name]!r}, not a number") from None


def _join(address: str, index: int, count: int) -> None:
    import jax

    # JAX ends the peers of a process that dies, and takes SIGTERM for itself, by default.
    jax.config.update("jax_enable_recoverability", True)
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(address, num_processes=count, process_id=index)

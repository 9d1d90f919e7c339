"""Child processes that run code of this package, and the cores that there are for them."""

import os
import pathlib
import socket
import subprocess
import sys
from multiprocessing.connection import Connection
from typing import Any

_PACKAGE_PARENT = str(pathlib.Path(__file__).parents[2])
# An editable installation of the package relies on `site`, which is left out: hence the path.
_BOOT = """
import sys
sys.path[:] = {path!r}
from multiprocessing.connection import Connection
{imports}
{module}.main(Connection({descriptor}), {arguments})
"""


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start(
    module: str, arguments: str, *, imports: str, **popen: Any
) -> tuple[subprocess.Popen, Connection]:
    """Starts a process that calls a module's `main` with a connection to this one.

    Without `-S` it would import `site`, which takes longer than what it needs.

    Args:
      module: its name in the namespace of `imports`.
      arguments: after the connection, as source code.
      imports: a line that binds what the code names.
      popen: as `subprocess.Popen` takes them.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        boot = _BOOT.format(
            path=[_PACKAGE_PARENT, *sys.path],
            imports=imports,
            module=module,
            descriptor=theirs.fileno(),
            arguments=arguments,
        )
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", boot],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            **popen,
        )
    return process, Connection(ours.detach())

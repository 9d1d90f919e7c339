"""How long processes compute, which other load on the machine does not change much."""

import os
import pathlib
import resource


def ended() -> float:
    """CPU seconds of all children of this process that have been waited for, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def running(pid: int) -> float:
    """CPU seconds of a process so far. https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html"""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

"""What a way costs: CPU time and the most memory, of processes that ended or still run (Linux)."""

import os
import subprocess
from collections.abc import Iterable
from typing import Any, NamedTuple

from benchmarks.processes import cpu_seconds, peak_bytes

MIB = 1_048_576


class Cost(NamedTuple):
    """CPU seconds, user and system, and the most memory in RAM that one process had."""

    cpu_s: float
    peak_mib: float

    def with_(self, other: "Cost") -> "Cost":
        """Return what both cost, one after the other or side by side."""
        return Cost(self.cpu_s + other.cpu_s, max(self.peak_mib, other.peak_mib))


NO_COST = Cost(0, 0)


def cost_so_far(processes: Iterable[int]) -> Cost:
    """Return what processes that run have cost."""
    cost = NO_COST
    for each in processes:
        cost = cost.with_(Cost(cpu_seconds(each), peak_bytes(each) / MIB))
    return cost


def waited_for(process: "subprocess.Popen[Any]") -> Cost:
    """Wait until a process has ended; return what it cost. Its output must have been read, or go to a file."""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)

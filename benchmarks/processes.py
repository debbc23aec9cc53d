"""What other processes cost, where the system tells (Linux): CPU seconds, memory, and who is below whom."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(process: int) -> float:
    """Return user + system time of `process`; 0 when it has ended."""
    with contextlib.suppress(OSError):
        fields = (PROC / str(process) / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
    return 0.0


def resident_bytes(process: int) -> int:
    """Return the memory that `process` has in RAM; 0 when it has ended."""
    with contextlib.suppress(OSError):
        return int((PROC / str(process) / "statm").read_text(encoding="utf-8").split()[1]) * PAGE_BYTES
    return 0


def peak_bytes(process: int) -> int:
    """Return the most memory that `process` ever had in RAM; 0 when it has ended."""
    with contextlib.suppress(OSError):
        told = (PROC / str(process) / "status").read_text(encoding="utf-8").splitlines()
        return next((int(line.split()[1]) * 1024 for line in told if line.startswith("VmHWM:")), 0)
    return 0


def disk_bytes_read(process: int) -> int:
    """Return how many bytes `process` has had read from disk; 0 when it has ended."""
    with contextlib.suppress(OSError):
        told = (PROC / str(process) / "io").read_text(encoding="utf-8").splitlines()
        return next((int(line.split()[1]) for line in told if line.startswith("read_bytes:")), 0)
    return 0


def name_of(process: int) -> str:
    """Return the name of its program; "" when it has ended."""
    with contextlib.suppress(OSError):
        return (PROC / str(process) / "comm").read_text(encoding="utf-8").strip()
    return ""


def below(process: int) -> Iterator[int]:
    """Yield every process below `process` that still runs."""
    waiting = [process]
    while waiting:
        found = _children(waiting.pop())
        waiting += found
        yield from found


def _children(process: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in (PROC / str(process) / "task").iterdir():
            found += map(int, (thread / "children").read_text(encoding="utf-8").split())
    return found

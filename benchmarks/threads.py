"""CPU seconds of this process by thread, where the system tells (Linux)."""

import os
import threading
from collections.abc import Mapping
from pathlib import Path

TASKS = Path("/proc/self/task")
OTHERS = "clickhouse engine and others"


def cpu_by_thread(names: Mapping[str, str]) -> dict[str, float]:
    """Return CPU seconds by the word that `names` gives for a thread's name prefix; all others are the engine's."""
    python = {thread.native_id: thread.name for thread in threading.enumerate()}
    found = dict.fromkeys([*names.values(), OTHERS], 0.0)
    for task in TASKS.glob("*"):
        name = python.get(int(task.name), "")
        word = next((word for prefix, word in names.items() if name.startswith(prefix)), OTHERS)
        found[word] += _seconds(task)
    return found


def _seconds(task: Path) -> float:
    try:
        fields = (task / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0  # it has ended since
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

"""kill -9 amid inserts into the real engine: after a restart, rows = events in the log, rollups = raw."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROUNDS = int(os.environ.get("FLOWGAUGE_KILLS", "10"))
SCRIPT = Path(__file__).with_name("killed_sink.py")


def start(folder: Path, what: str) -> subprocess.Popen[str]:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), what],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_a_sink_killed_amid_inserts_loses_and_doubles_nothing(tmp_path: Path) -> None:
    chance = random.Random(20)
    replays = 0
    for _ in range(ROUNDS):
        process = start(tmp_path, "load")
        assert process.stdout is not None
        said = ""
        while "ready" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        time.sleep(chance.uniform(0, 0.5))  # death comes at any moment of an insert
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        replays += "pending insert repeated" in said

    said, _ = start(tmp_path, "finish").communicate(timeout=120)
    counts = json.loads(said.splitlines()[-1])

    print(f"kills {ROUNDS}, starts that found a pending insert {replays}: {counts}")
    assert counts["rows"] == counts["places"] == counts["in_log"] > 0
    assert counts["runs"] == counts["runs_in_log"]
    assert counts["ends"] == counts["ends_in_log"]
    assert replays > 0

"""kill -9 amid inserts into the real engine: after a restart, rows = events in the log, rollups = raw."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.clickhouse_front import Front

ROUNDS = int(os.environ.get("FLOWGAUGE_KILLS", "2"))
TRIES_MAX = 20  # so often may death miss every insert
SCRIPT = Path(__file__).with_name("killed_sink.py")


def start(folder: Path, what: str, url: str) -> subprocess.Popen[str]:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), what, *([url] if url else [])],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until_it_stores(process: subprocess.Popen[str]) -> str:
    """Read what it says until it stores rows; return that."""
    assert process.stdout is not None
    said = ""
    while "ready" not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    return said


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def finish(folder: Path, url: str) -> None:
    """Let a sink store all that is left, and compare what the tables hold with what the log holds."""
    said, _ = start(folder, "finish", url).communicate(timeout=120)
    counts = json.loads(said.splitlines()[-1])
    print(counts)
    assert counts["rows"] == counts["places"] == counts["in_log"] > 0
    assert counts["runs"] == counts["runs_in_log"]
    assert counts["ends"] == counts["ends_in_log"]


@pytest.fixture(params=["embedded", "served"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where ClickHouse is; "" in the sink's own process, which dies with it."""
    if request.param == "embedded":
        yield ""
        return
    with Front(tmp_path / "front") as running:
        yield running.url


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_a_sink_killed_amid_inserts_loses_and_doubles_nothing(tmp_path: Path, url: str) -> None:
    chance = random.Random(20)
    replays = kills = 0
    while kills < ROUNDS or (not replays and kills < TRIES_MAX):
        process = start(tmp_path, "load", url)
        said = until_it_stores(process)
        time.sleep(chance.uniform(0, 0.5))  # death comes at any moment of an insert
        kill(process)
        kills += 1
        replays += "pending insert repeated" in said

    print(f"kills {kills}, starts that found a pending insert {replays}")
    finish(tmp_path, url)
    assert replays > 0


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_a_server_killed_amid_inserts_loses_and_doubles_nothing(tmp_path: Path) -> None:
    chance = random.Random(21)
    front = Front(tmp_path / "front")
    process = start(tmp_path, "load", front.url)
    until_it_stores(process)
    for _ in range(max(1, ROUNDS // 2)):
        time.sleep(chance.uniform(0, 0.5))
        front.kill()
        front = Front(tmp_path / "front", front.port)
        while not front.seen("INSERT INTO flowgauge.events"):  # the sink found it again
            time.sleep(0.05)
    kill(process)

    with front:
        finish(tmp_path, front.url)

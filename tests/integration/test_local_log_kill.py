"""SIGKILL at any moment: what the SQLite log acked is there exactly once, and no step is half visible."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer

import pytest

from flowgauge.schemas.topics import EVENTS, SAMPLES, TRANSITIONS
from flowgauge.transport.local import open_local_log
from flowgauge.transport.log import Assigned, Log

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

ROUNDS = 25
SEED = 20_260_301
LIFE_MS = (0, 120)  # how long a worker lives after it has opened the log
WORKER = Path(__file__).with_name("local_log_worker.py")


@dataclass(slots=True)
class Acked:
    """What all workers so far were told is durable."""

    appended: list[str] = field(default_factory=list[str])
    counted: int = 0
    committed: int = 0
    log_ids: set[str] = field(default_factory=set[str])

    def note(self, line: str) -> None:
        """Take one whole line of a worker."""
        what, value = line.split()
        match what:
            case "append":
                self.appended.append(value)
            case "step":
                self.counted = int(value)
            case "read":
                self.committed = int(value)
            case _:
                self.log_ids.add(value)


def lines_until_killed(folder: Path, life_ms: float) -> Iterator[str]:
    """Run a worker, kill it `life_ms` after it opened the log, and give the whole lines it printed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(WORKER), str(folder)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        yield worker.stdout.readline()
        timer = Timer(life_ms / 1_000, worker.send_signal, [signal.SIGKILL])
        timer.start()
        yield from (line for line in worker.stdout if line.endswith("\n"))
        timer.join()
    assert worker.returncode == -signal.SIGKILL


async def check(log: Log, acked: Acked) -> None:
    samples = [(r.value or b"").decode() for r in await log.read(SAMPLES, 0, 0, 1_000_000)]
    assert len(samples) == len(set(samples)), "a record is there twice"
    assert set(acked.appended) <= set(samples), "an acked record is lost"
    for task in range(3):
        mine = [value for value in samples if value.startswith(f"{task}:")]
        assert mine == [f"{task}:{n}" for n in range(len(mine))], "order or a part of an append is lost"
    (assigned,) = await (await log.open_steps(SAMPLES, "detector")).poll(records_max=1, timeout_ms=0)
    assert isinstance(assigned, Assigned)
    outputs = [[(r.value or b"").decode() for r in await log.read(TRANSITIONS, p, 0, 1_000_000)] for p in (0, 1)]
    assert outputs[0] == outputs[1] == samples[: assigned.next_offset], "outputs and offset disagree"
    assert int(assigned.state.get("count", b"0")) == assigned.next_offset, "state and offset disagree"
    assert assigned.next_offset >= acked.counted, "an acked step is lost"
    committed = (await (await log.open_reader(SAMPLES, "sink")).committed())[0]
    assert committed.next_offset >= acked.committed, "an acked commit is lost"
    assert committed.metadata in ("", f"at {committed.next_offset}"), "offset and metadata disagree"
    assert acked.log_ids == {log.log_id}


async def test_whenever_the_process_is_killed_acked_records_are_there_once_and_steps_are_whole(tmp_path: Path) -> None:
    acked, lives = Acked(), random.Random(SEED)  # repeatable moments, no secrets

    for _ in range(ROUNDS):
        for line in lines_until_killed(tmp_path, lives.uniform(*LIFE_MS)):
            acked.note(line)
        log = await open_local_log(tmp_path, partitions={EVENTS: 1, SAMPLES: 1, TRANSITIONS: 2})
        await check(log, acked)
        await log.close()

    print(f"{ROUNDS} kills: {len(acked.appended)} records, {acked.counted} counted, read to {acked.committed}")
    assert acked.counted > 0
    assert acked.committed > 0

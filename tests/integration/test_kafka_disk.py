"""A broker whose disk is full: appends are told and tried again, and nothing that was acknowledged is lost.

The disk is a small tmpfs, so the test needs the right to mount one. A broker ends by itself when it cannot write; who
runs it makes room and starts it again. Takes half a minute, so it runs with FLOWGAUGE_FAULTS=1.
"""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.contract_log import events, see
from tests.integration.own_log import opened
from tests.integration.test_kafka_faults import until_appended
from tests.kafka_broker import LIB, REMEDY, Broker
from tests.kafka_topics import create_topics

from flowgauge.schemas.errors import Transient
from flowgauge.schemas.topics import EVENTS
from flowgauge.transport.kafka import KafkaLog
from flowgauge.transport.kafka_client import Connection
from flowgauge.transport.log import Committed

DISK_MB = 64
LEFT_BYTES = 3 * 1_048_576
RECORD_BYTES = 100_000
RECORDS_MAX = 1_000  # more than the disk takes
ANSWER_MS = 2_000

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        "FLOWGAUGE_FAULTS" not in os.environ, reason="takes half a minute: runs with FLOWGAUGE_FAULTS=1"
    ),
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a small disk; skip where that is not allowed."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(tmp_path)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a tmpfs")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.fixture
def broker(disk: Path) -> Iterator[Broker]:
    if not LIB.is_dir() or not shutil.which("java"):
        pytest.skip(REMEDY)
    broker = Broker(disk)
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()


async def test_a_full_disk_is_told_and_after_room_is_made_all_that_was_acknowledged_is_there(
    broker: Broker, disk: Path
) -> None:
    connection = Connection(bootstrap=broker.bootstrap, instance="one", answer_ms=ANSWER_MS, session_ms=30_000)
    await create_topics(connection, {EVENTS: 1})
    async with opened(connection) as log:
        reader = await log.open_reader(EVENTS, "sink")
        filler = fill(disk)

        acknowledged, told = await append_until_told(log)
        _, again = await append_until_told(log)
        filler.unlink()
        await asyncio.to_thread(broker.kill)
        await asyncio.to_thread(broker.start)
        await until_appended(log, b"after")

        found = (await see(reader, len(acknowledged) + 1)).values()
        assert found[: len(acknowledged)] == acknowledged
        await reader.commit({0: Committed(len(acknowledged))})
    for each in (told, again):
        assert "cannot append to flowgauge.events: " in each
        assert each.endswith("; trying again")
        assert "\n" not in each


async def append_until_told(log: KafkaLog) -> tuple[list[bytes], str]:
    """Append until that cannot be done; return what was acknowledged, and what was said."""
    acknowledged: list[bytes] = []
    for _ in range(RECORDS_MAX):
        value = os.urandom(RECORD_BYTES)
        try:
            await log.append(EVENTS, events(value))
        except Transient as error:
            return acknowledged, str(error)
        acknowledged.append(value)
    pytest.fail("the disk does not fill")


def fill(disk: Path) -> Path:
    """Leave little room."""
    filler = disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(disk).free - LEFT_BYTES))
    return filler

"""The pulse on a real log: every partition, each second, and a full disk that passes."""

import asyncio
import os
from pathlib import Path

import pytest

from flowgauge.producers.pulse import run_pulse
from flowgauge.schemas.control_records import Pulse, decode_pulse
from flowgauge.schemas.errors import Transient
from flowgauge.schemas.topics import EVENTS, RecordKind
from flowgauge.transport.health import Health
from flowgauge.transport.local import LocalLog, open_local_log
from flowgauge.transport.log import Outgoing, Record

pytestmark = pytest.mark.integration


async def records(log: LocalLog, partition: int) -> list[Record]:
    return list(await log.read(EVENTS, partition, 0, 1_000))


async def append_for_ever(log: LocalLog, size: int) -> None:
    while True:
        await log.append(EVENTS, [Outgoing(0, "x", os.urandom(size))])


async def test_every_partition_gets_a_pulse_with_the_senders_time_and_the_log_id(tmp_path: Path) -> None:
    log = await open_local_log(tmp_path, partitions={EVENTS: 3})
    stop = asyncio.Event()

    def stopping_now_ms() -> int:
        stop.set()  # after this pulse
        return 1_000

    await run_pulse(log, stop=stop, now_ms=stopping_now_ms)

    for partition in range(3):
        [record] = await records(log, partition)
        assert (record.kind, record.key) == (RecordKind.PULSE, "")
        assert record.value is not None
        assert decode_pulse(record.value) == Pulse(sent_ms=1_000, log_id=log.log_id)
    await log.close()


async def test_a_pulse_that_the_log_takes_ends_the_problem(tmp_path: Path) -> None:
    log = await open_local_log(tmp_path, partitions={EVENTS: 1}, page_count_max=60)
    with pytest.raises(Transient):
        await log.append(EVENTS, [Outgoing(0, "x", os.urandom(600_000))])
    stop = asyncio.Event()
    health = Health(problems={"pulse": "the log takes no pulses: disk full"})

    def stopping_now_ms() -> int:
        stop.set()
        return 1_000

    await run_pulse(log, stop=stop, now_ms=stopping_now_ms, health=health)

    assert health.problems == {}
    await log.close()


async def test_a_log_that_is_full_skips_the_second_and_says_so(tmp_path: Path) -> None:
    log = await open_local_log(tmp_path, partitions={EVENTS: 1}, page_count_max=60)
    stop = asyncio.Event()
    health = Health()
    for size in (10_000, 1_000, 1):  # until not even the smallest fits
        with pytest.raises(Transient):
            await append_for_ever(log, size)

    def stopping_now_ms() -> int:
        stop.set()
        return 1_000

    await run_pulse(log, stop=stop, now_ms=stopping_now_ms, health=health)

    assert health.problems["pulse"].startswith("the log takes no pulses: ")
    await log.close()

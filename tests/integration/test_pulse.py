"""The pulse on a real log: every partition, each second, and a full disk that passes."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
from tests.integration.gateway_server import Running, running_gateway

from flowgauge.producers.pulse import run_pulse
from flowgauge.schemas.clock import PULSE_SLACK_MS, PartitionClock
from flowgauge.schemas.control_records import Pulse, decode_pulse
from flowgauge.schemas.errors import Transient
from flowgauge.schemas.times import rfc3339
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


PAUSE_MS = 3_600_000  # a laptop that slept an hour


@dataclass
class HandMoved:
    """A wall clock that a test moves, for the log, the pulse and the gateway alike."""

    at_ms: int = 1_795_478_400_000

    def now_ms(self) -> int:
        return self.at_ms


async def clocked(gateway: Running, partition: int) -> list[tuple[RecordKind, int]]:
    """Return each record of a partition with the append time that detection trusts."""
    clock = PartitionClock()
    found: list[tuple[RecordKind, int]] = []
    for record in await records(gateway.log, partition):
        pulse = decode_pulse(record.value) if record.kind is RecordKind.PULSE and record.value else None
        at_ms = clock.see_pulse(record.append_ms, pulse.sent_ms) if pulse else clock.see_record(record.append_ms)
        found.append((record.kind, at_ms))
    return found


async def publish(gateway: Running, occurred_ms: int) -> None:
    event = {"id": str(uuid4()), "occurred": rfc3339(occurred_ms), "event": "x", "resource": {"id": "y"}}
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"{gateway.url}/v1/events", json=[event])
    assert answer.json()["accepted"] == 1


async def test_events_that_come_before_the_first_pulse_after_a_pause_have_the_time_of_their_append(
    tmp_path: Path,
) -> None:
    clock = HandMoved()
    async with running_gateway(tmp_path, now_ms=clock.now_ms, partitions=2) as gateway:
        await publish(gateway, clock.at_ms)
        clock.at_ms += PAUSE_MS

        await publish(gateway, clock.at_ms)

        found = [await clocked(gateway, partition) for partition in range(2)]
    pulse, event = RecordKind.PULSE, RecordKind.EVENT
    began_ms, now_ms = clock.at_ms - PAUSE_MS, clock.at_ms
    with_events = [(pulse, began_ms), (event, began_ms), (pulse, now_ms), (event, now_ms)]
    assert sorted(found, key=len) == [[(pulse, began_ms), (pulse, now_ms)], with_events]


async def test_while_pulses_come_the_gateway_adds_none(tmp_path: Path) -> None:
    clock = HandMoved()
    async with running_gateway(tmp_path, now_ms=clock.now_ms) as gateway:
        stop = asyncio.Event()

        def stopping_now_ms() -> int:
            stop.set()
            return clock.at_ms

        await run_pulse(gateway.log, stop=stop, now_ms=stopping_now_ms, health=gateway.health)
        clock.at_ms += PULSE_SLACK_MS
        await publish(gateway, clock.at_ms)

        found = await clocked(gateway, 0)
    assert found == [(RecordKind.PULSE, clock.at_ms - PULSE_SLACK_MS), (RecordKind.EVENT, clock.at_ms)]

"""A Kafka log that was lived, under its broker's own append times, says the same when its records go elsewhere.

live        events and pulses come, matcher and detector are at work; the broker stamps each record
replayed    the events of that log with the append times that its partitions' clocks gave them, through the replay
moved       the same into a SQLite log of other partitions, through matcher and detector there
"""

import asyncio
import heapq
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.equality.comparison import lines_of, states
from tests.equality.lives import at_work, until
from tests.integration.audit_log import records_in, transitions_in
from tests.kafka_topics import create_topics

from flowgauge.processors.replay import Replay
from flowgauge.processors.ruleset import parse_rules
from flowgauge.processors.ruletopic import publish_rules
from flowgauge.producers.pulse import run_pulse
from flowgauge.schemas.clock import PartitionClock
from flowgauge.schemas.control_records import decode_pulse
from flowgauge.schemas.ids import events_partition
from flowgauge.schemas.times import rfc3339
from flowgauge.schemas.topics import EVENTS, RULES, SAMPLES, TRANSITIONS, RecordKind
from flowgauge.transport.health import Health
from flowgauge.transport.kafka import open_kafka_log
from flowgauge.transport.kafka_client import Connection
from flowgauge.transport.local import open_local_log
from flowgauge.transport.log import Log, Outgoing
from flowgauge.transport.wall_clock import now_ms

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

KAFKA_PARTITIONS, LOCAL_PARTITIONS = 3, 2
FLOWS = [f"flow-{number}" for number in range(6)]
RULES_TEXT = """
rules:
  - name: failing
    for_each: [flow]
    when: {failure_rate: {above: 50%, within: 2s, min_samples: 2}}
    allowed_lateness: 1s
    keep_firing_for: 1s
    no_data: resolve
  - name: each failure
    match: {state: failed}
    for_each: [flow]
    when: {event: {}}
"""
PAST_MS = 6_000  # window, lateness, timer and some panes
LATE_MS = 30_000


@dataclass(frozen=True, slots=True)
class Lived:
    """What a log held: its transitions, its events as (append_ms, partition, key, value), and where its clock ended."""

    transitions: Sequence[bytes]
    events: Sequence[tuple[int, int, str, bytes]]
    clock_ms: int


def ends_of_runs(state: str, *, late_by_ms: int = 0) -> list[tuple[str, bytes]]:
    """Return two ends of runs of each flow, as they happen now."""
    found: list[tuple[str, bytes]] = []
    for flow in FLOWS * 2:
        run = f"{flow}/{uuid.uuid4().hex}"
        event = {
            "id": str(uuid.uuid4()),
            "tenant": "default",
            "occurred": rfc3339(now_ms() - late_by_ms),
            "event": f"flow-run.{state}",
            "kind": "flow-run",
            "flow": flow,
            "run": run,
            "state": state,
            "resource": {"id": run},
        }
        found.append((run, json.dumps(event).encode()))
    return found


async def lived(bootstrap: str) -> Lived:
    connection = Connection(bootstrap=bootstrap, prefix=f"lived-{uuid.uuid4().hex[:8]}", instance="lived")
    await create_topics(connection, {EVENTS: KAFKA_PARTITIONS, SAMPLES: 2, TRANSITIONS: 1, RULES: 1})
    log = await open_kafka_log(connection)

    async def append(events: Sequence[tuple[str, bytes]], health: Health) -> None:
        """Append, and return when the clock of detection has passed them by a second."""
        await log.append(EVENTS, [Outgoing(events_partition(k, KAFKA_PARTITIONS), k, value) for k, value in events])
        at_ms = now_ms()
        await until(lambda: health.clock_ms > at_ms + 1_000)

    async def story(health: Health) -> None:
        no_more = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run_pulse(log, stop=no_more))
            failed = ends_of_runs("failed")
            await append([*failed, *failed[:3]], health)  # some are told twice
            await append([*ends_of_runs("failed", late_by_ms=LATE_MS), *ends_of_runs("completed")], health)
            await append(ends_of_runs("failed"), health)
            end_ms = now_ms() + PAST_MS
            await until(lambda: health.clock_ms > end_ms)
            no_more.set()

    try:
        await publish_rules(log, parse_rules("rules.yaml", RULES_TEXT))
        await at_work(log, story)
        return await told_by(log)
    finally:
        await log.close()


async def told_by(log: Log) -> Lived:
    events: list[tuple[int, int, str, bytes]] = []
    clocks = [PartitionClock() for _ in range(log.partitions(EVENTS))]
    for partition, clock in enumerate(clocks):
        async for record in records_in(log, EVENTS, partition):
            assert record.value is not None
            if record.kind == RecordKind.PULSE:
                clock.see_pulse(record.append_ms, decode_pulse(record.value).sent_ms)
                continue
            append_ms = clock.see_record(record.append_ms)
            if record.kind == RecordKind.EVENT:
                events.append((append_ms, partition, record.key, record.value))
    in_order = list(heapq.merge(*([e for e in events if e[1] == p] for p in range(len(clocks))), key=lambda e: e[0]))
    return Lived(lines_of(await transitions_in(log)), in_order, min(clock.clock_ms for clock in clocks))


def replayed(log: Lived) -> list[bytes]:
    lines = [b'{"_append":%d,"_partition":%d,%b' % (at, where, value[1:]) for at, where, _, value in log.events]
    replay = Replay(lambda: lines, parse_rules("rules.yaml", RULES_TEXT), until_ms=log.clock_ms)
    return lines_of(replay.transitions())


async def moved(log: Lived, folder: Path) -> list[bytes]:
    partitions = {EVENTS: LOCAL_PARTITIONS, SAMPLES: 1, TRANSITIONS: 1, RULES: 1}
    local = await open_local_log(folder, partitions=partitions)

    async def story(health: Health) -> None:
        begin_ms = log.events[0][0]
        rules = parse_rules("rules.yaml", RULES_TEXT)
        await publish_rules(local, rules, first_append_ms=dict.fromkeys(range(LOCAL_PARTITIONS), begin_ms))
        events = [Outgoing(events_partition(k, LOCAL_PARTITIONS), k, v, append_ms=at) for at, _, k, v in log.events]
        ends = [Outgoing(p, "", b"{}", RecordKind.LOADED, log.clock_ms) for p in range(LOCAL_PARTITIONS)]
        await local.append(EVENTS, [*events, *ends])
        await until(lambda: health.clock_ms >= log.clock_ms)

    try:
        await at_work(local, story)
        return lines_of(await transitions_in(local))
    finally:
        await local.close()


async def test_what_a_kafka_log_told_live_its_records_tell_in_a_replay_and_in_a_local_log(
    kafka: str, tmp_path: Path
) -> None:
    live = await lived(kafka)

    assert sorted(replayed(live)) == sorted(live.transitions)
    assert sorted(await moved(live, tmp_path)) == sorted(live.transitions)
    told = states(live.transitions)
    failures = 3 * 2 * len(FLOWS)
    assert told["resolved"] >= len(FLOWS)
    assert told["firing"] == failures + told["resolved"]

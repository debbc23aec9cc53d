"""The sink is killed before, after and amid every call it makes, over and over: rows in tables = events in the log."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable

import anyio
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.clickhouse.memory import Faults, Killed, MemoryLog, MemoryTables

from flowgauge.schemas.check import check
from flowgauge.schemas.clock import PartitionClock
from flowgauge.schemas.control_records import Pulse, encode_record
from flowgauge.schemas.delivery import DeadLetter, decode_dead_letter
from flowgauge.schemas.errors import InvalidEvent
from flowgauge.schemas.times import rfc3339
from flowgauge.schemas.topics import DLQ, EVENTS, RecordKind
from flowgauge.sinks.clickhouse.batch import Limits
from flowgauge.sinks.clickhouse.rows import SPECS
from flowgauge.sinks.clickhouse.sink_app import run_sink
from flowgauge.transport.health import Health
from flowgauge.transport.log import Outgoing
from flowgauge.transport.source_clock import see

DAY_MS = 86_400_000
EVENTS_SPEC = SPECS[:1]
KINDS = ("event", "event", "event", "yesterday", "invalid", "poison", "pulse", "marker", "tombstone")

records = st.tuples(st.sampled_from(KINDS), st.integers(0, 2), st.integers(-3_000, 9_000))
kills = st.tuples(st.integers(0, 14), st.sampled_from(["before", "after", "amid"]))


@pytest.mark.timeout(120)
@given(
    rounds=st.lists(st.tuples(st.lists(records, max_size=14), kills), min_size=1, max_size=8),
    rows_max=st.integers(1, 6),
    skips_max=st.integers(1, 3),
    troubles=st.lists(st.sampled_from(["before", "after", "later", "claimed", ""]), max_size=4),
    claims=st.booleans(),
    forgets=st.lists(st.integers(0, 6), max_size=8),
)
@example(
    rounds=[([("poison", 0, 1)] * 9 + [("event", 0, 1)] * 3, (-1, ""))],
    rows_max=6,
    skips_max=1,
    troubles=[],
    claims=False,
    forgets=[],
)
@example(rounds=[([("event", 0, 1)], (1, "amid"))], rows_max=1, skips_max=1, troubles=[], claims=True, forgets=[])
@example(
    rounds=[([("event", 0, 1)] * 5, (-1, ""))] * 3, rows_max=2, skips_max=1, troubles=[], claims=False, forgets=[3, 9]
)
def test_every_event_is_one_row_wherever_the_sink_is_killed(  # noqa: PLR0917  # drawn by name
    rounds: list[tuple[list[tuple[str, int, int]], tuple[int, str]]],
    rows_max: int,
    skips_max: int,
    troubles: list[str],
    claims: bool,
    forgets: list[int],
) -> None:
    async def scenario() -> None:
        log, tables = MemoryLog({EVENTS: 3}, stride=2), MemoryTables(troubles=list(troubles), claims=claims)
        limits = Limits(rows_max, skips_max=skips_max, refused_max=1, age_max_ms=0, idle_age_max_ms=0, backoff_ms=0)
        serial = 0
        for made, (kill_at, when) in rounds:
            for kind, partition, step_ms in made:
                log.now_ms += step_ms
                log.put(EVENTS, [record(kind, partition, log.now_ms, serial := serial + 1)])
            await run_until_stored(log, tables, limits, Faults(kill_at, when))
            if forgets:
                tables.end_inserts()  # ADR 13: what outlives its sink and its note is not met by any token
                log.forget_commits(forgets.pop())
        await run_until_stored(log, tables, limits, Faults())

        expected, refused = expected_rows(log)
        stored = sorted((r["_partition"], r["_offset"], r["_append"]) for r in tables.rows("flowgauge.events"))
        assert stored == expected
        assert tables.views >= {
            line for (table, _, _), lines in tables.parts.items() for line in lines if table == "flowgauge.events"
        }
        letters = {letter_place(r.value) for r in log.of(DLQ, 0)}
        assert letters == refused

    anyio.run(scenario)


@pytest.mark.timeout(120)
@given(
    made=st.lists(records, max_size=40),
    moves=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 3)), max_size=12),
    rows_max=st.integers(1, 6),
    troubles=st.lists(st.sampled_from(["before", "after", "later", "claimed", ""]), max_size=4),
)
def test_every_event_is_one_row_while_partitions_come_and_go(
    made: list[tuple[str, int, int]], moves: list[tuple[int, int, int]], rows_max: int, troubles: list[str]
) -> None:
    async def move(log: MemoryLog) -> None:
        for partition, turns, away in moves:
            for _ in range(turns):
                await asyncio.sleep(0)
            (reader,) = log.readers
            reader.moves.append(("revoke", partition))
            for _ in range(away):
                await asyncio.sleep(0)
            reader.moves.append(("assign", partition))

    async def scenario() -> None:
        log, tables = MemoryLog({EVENTS: 3}, stride=2), MemoryTables(troubles=list(troubles))
        limits = Limits(rows_max, skips_max=2, refused_max=1, age_max_ms=0, idle_age_max_ms=0, backoff_ms=0)
        for serial, (kind, partition, step_ms) in enumerate(made):
            log.now_ms += step_ms
            log.put(EVENTS, [record(kind, partition, log.now_ms, serial)])
        await run_until_stored(log, tables, limits, Faults(), meanwhile=lambda: move(log))
        await run_until_stored(log, tables, limits, Faults())

        expected, refused = expected_rows(log)
        stored = sorted((r["_partition"], r["_offset"], r["_append"]) for r in tables.rows("flowgauge.events"))
        assert stored == expected
        assert {letter_place(r.value) for r in log.of(DLQ, 0)} == refused

    anyio.run(scenario)


def record(kind: str, partition: int, now_ms: int, serial: int) -> Outgoing:
    """One record of the events topic: what `kind` says."""
    if kind == "pulse":
        return Outgoing(partition, "", encode_record(Pulse(sent_ms=now_ms - 100, log_id="memory")), RecordKind.PULSE)
    if kind == "marker":
        return Outgoing(partition, "", b'{"version":1}', RecordKind.RULES)
    if kind == "tombstone":
        return Outgoing(partition, "", None)
    event: dict[str, object] = {
        "id": str(uuid.UUID(int=serial)),
        "tenant": "acme",
        "occurred": rfc3339(now_ms - (DAY_MS if kind == "yesterday" else 0)),
        "event": "poison" if kind == "poison" else "x",
        "resource": {"id": "r"},
    }
    if kind == "invalid":
        del event["resource"]
    return Outgoing(partition, "r", msgspec.json.encode(event))


async def nothing() -> None:
    """Happen."""


async def run_until_stored(
    log: MemoryLog,
    tables: MemoryTables,
    limits: Limits,
    faults: Faults,
    *,
    meanwhile: Callable[[], Awaitable[None]] = nothing,
) -> None:
    """Run the sink until nothing is behind or it is killed."""
    log.faults = tables.faults = faults
    log.readers.clear()
    stop, health = asyncio.Event(), Health(sink_behind=-1)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run_sink(log, tables, stop=stop, health=health, specs=EVENTS_SPEC, limits=limits))
            while not log.readers:  # noqa: ASYNC110  # opened by the sink
                await asyncio.sleep(0)
            await meanwhile()
            health.sink_behind = -1
            while health.sink_behind or any(reader.moves for reader in log.readers):  # noqa: ASYNC110  # health is a plain record, written by the sink
                await asyncio.sleep(0)
            stop.set()
    except* Killed:
        assert faults.dead


def expected_rows(log: MemoryLog) -> tuple[list[tuple[int, int, str]], set[tuple[int, int, str]]]:
    """Compute the rows and letters from the log alone."""
    rows: list[tuple[int, int, str]] = []
    refused: set[tuple[int, int, str]] = set()
    for partition in range(3):
        clock = PartitionClock()
        for each in log.of(EVENTS, partition):
            append_ms = see(clock, each, 0, log.log_id)
            if each.kind != RecordKind.EVENT or each.value is None:
                continue
            try:
                poisoned = check(each.value, append_ms).event == "poison"
            except InvalidEvent as error:
                refused.add((partition, each.offset, error.reason))
                continue
            if poisoned:
                refused.add((partition, each.offset, "refused by ClickHouse"))
            else:
                rows.append((partition, each.offset, f"{append_ms // 1000:010d}.{append_ms % 1000:03d}"))
    return sorted(rows), refused


def letter_place(value: bytes | None) -> tuple[int, int, str]:
    letter: DeadLetter = decode_dead_letter(value or b"")
    return letter.source_partition, letter.source_offset, letter.reason

"""Partitions that come and go while the sink stores: one intent a partition at a time, and only where it owns it."""

import asyncio
import gc
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from tests.clickhouse.memory import MemoryLog, MemoryReader, MemoryTables
from tests.property.test_intent_crashes import EVENTS_SPEC, record, run_until_stored

from flowgauge.schemas.clock import ClockState
from flowgauge.schemas.errors import Transient
from flowgauge.schemas.topics import EVENTS
from flowgauge.sinks.clickhouse import sink_app
from flowgauge.sinks.clickhouse.batch import Batch, Limits, Sealed
from flowgauge.sinks.clickhouse.errors import EngineTrouble
from flowgauge.sinks.clickhouse.intent import Intent, commit_intent
from flowgauge.sinks.clickhouse.sink_app import GROUP, run_sink
from flowgauge.transport import patience
from flowgauge.transport.health import Health
from flowgauge.transport.log import Committed, Record

LIMITS = Limits(2, skips_max=2, refused_max=1, age_max_ms=0, idle_age_max_ms=0, backoff_ms=0, backoff_max_ms=1)


class Gated(MemoryTables):
    """Inserts of partition 0 wait for `gate`; where `refuses`, those of partition 1 fail."""

    gate: asyncio.Event
    refuses = False

    async def insert(self, table: str, body: bytes, token: str) -> None:
        if table == "flowgauge.events" and b'"_partition":0' in body:
            await self.gate.wait()
        elif table == "flowgauge.events" and self.refuses:
            raise EngineTrouble("away", "known")
        await super().insert(table, body, token)


class Away(Gated):
    """Refuses `tries` inserts, and notes how far was read meanwhile."""

    tries = 240  # an hour, at the longest pause
    read_to: int = 0
    log: MemoryLog

    async def insert(self, table: str, body: bytes, token: str) -> None:
        if self.tries:
            self.tries -= 1
            self.read_to = max(self.read_to, *(reader.at.get(0, 0) for reader in self.log.readers))
            raise EngineTrouble("away", "known")
        await super().insert(table, body, token)


class Weighed(MemoryTables):
    """Notes at each insert how many rows of its log the batches in memory hold that take no more."""

    log_id = "weighed"
    weights: list[int]

    async def insert(self, table: str, body: bytes, token: str) -> None:
        if table == "flowgauge.events":
            sealed = [each for each in gc.get_objects() if isinstance(each, Sealed)]
            self.weights.append(sum(self.log_id.encode() in row.line for each in sealed for row in each.rows))
        await super().insert(table, body, token)


@asynccontextmanager
async def sink(log: MemoryLog, tables: Gated) -> AsyncGenerator[MemoryReader]:
    """Run a sink that owns partition 0 and waits for its insert; let it stop at the end of the block."""
    stop, health = asyncio.Event(), Health(sink_behind=-1)
    tables.gate = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_sink(log, tables, stop=stop, health=health, specs=EVENTS_SPEC, limits=LIMITS))
        while not log.readers:  # noqa: ASYNC110  # opened by the sink
            await asyncio.sleep(0)
        (reader,) = log.readers
        reader.moves = [("assign", 0)]
        await turns(30)
        yield reader
        stop.set()


async def turns(count: int) -> None:
    """Let the sink go on; nothing here waits for time."""
    for _ in range(count):
        await asyncio.sleep(0)


def put(log: MemoryLog, partition: int, kinds: Sequence[str]) -> None:
    for number, kind in enumerate(kinds):
        log.put(EVENTS, [record(kind, partition, log.now_ms, 100 * partition + number)])


def places(tables: MemoryTables) -> list[tuple[object, object]]:
    return sorted((row["_partition"], row["_offset"]) for row in tables.rows("flowgauge.events"))


@pytest.fixture
def log() -> MemoryLog:
    made = MemoryLog({EVENTS: 2})
    put(made, 0, ["event", "event"])
    return made


async def test_a_batch_to_repeat_is_stored_before_the_next_one_of_its_partition_is_begun(log: MemoryLog) -> None:
    tables = Gated()
    put(log, 1, ["event"] * 6)
    log.offsets[EVENTS, GROUP] = {1: commit_intent(Intent(0, 2, ClockState()))}

    async with sink(log, tables) as reader:
        reader.moves.append(("assign", 1))
        await turns(200)
        tables.refuses = True
        tables.gate.set()
        await turns(300)
    tables.refuses = False
    await run_until_stored(log, tables, LIMITS, log.faults)

    assert places(tables) == [(0, 0), (0, 1), *((1, offset) for offset in range(6))]


async def test_a_batch_to_repeat_that_is_cut_leaves_no_gap(log: MemoryLog) -> None:
    tables = Gated()
    kinds = ["event", "poison", "poison", "poison", "poison", "event", "event", "event"]
    put(log, 1, kinds)
    log.offsets[EVENTS, GROUP] = {1: commit_intent(Intent(0, 6, ClockState()))}

    async with sink(log, tables) as reader:
        reader.moves.append(("assign", 1))
        await turns(200)
        tables.gate.set()
        await turns(500)
    await run_until_stored(log, tables, LIMITS, log.faults)

    good = [(1, offset) for offset, kind in enumerate(kinds) if kind == "event"]
    assert places(tables) == [(0, 0), (0, 1), *good]


async def test_a_row_that_is_refused_after_its_partition_went_commits_nothing() -> None:
    log, tables = MemoryLog({EVENTS: 1}), Gated()
    put(log, 0, ["poison", "event"])

    async with sink(log, tables) as reader:
        noted = dict(reader.noted)
        reader.moves.append(("revoke", 0))
        await turns(30)
        tables.gate.set()
        await turns(100)

        assert noted == {0: commit_intent(Intent(0, 2, ClockState()))}
        assert reader.noted == noted


async def test_a_partition_that_goes_while_a_full_batch_waits_is_let_go(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_app, "KEEP_PLACE_MS", 0)
    tables = Gated()
    put(log, 0, ["event"] * 4)

    async with sink(log, tables) as reader:
        reader.moves.append(("revoke", 0))
        await turns(100)

        assert reader.moves == []
        tables.gate.set()
        await turns(100)
        assert reader.noted == {0: commit_intent(Intent(0, 2, ClockState()))}


async def test_a_commit_that_no_broker_answers_is_tried_again(log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSE_MS", 0)
    tables = Gated()

    async with sink(log, tables) as reader:
        commit, away = reader.commit, [Transient("no broker answers")] * 3

        async def answered_late(offsets: Mapping[int, Committed]) -> None:
            if away:
                raise away.pop()
            await commit(offsets)

        monkeypatch.setattr(reader, "commit", answered_late)
        tables.gate.set()
        await turns(200)

        assert away == []
        assert reader.noted[0].next_offset == 2
    assert places(tables) == [(0, 0), (0, 1)]


async def test_while_clickhouse_is_away_no_more_is_read_than_the_next_batch_and_a_poll(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sink_app, "POLL_RECORDS_MAX", 2)
    monkeypatch.setattr(sink_app, "KEEP_PLACE_MS", 0)
    log, tables = MemoryLog({EVENTS: 1}), Away()
    tables.log = log
    put(log, 0, ["event"] * 40)

    tables.gate = asyncio.Event()
    tables.gate.set()
    await run_until_stored(log, tables, LIMITS, log.faults)

    assert tables.tries == 0
    assert LIMITS.rows_max < tables.read_to <= 2 * LIMITS.rows_max + 2
    assert places(tables) == [(0, offset) for offset in range(40)]


async def test_trouble_with_a_batch_of_no_rows_tells_of_none_that_wait(log: MemoryLog) -> None:
    """Pulses bring a clock to store and no row."""
    tables, stop, health = Away(), asyncio.Event(), Health(sink_behind=-1)
    tables.gate, tables.log = asyncio.Event(), MemoryLog({EVENTS: 1})
    tables.gate.set()
    put(tables.log, 0, ["pulse"])

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_sink(tables.log, tables, stop=stop, health=health, specs=EVENTS_SPEC, limits=LIMITS))
        while not health.problems:  # noqa: ASYNC110  # told by the sink
            await asyncio.sleep(0)
        told = dict(health.problems)
        stop.set()

    assert told == {"sink flowgauge.events": "away"}


@pytest.mark.parametrize("partitions", [0, 1, 2, 3, 64, 5_000])
def test_batches_of_all_partitions_together_are_bounded(partitions: int) -> None:
    limits = LIMITS.of_one(partitions)

    assert 0 < limits.bytes_max <= LIMITS.bytes_max
    assert limits.bytes_max * partitions <= LIMITS.bytes_all_max


async def test_limits_are_those_of_all_partitions_however_they_came(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    seen = Batch.add

    def add(self: Batch, records: Sequence[Record], now_ms: int) -> int:
        given.append(self.limits.bytes_max)
        return seen(self, records, now_ms)

    monkeypatch.setattr(Batch, "add", add)
    log = MemoryLog({EVENTS: 8})
    tables = MemoryTables()
    for partition in range(8):
        put(log, partition, ["event"] * 3)

    await run_until_stored(log, tables, replace(LIMITS, bytes_all_max=8_000), log.faults)

    assert set(given) == {1_000}


@pytest.mark.parametrize("are_pending", [True, False])
async def test_of_closed_batches_only_the_one_that_is_inserted_is_in_memory(
    are_pending: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_app, "POLL_RECORDS_MAX", 2)
    partitions = range(8 if are_pending else 1)
    log, tables = MemoryLog({EVENTS: len(partitions)}, Weighed.log_id), Weighed()
    for partition in partitions:
        put(log, partition, ["event"] * (2 if are_pending else 16))
    if are_pending:
        log.offsets[EVENTS, GROUP] = {each: commit_intent(Intent(0, 2, ClockState())) for each in partitions}

    tables.weights = []
    await run_until_stored(log, tables, LIMITS, log.faults)

    assert tables.weights == [2] * 8
    assert len(places(tables)) == 16

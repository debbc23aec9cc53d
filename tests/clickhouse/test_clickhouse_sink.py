"""The sink with the real log and the real engine: whatever fails in between, each event is one row."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from tests.clickhouse.running_sink import NOW_MS, Tenant, new_log, running_sink, stored, until

from flowgauge.schemas.control_records import Pulse, encode_record
from flowgauge.schemas.delivery import decode_dead_letter
from flowgauge.schemas.times import rfc3339
from flowgauge.schemas.topics import DLQ, EVENTS, RecordKind
from flowgauge.sinks.clickhouse.batch import Limits
from flowgauge.sinks.clickhouse.claims import Span
from flowgauge.sinks.clickhouse.errors import EngineTrouble
from flowgauge.sinks.clickhouse.intent import read_position
from flowgauge.sinks.clickhouse.sink_app import GROUP
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import EVERY_TENANT
from flowgauge.transport.log import Outgoing


@dataclass
class Faulty:
    """The store with trouble: each of `troubles` is spent on one insert of events."""

    store: ClickHouseStore
    troubles: list[Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]]
    inserts: list[str] = field(default_factory=list[str])

    async def insert(self, table: str, body: bytes, token: str) -> None:
        self.inserts.append(token)

        async def act() -> None:
            await self.store.insert(table, body, token)

        if self.troubles and table == "flowgauge.events":
            await self.troubles.pop(0)(act)
        else:
            await act()

    async def held(self, table: str, span: Span) -> Set[int]:
        return await self.store.held(table, span)

    async def erased(self) -> Mapping[str, int]:
        return await self.store.erased()

    async def fold_again(self, table: str, span: Span) -> None:
        await self.store.fold_again(table, span)


async def lose_the_answer(act: Callable[[], Awaitable[None]]) -> None:
    await act()
    raise EngineTrouble("no answer came", "unknown")


async def refuse_before(act: Callable[[], Awaitable[None]]) -> None:  # it never acts
    raise EngineTrouble("ClickHouse: the disk is full (code 243)", "known")


async def end_after(act: Callable[[], Awaitable[None]]) -> None:
    await act()
    raise KeyError("the process ends here")


async def test_events_are_rows_and_pulses_are_not(store: ClickHouseStore, tmp_path: Path) -> None:
    async with new_log(tmp_path) as log:
        tenant = Tenant(log)
        pulse = encode_record(Pulse(sent_ms=NOW_MS, log_id=log.log_id))
        await log.append(EVENTS, [Outgoing(0, "", pulse, RecordKind.PULSE, NOW_MS)])
        await tenant.publish(500)

        async with running_sink(log, store) as health:
            await until(lambda: health.sink_behind == 0)

        assert await stored(store, tenant.name) == (500, 500, 500, 500)
        assert health.stored == 500
        clocks = await store.query(
            "SELECT partition, max(end), max(clock_ms) FROM flowgauge.clocks WHERE log_id = {log:String} "
            "GROUP BY partition ORDER BY partition",
            {"log": log.log_id},
            seen=EVERY_TENANT,
        )
        assert clocks.rows == [(0, 251, NOW_MS), (1, 250, NOW_MS)]


async def test_all_fields_of_an_event_are_kept(store: ClickHouseStore, tmp_path: Path) -> None:
    async with new_log(tmp_path) as log:
        tenant = Tenant(log)
        related = [{"id": "d1", "role": "deployment"}]
        follows = str(uuid.uuid4())
        await tenant.publish(
            1,
            occurred="2026-11-18T11:00:00.123456+02:00",
            scheduled_for="2026-11-18T08:59:00Z",
            related=related,
            follows=follows,
            task="t1",
            payload={"message": 'a "quoted"\nline \u0000 ☃', "cost": {"amount": 1.5}},
            extra={"unknown": [1, 2]},
        )

        async with running_sink(log, store) as health:
            await until(lambda: health.sink_behind == 0)

        found = await store.query(
            "SELECT * FROM flowgauge.events WHERE tenant = {t:String}", {"t": tenant.name}, seen=EVERY_TENANT
        )
    row = found.dicts()[0]
    assert row["occurred"] == "2026-11-18T09:00:00.123456Z"
    assert row["scheduled_for"] == "2026-11-18T08:59:00Z"
    assert (row["related"], row["follows"], row["task"]) == (related, follows, "t1")
    assert (row["_partition"], row["_offset"], row["_append"]) == (0, 0, rfc3339(NOW_MS).replace(".000Z", "Z"))
    assert msgspec.json.decode(str(row["payload"])) == {
        "message": 'a "quoted"\nline \u0000 ☃',
        "cost": {"amount": 1.5},
    }
    assert msgspec.json.decode(str(row["extra"])) == {"unknown": [1, 2]}


async def test_an_answer_that_was_lost_doubles_nothing(store: ClickHouseStore, tmp_path: Path) -> None:
    async with new_log(tmp_path) as log:
        tenant = Tenant(log)
        await tenant.publish(200)
        faulty = Faulty(store, [lose_the_answer, lose_the_answer, lose_the_answer])

        async with running_sink(log, faulty) as health:
            await until(lambda: health.sink_behind == 0)

        assert await stored(store, tenant.name) == (200, 200, 200, 200)
        assert health.problems == {}


async def test_a_full_disk_keeps_the_batch_and_says_so(store: ClickHouseStore, tmp_path: Path) -> None:
    async with new_log(tmp_path) as log:
        tenant = Tenant(log)
        await tenant.publish(200)
        faulty = Faulty(store, [refuse_before] * 1_000_000)

        async with running_sink(log, faulty) as health:
            await until(lambda: bool(health.problems))
            problem = health.problems["sink flowgauge.events"]
            faulty.troubles.clear()
            await until(lambda: health.sink_behind == 0)

        assert problem == "ClickHouse: the disk is full (code 243); 100 rows wait"
        assert await stored(store, tenant.name) == (200, 200, 200, 200)
        assert health.problems == {}


async def test_a_sink_that_stops_in_trouble_leaves_an_intent_that_the_next_one_replays(
    store: ClickHouseStore, tmp_path: Path
) -> None:
    async with new_log(tmp_path) as log:
        tenant = Tenant(log)
        await tenant.publish(200)
        async with running_sink(log, Faulty(store, [refuse_before] * 1_000_000)) as health:
            await until(lambda: bool(health.problems))
        assert (await stored(store, tenant.name))[0] == 0

        async with running_sink(log, store) as health:
            await until(lambda: health.sink_behind == 0)

        assert await stored(store, tenant.name) == (200, 200, 200, 200)


async def test_a_sink_that_ends_between_insert_and_commit_doubles_nothing(
    store: ClickHouseStore, tmp_path: Path
) -> None:
    async with new_log(tmp_path) as log:
        tenant = Tenant(log)
        await tenant.publish(200)
        for _ in range(3):
            with pytest.RaisesGroup(KeyError, flatten_subgroups=True):
                async with running_sink(log, Faulty(store, [end_after])):
                    await asyncio.Event().wait()
            await tenant.publish(50)

        async with running_sink(log, store) as health:
            await until(lambda: health.sink_behind == 0)

        assert await stored(store, tenant.name) == (350, 350, 350, 200)


async def test_a_frozen_sink_that_wakes_inserts_nothing_twice(store: ClickHouseStore, tmp_path: Path) -> None:
    async with new_log(tmp_path) as log:
        tenant = Tenant(log)
        await tenant.publish(200)
        kept: list[tuple[str, bytes, str]] = []

        class Recording(Faulty):
            async def insert(self, table: str, body: bytes, token: str) -> None:
                kept.append((table, body, token))
                await super().insert(table, body, token)

        async with running_sink(log, Recording(store, [])) as health:
            await until(lambda: health.sink_behind == 0)
        for table, body, token in kept:
            await store.insert(table, body, token)

        assert await stored(store, tenant.name) == (200, 200, 200, 200)


async def test_bad_events_go_to_the_dlq_and_their_neighbours_are_stored(store: ClickHouseStore, tmp_path: Path) -> None:
    async with new_log(tmp_path) as log:
        tenant = Tenant(log)
        good = tenant.event(1)
        refused_by_clickhouse = tenant.event(2, occurred="2026-11-18t11:00:00z")
        bad: Sequence[bytes] = (
            b"not json",
            b"\xff\xfe",
            tenant.event(3, resource={}),
            tenant.event(4, occurred="1999-01-01T00:00:00Z"),
            tenant.event(5)[:-1] + b',"id":"%s"}' % str(uuid.uuid4()).encode(),
            refused_by_clickhouse,
        )
        values = [good, *bad, tenant.event(9)]
        await log.append(EVENTS, [Outgoing(0, "", value, append_ms=NOW_MS) for value in values])

        async with running_sink(log, store) as health:
            await until(lambda: health.sink_behind == 0)

        assert await stored(store, tenant.name) == (2, 2, 2, 2)
        letters = [decode_dead_letter(record.value or b"") for record in await log.read(DLQ, 0, 0, 100)]
        assert [(letter.source_offset, letter.reason) for letter in letters] == [
            (1, "not JSON"),
            (2, "not UTF-8"),
            (3, "no resource id"),
            (4, "clock far off"),
            (5, "duplicate key"),
            (6, "refused by ClickHouse"),
        ]
        assert letters[5].value == refused_by_clickhouse
        assert {letter.origin for letter in letters} == {"sink"}


async def test_a_flood_of_rows_that_clickhouse_refuses_passes(store: ClickHouseStore, tmp_path: Path) -> None:
    async with new_log(tmp_path) as log:
        tenant = Tenant(log)
        values = [tenant.event(n, occurred="2026-11-18t11:00:00z") if n % 3 else tenant.event(n) for n in range(15)]
        await log.append(EVENTS, [Outgoing(0, "", value, append_ms=NOW_MS) for value in values])

        async with running_sink(log, store, Limits(skips_max=2, refused_max=2, age_max_ms=0)) as health:
            await until(lambda: health.sink_behind == 0)

        assert await stored(store, tenant.name) == (5, 5, 5, 5)
        letters = [decode_dead_letter(record.value or b"") for record in await log.read(DLQ, 0, 0, 100)]
        assert {letter.source_offset for letter in letters} == {n for n in range(15) if n % 3}


async def test_the_clock_of_a_replay_is_that_of_the_first_read(store: ClickHouseStore, tmp_path: Path) -> None:
    async with new_log(tmp_path) as log:
        tenant = Tenant(log)
        late_broker_clock = [NOW_MS, NOW_MS + 60_000, NOW_MS - 60_000]
        pulse = Outgoing(0, "", encode_record(Pulse(sent_ms=NOW_MS, log_id=log.log_id)), RecordKind.PULSE, NOW_MS)
        await log.append(EVENTS, [pulse])
        events = [Outgoing(0, "", tenant.event(n), append_ms=ms) for n, ms in enumerate(late_broker_clock)]
        await log.append(EVENTS, events[:2])
        async with running_sink(log, store) as health:
            await until(lambda: health.sink_behind == 0)
        await log.append(EVENTS, events[2:])
        with pytest.RaisesGroup(KeyError, flatten_subgroups=True):
            async with running_sink(log, Faulty(store, [end_after])):
                await asyncio.Event().wait()

        async with running_sink(log, store) as health:
            await until(lambda: health.sink_behind == 0)

        found = await store.query(
            "SELECT toUnixTimestamp64Milli(_append) FROM flowgauge.events WHERE tenant = {t:String} ORDER BY _offset",
            {"t": tenant.name},
            seen=EVERY_TENANT,
        )
        assert found.rows == [(NOW_MS,), (NOW_MS + 5_000,), (NOW_MS + 5_000,)]


async def test_a_quiet_partition_notes_its_clock(store: ClickHouseStore, tmp_path: Path) -> None:
    async with new_log(tmp_path) as log:
        pulse = Outgoing(1, "", encode_record(Pulse(sent_ms=NOW_MS, log_id=log.log_id)), RecordKind.PULSE, NOW_MS)
        await log.append(EVENTS, [pulse])

        async with running_sink(log, store, Limits()) as health:
            await until(lambda: health.sink_behind == 0)

        reader = await log.open_reader(EVENTS, GROUP)
        position = read_position((await reader.committed())[1])
        await reader.close()
    assert (position.offset, position.clock.clock_ms, position.intent) == (1, NOW_MS, None)

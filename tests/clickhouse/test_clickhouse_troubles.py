"""Every code of the tables of causes, over HTTP; and what the engine itself can be brought to say."""

import uuid
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.clickhouse.running_sink import NOW_MS, Tenant, new_log, running_sink, stored, until
from tests.clickhouse_front import Front

from flowgauge.schemas.delivery import decode_dead_letter
from flowgauge.schemas.topics import DLQ, EVENTS
from flowgauge.sinks.clickhouse.errors import PASSING, QUARANTINED, STOPPING, EngineTrouble, RowRefused
from flowgauge.sinks.clickhouse.rows import row
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.transport.log import Outgoing

EVENTS_TABLE = "flowgauge.events"
UNHEARD_OF = 998

pytestmark = pytest.mark.timeout(120)


def rows_of(tenant: str, count: int = 3) -> bytes:
    lines: list[bytes] = []
    for offset in range(count):
        value = Tenant(None, tenant).event(offset)  # type: ignore[arg-type]  # it only makes bytes here
        lines.append(row(value, log_id="x", partition=0, offset=offset, append_ms=NOW_MS).line)
    return b"\n".join(lines)


@pytest.mark.parametrize(
    ("kind", "codes"),
    [("known", PASSING), ("person", STOPPING), ("unknown", [UNHEARD_OF, *QUARANTINED])],
    ids=["passing", "stopping", "unheard of"],
)
async def test_codes_that_name_no_row_keep_all_rows_for_another_try(
    front: Front, served: ClickHouseStore, kind: str, codes: Collection[int]
) -> None:
    tenant, token = f"code-{kind}", uuid.uuid4().hex
    told: dict[int, tuple[str, bool]] = {}

    for code in codes:
        with front.faults(f"code {code}"), pytest.raises(EngineTrouble) as trouble:
            await served.insert(EVENTS_TABLE, rows_of(tenant), token)
        told[code] = (trouble.value.kind, f"(code {code})" in str(trouble.value))
    before = await stored(served, tenant)
    await served.insert(EVENTS_TABLE, rows_of(tenant), token)

    assert told == dict.fromkeys(codes, (kind, True))
    assert (before[0], (await stored(served, tenant))[0]) == (0, 3)


async def test_codes_of_bad_values_refuse_the_row_that_they_name(front: Front, served: ClickHouseStore) -> None:
    told: dict[int, int | None] = {}

    for code in QUARANTINED:
        with front.faults(f"code {code} row 2"), pytest.raises(RowRefused) as refused:
            await served.insert(EVENTS_TABLE, rows_of("named"), uuid.uuid4().hex)
        told[code] = refused.value.index

    assert told == dict.fromkeys(QUARANTINED, 1)


@pytest.mark.parametrize("code", [241, 60, UNHEARD_OF])
async def test_a_code_that_says_nothing_of_values_refuses_no_row_though_it_names_one(
    front: Front, served: ClickHouseStore, code: int
) -> None:
    with front.faults(f"code {code} row 2"), pytest.raises(EngineTrouble):
        await served.insert(EVENTS_TABLE, rows_of("unnamed"), uuid.uuid4().hex)


async def test_what_people_write_does_not_say_which_row_is_bad(store: ClickHouseStore, tmp_path: Path) -> None:
    async with new_log(tmp_path) as log:
        tenant = Tenant(log)
        values = [tenant.event(0)]
        for text in ("(at row 1)", "is violated at row 1", "Code: 60. (at row 1)"):
            bad = tenant.event(1, occurred="2026-11-18t11:00:00z", payload={"message": text}, task=text, run=text)
            values += [bad, tenant.event(2)]
        await log.append(EVENTS, [Outgoing(0, "", value, append_ms=NOW_MS) for value in values])

        async with running_sink(log, store) as health:
            await until(lambda: health.sink_behind == 0)

        letters = [decode_dead_letter(record.value or b"") for record in await log.read(DLQ, 0, 0, 100)]
        refused = [letter.source_offset for letter in letters]
        assert (refused, (await stored(store, tenant.name))[0]) == ([1, 3, 5], 4)


@asynccontextmanager
async def altered(store: ClickHouseStore, change: str, undo: str) -> AsyncGenerator[None]:
    await store.command(change, {})
    try:
        yield
    finally:
        await store.command(undo, {})


REALLY = {
    "60": ("RENAME TABLE {0} TO {0}_away", "RENAME TABLE {0}_away TO {0}", "a table is missing"),
    "243": (
        "ALTER TABLE {0} MODIFY SETTING min_free_disk_bytes_to_perform_insert = 1000000000000000000",
        "ALTER TABLE {0} RESET SETTING min_free_disk_bytes_to_perform_insert",
        "the disk is full",
    ),
    "252": (
        "ALTER TABLE {0} MODIFY SETTING parts_to_throw_insert = 1, parts_to_delay_insert = 1000",
        "ALTER TABLE {0} RESET SETTING parts_to_throw_insert, parts_to_delay_insert",
        "too many parts",
    ),
}


@pytest.mark.parametrize("code", REALLY)
async def test_the_sink_waits_and_stores_all_once_the_engine_can_again(
    store: ClickHouseStore, tmp_path: Path, code: str
) -> None:
    change, undo, said = REALLY[code]
    async with new_log(tmp_path) as log:
        tenant = Tenant(log)
        await tenant.publish(40)
        async with running_sink(log, store) as health:
            await until(lambda: health.sink_behind == 0)
        await tenant.publish(40)
        alteration = altered(store, change.format(EVENTS_TABLE), undo.format(EVENTS_TABLE))
        async with alteration, running_sink(log, store) as health:
            await until(lambda: bool(health.problems))
            problem = health.problems["sink flowgauge.events"]
        async with running_sink(log, store) as health:
            await until(lambda: health.sink_behind == 0)

        assert (said in problem, f"(code {code})" in problem) == (True, True), problem
        assert (await stored(store, tenant.name))[:2] == (80, 80)


async def test_a_view_that_lost_its_table_stops_the_sink_and_loses_nothing(
    store: ClickHouseStore, tmp_path: Path
) -> None:
    rollup = "flowgauge.run_ends_hourly"
    async with new_log(tmp_path) as log:
        tenant = Tenant(log)
        await tenant.publish(40)
        alteration = altered(store, f"RENAME TABLE {rollup} TO {rollup}_x", f"RENAME TABLE {rollup}_x TO {rollup}")
        async with alteration, running_sink(log, store) as health:
            await until(lambda: bool(health.problems))
            problem = health.problems["sink flowgauge.events"]
        async with running_sink(log, store) as health:
            await until(lambda: health.sink_behind == 0)

        assert "(code 60)" in problem
        assert await stored(store, tenant.name) == (40, 40, 40, 40)

"""All rows of a tenant: counted and read out whole, erased from every table, and not brought back by the log."""

import asyncio
import uuid
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.clickhouse.reading import Counted
from tests.clickhouse.running_sink import NOW_MS
from tests.clickhouse.test_clickhouse_tenancy import HOLDS, write_all_tables
from tests.clickhouse_front import Front

from flowgauge.schemas.clock import ClockState
from flowgauge.sinks.clickhouse.batch import Sealed
from flowgauge.sinks.clickhouse.erasing import AHEAD_MS, kept_rows
from flowgauge.sinks.clickhouse.inserting import Inserter
from flowgauge.sinks.clickhouse.intent import Intent
from flowgauge.sinks.clickhouse.metric import InvalidQuestion
from flowgauge.sinks.clickhouse.rows import SPECS, Row, row
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenant_rows import Holding, PagePlace, erase, holding, is_known, page, readable, told
from flowgauge.transport.wall_clock import now_ms

EVENTS_SPEC = SPECS[0]


def unheard_of() -> str:
    return f"t-{uuid.uuid4().hex[:8]}"


async def erased(store: ClickHouseStore, tenant: str, at_ms: int) -> Holding:
    """Erase until nothing is left."""
    while (left := await erase(store, tenant, at_ms)).pending or any(left.rows.values()):  # noqa: ASYNC110  # the engine tells nobody
        await asyncio.sleep(0.01)
    return left


def event_row(tenant: str, offset: int, append_ms: int, **more: object) -> Row:
    event = {"id": str(uuid.uuid4()), "tenant": tenant, "occurred": append_ms / 1000, **HOLDS["events"], **more}
    return row(msgspec.json.encode(event), log_id=f"log-{tenant}", partition=0, offset=offset, append_ms=append_ms)


def sealed(rows: list[Row]) -> Sealed:
    start, end = rows[0].offset, rows[-1].offset + 1
    return Sealed(0, Intent(start, end, ClockState()), ClockState(), tuple(rows), ())


async def test_a_tenant_is_erased_from_every_table_also_from_one_that_somebody_added(embedded: ClickHouseStore) -> None:
    gone, stays = unheard_of(), unheard_of()
    await write_all_tables(embedded, gone, stays)
    await embedded.command(
        "CREATE TABLE flowgauge.`added later` (tenant String, n UInt8) ENGINE = MergeTree ORDER BY tenant", {}
    )
    try:
        for tenant in (gone, stays):
            await embedded.command("INSERT INTO flowgauge.`added later` SELECT {t:String}, 1", {"t": tenant})
        before = await holding(embedded, gone)

        await erased(embedded, gone, now_ms())
        for table in before.rows:
            await embedded.command(f"OPTIMIZE TABLE flowgauge.`{table}` FINAL", {})
        after, others = await holding(embedded, gone), await holding(embedded, stays)
    finally:
        await embedded.command("DROP TABLE flowgauge.`added later`", {})

    assert set(before.rows.values()) == {1}
    assert {
        "added later",
        "events",
        "runs",
        "runs_folded",
        "run_ends_hourly",
        "failures",
        "dlq",
        "transitions",
        "deliveries",
    } == set(before.rows)
    assert after == Holding(dict.fromkeys(before.rows, 0), before.raw, 0)
    assert others.rows == before.rows


async def test_what_an_erasure_would_take_counts_what_waits_to_be_merged_once(embedded: ClickHouseStore) -> None:
    tenant = unheard_of()
    await embedded.command("SYSTEM STOP MERGES", {})
    try:
        await write_all_tables(embedded, tenant)
        await write_all_tables(embedded, tenant)
        seen, stored, read = (
            await told(embedded, tenant),
            await holding(embedded, tenant),
            await readable(embedded, tenant, until_ms=now_ms() + 60_000),
        )
    finally:
        await embedded.command("SYSTEM START MERGES", {})

    raw = {"events": 2, "transitions": 2, "deliveries": 2, "dlq": 2}
    by_event = {"failures": 2}  # its key has the event's id
    assert seen.rows == {**raw, **by_event, "runs": 1, "runs_folded": 1, "run_ends_hourly": 1}
    assert stored.rows == {**raw, **by_event, "runs": 2, "runs_folded": 2, "run_ends_hourly": 2}
    assert read == Holding(dict(sorted(raw.items())), sorted(raw), 0)
    await erased(embedded, tenant, now_ms())


async def test_what_an_erasure_would_take_of_a_very_large_tenant_is_counted_as_it_is_stored(
    served: ClickHouseStore, front: Front
) -> None:
    tenant = unheard_of()
    await write_all_tables(served, tenant)

    with front.faults("code 159", of="SELECT count() FROM flowgauge.`runs` FINAL"):
        seen = await told(served, tenant)
        broken = [each for each in front.seen("SELECT count() FROM flowgauge.`runs` FINAL") if each["fault"]]

    assert len(broken) == 1
    assert seen == await holding(served, tenant)
    await erased(served, tenant, now_ms())


async def test_an_erased_tenants_records_make_no_rows_again_and_newer_ones_do(store: ClickHouseStore) -> None:
    tenant, at_ms = unheard_of(), NOW_MS + 60_000
    inserter = Inserter(store, EVENTS_SPEC, f"log-{tenant}")
    batch = sealed([event_row(tenant, offset, NOW_MS + offset) for offset in range(5)])
    await inserter.insert(batch)
    assert (await holding(store, tenant)).rows["events"] == 5

    await erased(store, tenant, at_ms)
    inserter.doubt(0)  # the broker forgot commits
    await inserter.insert(batch)
    await inserter.insert(replace(batch, is_repeat=True))
    assert set((await holding(store, tenant)).rows.values()) == {0}

    newer = sealed([event_row(tenant, 5, NOW_MS + 5), event_row(tenant, 6, at_ms + AHEAD_MS)])
    await inserter.insert(newer)
    assert (await holding(store, tenant)).rows["events"] == 1


async def test_pages_hold_every_row_once_in_the_logs_order(store: ClickHouseStore) -> None:
    tenant = unheard_of()
    # Many at one moment, days without any, and some after the end.
    times = [NOW_MS] * 7 + [NOW_MS + 1, NOW_MS + 599_999, NOW_MS + 600_000, NOW_MS + 5 * 86_400_000]
    batch = sealed([event_row(tenant, offset, at_ms) for offset, at_ms in enumerate([*times, NOW_MS + 6 * 86_400_000])])
    await Inserter(store, EVENTS_SPEC, f"log-{tenant}").insert(batch)

    until_ms = NOW_MS + 6 * 86_400_000
    found: list[int] = []
    place: PagePlace | None = PagePlace()
    while place is not None:
        part = await page(store, tenant, "events", place, until_ms=until_ms, rows_max=3)
        found += [msgspec.json.decode(line)["_offset"] for line in part.rows]
        place = part.next

    assert found == list(range(len(times)))
    assert (await readable(store, tenant, until_ms=until_ms)).rows["events"] == len(times)
    with pytest.raises(InvalidQuestion, match="no table that can be read out is called 'runs'"):
        await page(store, tenant, "runs", PagePlace(), until_ms=until_ms)


async def test_a_page_holds_no_more_bytes_than_it_may_but_one_row_at_least(store: ClickHouseStore) -> None:
    """Ten thousand events of a megabyte would be more than ClickHouse and this process have."""
    tenant = unheard_of()
    sizes = [10, 200_000, 10, 10, 200_000, 200_000, 10]
    rows = [event_row(tenant, n, NOW_MS + n // 3, payload={"text": "x" * size}) for n, size in enumerate(sizes)]
    await Inserter(store, EVENTS_SPEC, f"log-{tenant}").insert(sealed(rows))

    pages: list[list[int]] = []
    place: PagePlace | None = PagePlace()
    while place is not None:
        part = await page(store, tenant, "events", place, until_ms=NOW_MS + 100, bytes_max=100_000)
        pages.append([msgspec.json.decode(line)["_offset"] for line in part.rows])
        place = part.next

    assert pages == [[0], [1], [2, 3], [4], [5], [6]]


async def test_a_tenant_is_known_by_any_row_of_any_table(embedded: ClickHouseStore) -> None:
    tenant = unheard_of()
    assert not await is_known(embedded, tenant)

    await embedded.command("INSERT INTO flowgauge.dlq (tenant, _append) SELECT {t:String}, now64(3)", {"t": tenant})

    assert await is_known(embedded, tenant)
    await erased(embedded, tenant, now_ms())


async def test_whether_a_tenant_is_known_is_one_question(embedded: ClickHouseStore) -> None:
    """An empty answer asked ten tables one after another for its hint."""
    counted = Counted(embedded)

    assert not await is_known(counted, unheard_of())

    assert counted.asked == 1


@given(
    told=st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 9), st.integers(0, 9))),
    before=st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 9)),
    tell_of_others=st.booleans(),
)
def test_what_stays_out_is_what_is_of_a_time_before_the_erasure(
    told: list[tuple[str, int, int]], before: dict[str, int], *, tell_of_others: bool
) -> None:
    told = sorted(told, key=lambda each: each[1])
    rows = [
        row(
            msgspec.json.encode({"tenant": tenant} | {"at_ms": at_ms if tell_of_others else "the event's own"}),
            log_id="log",
            partition=0,
            offset=offset,
            append_ms=append_ms,
        )
        for offset, (tenant, append_ms, at_ms) in enumerate(told)
    ]

    kept = kept_rows(rows, before, tell_of_others=tell_of_others)

    assert [each.offset for each in kept] == [
        offset
        for offset, (tenant, append_ms, at_ms) in enumerate(told)
        if append_ms >= before.get(tenant, 0) and not (tell_of_others and 0 < at_ms < before.get(tenant, 0))
    ]

"""Rows of a tenant that keeps its rows for fewer days than the tables do."""

import asyncio
import uuid

import msgspec
import pytest
from tests.clickhouse_front import Front

from flowgauge.console.sinking import days_kept
from flowgauge.schemas.errors import InvalidSettings
from flowgauge.schemas.settings import parse_settings
from flowgauge.sinks.clickhouse.expiring import DAY_MS, expire_all
from flowgauge.sinks.clickhouse.rows import row
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import only
from flowgauge.sinks.clickhouse.tenant_rows import erase, holding

NOW_MS = 1_795_000_000_000
FILLED = ("events", "failures", "run_ends_hourly", "runs")


async def tell(store: ClickHouseStore, tenant: str, days_ago: int, *, state: str = "failed", run: str = "") -> None:
    """Let a run come into `state` so many days ago."""
    at_ms = NOW_MS - days_ago * DAY_MS
    event = {
        "id": str(uuid.uuid4()),
        "tenant": tenant,
        "occurred": at_ms / 1000,
        "event": "e",
        "kind": "flow-run",
        "flow": "f",
        "run": run or f"run-{days_ago}",
        "state": state,
        "resource": {"id": "r"},
        "payload": {"bytes": 1},
    }
    line = row(msgspec.json.encode(event), log_id=tenant, partition=0, offset=days_ago, append_ms=at_ms).line
    await store.insert("flowgauge.events", line, str(uuid.uuid4()))


async def rows_of(store: ClickHouseStore, tenant: str) -> dict[str, int]:
    while (found := await holding(store, tenant)).pending:  # noqa: ASYNC110  # the engine tells nobody
        await asyncio.sleep(0.01)
    return {table: found.rows[table] for table in FILLED}


async def test_a_tenants_rows_go_after_its_days_and_nobody_elses(store: ClickHouseStore) -> None:
    short, long = (f"{name}-{uuid.uuid4().hex[:8]}" for name in ("short", "long"))
    for tenant in (short, long):
        for days_ago in (1, 29, 31, 90):
            await tell(store, tenant, days_ago)

    await expire_all(store, {short: 30}, NOW_MS)
    left = await rows_of(store, short)
    await expire_all(store, {short: 30, "never heard of": 1}, NOW_MS + 10 * DAY_MS)
    left_later = await rows_of(store, short)

    assert left == dict.fromkeys(FILLED, 2)
    assert left_later == dict.fromkeys(FILLED, 1)
    assert await rows_of(store, long) == dict.fromkeys(FILLED, 4)


async def test_a_run_goes_with_the_last_that_was_told_of_it(store: ClickHouseStore) -> None:
    """Its rows are not merged: they came a month apart."""
    tenant = f"long-run-{uuid.uuid4().hex[:8]}"
    await tell(store, tenant, 40, state="running", run="one")
    await tell(store, tenant, 1, run="one")
    await tell(store, tenant, 40, run="gone")

    await expire_all(store, {tenant: 30}, NOW_MS)
    await rows_of(store, tenant)

    known = await store.query(
        "SELECT run, seconds FROM flowgauge.runs_final WHERE tenant = {tenant:String}",
        {"tenant": tenant},
        seen=only(tenant),
    )
    assert known.rows == [("one", 39 * 86_400.0)]


async def test_what_came_late_of_an_erased_tenant_goes_too(store: ClickHouseStore) -> None:
    tenant = f"erased-{uuid.uuid4().hex[:8]}"
    await erase(store, tenant, NOW_MS)
    await tell(store, tenant, 1)  # an insert that was under way

    await expire_all(store, {}, NOW_MS + DAY_MS)

    assert await rows_of(store, tenant) == dict.fromkeys(FILLED, 0)


async def test_what_clickhouse_cannot_do_now_is_done_the_next_time(served: ClickHouseStore, front: Front) -> None:
    tenant = f"later-{uuid.uuid4().hex[:8]}"
    await tell(served, tenant, 31)

    with front.faults("code 241", of="ALTER TABLE"):
        await expire_all(served, {tenant: 30}, NOW_MS)
    kept = await rows_of(served, tenant)
    await expire_all(served, {tenant: 30}, NOW_MS)

    assert kept == dict.fromkeys(FILLED, 1)
    assert await rows_of(served, tenant) == dict.fromkeys(FILLED, 0)


def test_only_fewer_days_than_everybodys_are_looked_after() -> None:
    text = """
        [tenants.short]
        tokens = [{ env = "SHORT" }]
        retention_days = 30
        [tenants.long]
        tokens = [{ env = "LONG" }]
    """

    assert days_kept(parse_settings(text, "file", {}, {})) == {"short": 30}


@pytest.mark.parametrize("days", ["0", "401", "2.5", '"a week"'])
def test_days_out_of_bounds_are_told_with_their_place(days: str) -> None:
    text = f'[tenants.acme]\ntokens = [{{ env = "ACME" }}]\nretention_days = {days}\n'

    with pytest.raises(InvalidSettings, match=r"tenants\.acme\.retention_days: "):
        parse_settings(text, "file", {}, {})

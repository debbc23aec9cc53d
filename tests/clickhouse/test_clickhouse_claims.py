"""A real engine killed between noting a token and having the rows: it claims what it has not, and nothing is lost.

The engine is killed where no test can aim. What such a kill leaves on disk is made instead: an insert that was
acknowledged, whose part is not there any more.
"""

import shutil
import uuid
from pathlib import Path

import pytest
from tests.clickhouse.running_sink import NOW_MS, PARTITIONS, Tenant, new_log, running_sink, stored, until
from tests.clickhouse.test_clickhouse_sink import Faulty, end_after
from tests.clickhouse_front import Front

from flowgauge.schemas.topics import EVENTS
from flowgauge.sinks.clickhouse.client import Server
from flowgauge.sinks.clickhouse.rows import row
from flowgauge.sinks.clickhouse.sink_app import GROUP
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import EVERY_TENANT
from flowgauge.transport.log import Committed

EVENTS_COUNT = 200
FLOWS_RUNS = "SELECT count() FROM flowgauge.runs_final WHERE tenant = {tenant:String}"


@pytest.mark.timeout(180)
async def test_what_a_killed_engine_only_claims_to_have_is_inserted(tmp_path: Path) -> None:
    """Whichever table it is that lost its part: each in turn, with a log of its own."""
    front = Front(tmp_path / "front")
    for table in ("events", "run_ends_hourly", "runs"):
        async with new_log(tmp_path / table) as log:
            tenant = Tenant(log)
            await tenant.publish(EVENTS_COUNT)
            store = _connected(front)
            await store.command("SYSTEM STOP MERGES", {})  # a part is one insert's, not those of the tables before
            before = await _parts(store, table)
            with pytest.RaisesGroup(KeyError, flatten_subgroups=True):
                async with running_sink(log, Faulty(store, [end_after])) as health:
                    await until(lambda: health.sink_behind == 0)
            parts = await _parts(store, table) - before
            store.close()
            front.kill()
            for part in parts:
                shutil.rmtree(part)

            front = Front(tmp_path / "front")
            store = _connected(front)
            async with running_sink(log, store) as health:
                await until(lambda: health.sink_behind == 0)

            assert parts
            assert await stored(store, tenant.name) == (EVENTS_COUNT,) * 4
            assert (await store.query(FLOWS_RUNS, {"tenant": tenant.name}, seen=EVERY_TENANT)).rows == [(EVENTS_COUNT,)]
            store.close()
    with front:  # it ends
        pass


async def test_what_a_log_forgot_to_be_stored_is_not_stored_again(store: ClickHouseStore, tmp_path: Path) -> None:
    async with new_log(tmp_path) as log:
        tenant = Tenant(log)
        await tenant.publish(EVENTS_COUNT)
        async with running_sink(log, store) as health:
            await until(lambda: health.sink_behind == 0)
        reader = await log.open_reader(EVENTS, GROUP)
        await reader.commit(dict.fromkeys(range(PARTITIONS[EVENTS]), Committed(0)))
        await reader.close()
        await tenant.publish(EVENTS_COUNT)

        async with running_sink(log, store) as health:
            await until(lambda: health.sink_behind == 0)

        assert await stored(store, tenant.name) == (*(2 * EVENTS_COUNT,) * 3, EVENTS_COUNT)


async def test_a_token_counts_part_by_part(store: ClickHouseStore) -> None:
    """What is missing of a batch goes under one token, also where another try has inserted a part of it."""
    tenant, token = uuid.uuid4().hex, uuid.uuid4().hex

    async def insert(*days: int) -> None:
        await store.insert("flowgauge.events", b"\n".join(_row(tenant, day) for day in days), token)

    await insert(1, 2)
    await insert(2)
    await insert(2, 3)

    found = await store.query(
        "SELECT toDayOfMonth(occurred) FROM flowgauge.events WHERE tenant = {tenant:String} ORDER BY occurred",
        {"tenant": tenant},
        seen=EVERY_TENANT,
    )
    assert found.column("toDayOfMonth(occurred)") == [1, 2, 3]


def _row(tenant: str, day: int) -> bytes:
    value = b'{"id":"%s","tenant":"%s","occurred":"2026-11-%02dT00:00:00Z","event":"x","resource":{"id":"x"}}'
    filled = value % (str(uuid.uuid4()).encode(), tenant.encode(), day)
    return row(filled, log_id="a", partition=0, offset=day, append_ms=NOW_MS).line


def _connected(front: Front) -> ClickHouseStore:
    store = ClickHouseStore.connect(Server(front.url, front.user, front.password))
    store.apply_schema()
    return store


async def _parts(store: ClickHouseStore, table: str) -> set[str]:
    """Return the folders of the parts that `table` has."""
    found = await store.query(
        "SELECT path FROM system.parts WHERE database = 'flowgauge' AND table = {table:String} AND active",
        {"table": table},
        seen=EVERY_TENANT,
    )
    return {str(row[0]) for row in found.rows}

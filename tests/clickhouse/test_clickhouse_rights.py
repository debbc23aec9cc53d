"""What the admin's statements grant the sink is what it needs: to make tables, to insert, to fold and to rewrite."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from tests.clickhouse.running_sink import Tenant, new_log, running_sink, until
from tests.clickhouse.test_clickhouse_tenancy import ONE, OTHER, write_all_tables
from tests.clickhouse.users_file import connected_as

from flowgauge.sinks.clickhouse import access
from flowgauge.sinks.clickhouse.access import CONSOLE_READS, SINK_READS, sink_rights
from flowgauge.sinks.clickhouse.backfill import backfill_events
from flowgauge.sinks.clickhouse.claims import Span
from flowgauge.sinks.clickhouse.client import ERRORS
from flowgauge.sinks.clickhouse.folding import fold
from flowgauge.sinks.clickhouse.schema import schema_files
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenant_rows import erase, expire, holding
from flowgauge.transport.wall_clock import now_ms

# Each user sees their own part of these without a grant; all else of `system` is granted or refused.
OPEN = {"columns", "databases", "settings", "tables"}
EVER = Span("guarded", 0, 0, 9, 0, 4_000_000_000_000)


@pytest.fixture(scope="module")
def granted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseStore]:
    """Serve no table at all yet, to a user with the rights of the sink and no others."""
    with connected_as(tmp_path_factory.mktemp("granted"), sink_rights("flowgauge"), {}) as store:
        yield store


async def test_the_sink_does_all_it_does_with_what_it_is_granted(granted: ClickHouseStore, tmp_path: Path) -> None:
    assert len(await asyncio.to_thread(granted.apply_schema)) == len(schema_files())
    assert await asyncio.to_thread(granted.check_schema) == []
    async with new_log(tmp_path) as log:
        await Tenant(log).publish(20)
        async with running_sink(log, granted) as health:
            await until(lambda: health.stored == 20)
        assert health.problems == {}
    await write_all_tables(granted, ONE, OTHER)

    assert await granted.held("flowgauge.events", EVER) == {0, 1}
    await granted.fold_again("flowgauge.events", EVER)
    assert await fold(granted, every_ms=0, seen_after_ms=0) == 22
    assert await backfill_events(granted, print) > 0
    assert await expire(granted, ONE, now_ms() + 1) > 0
    await erase(granted, OTHER, now_ms())
    while any((await holding(granted, OTHER)).rows.values()):  # noqa: ASYNC110  # the engine tells nobody
        await asyncio.sleep(0.01)


def test_what_is_read_of_a_servers_own_tables_is_granted_and_nothing_else_of_them() -> None:
    """No grant of chDB's is asked for these: what our statements name stands for it."""
    sources = [file for file in Path(access.__file__).parent.rglob("*") if file.suffix in {".py", ".sql"}]
    read = {name for file in sources for name in re.findall(r"FROM system\.(\w+)", file.read_text("utf-8"))}

    assert {*SINK_READS} == read - OPEN
    assert {*CONSOLE_READS} <= {*SINK_READS}


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE flowgauge.events",
        "TRUNCATE TABLE flowgauge.events",
        "DROP DATABASE flowgauge",
        "CREATE TABLE default.other (n UInt8) ENGINE = Memory",
        "CREATE USER other",
        "SELECT count() FROM system.users",
    ],
)
def test_what_is_not_granted_is_refused(granted: ClickHouseStore, sql: str) -> None:
    granted.apply_schema()

    with pytest.raises(ERRORS, match=r"Not enough privileges|ACCESS_DENIED"):
        cast("Any", granted)._inserts.command(sql)

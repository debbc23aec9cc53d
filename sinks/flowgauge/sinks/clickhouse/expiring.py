"""Expiring: rows of tenants that keep theirs for fewer days than the tables do are taken away, a few times a day.

The tables' own TTL is the same for all. A tenant's is a setting, and goes by when a row was appended, or of what is
folded when the last of it was. Only parts with such rows are rewritten: of a tenant mostly those of one day.
"""

import asyncio
from collections.abc import Mapping

import structlog

from flowgauge.schemas.errors import Transient
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenant_rows import expire
from flowgauge.sinks.metrics import EXPIRE_FAILURES
from flowgauge.transport.patience import pause
from flowgauge.transport.wall_clock import now_ms

EXPIRE_EVERY_S = 6 * 3_600  # each time rewrites a day's parts at most once
DAY_MS = 86_400_000

log_lines = structlog.get_logger(__name__)


async def keep_expired(store: ClickHouseStore, days: Mapping[str, int], *, stop: asyncio.Event) -> None:
    """Take away what is older than its tenant's days in `days`, and what came late of erased tenants, until `stop`."""
    while not stop.is_set():
        await expire_all(store, days, now_ms())
        await pause(stop, EXPIRE_EVERY_S * 1000)


async def expire_all(store: ClickHouseStore, days: Mapping[str, int], at_ms: int) -> None:
    """Begin to take away what is older at `at_ms`; what ClickHouse cannot do now is done the next time."""
    try:
        # An insert or fold that was under way when a tenant was erased may have landed after the last look.
        before = {**await store.erased(), **{tenant: at_ms - kept * DAY_MS for tenant, kept in days.items()}}
        for tenant, before_ms in before.items():
            tables = await expire(store, tenant, before_ms)
            if tables:
                log_lines.info("rows expire", tenant=tenant, tables=tables)
    except Transient as trouble:
        EXPIRE_FAILURES.inc()
        log_lines.warning("rows not expired", error=str(trouble))

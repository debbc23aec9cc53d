"""Stored events as lines that a replay reads, page by page in the order of their append times, for backtests.

Of each event what rules look at, and its place in the log: `payload`, `follows` and `extra` stay behind, and so do
events that are history only (ADR 26): no rule saw them. A name that was told as "" is as one that was not told: the
tables do not tell them apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from flowgauge.schemas.topics import EVENTS
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import EVERY_TENANT
from flowgauge.sinks.clickhouse.tenant_rows import Page, PagePlace, Wanted, page

_TIME = "'%Y-%m-%dT%H:%i:%S.%fZ', 'UTC'"
_STORED = "e.id, e.tenant, e.occurred, e.event, e.kind, e.flow, e.run, e.task, e.state, e.resource, e.related"
LINE = f"""
    e.id AS id,
    e.tenant AS tenant,
    formatDateTime(e.occurred, {_TIME}) AS occurred,
    e.event AS event,
    e.kind AS kind,
    nullIf(e.flow, '') AS flow,
    nullIf(e.run, '') AS run,
    nullIf(e.task, '') AS task,
    nullIf(e.state, '') AS state,
    formatDateTime(e.scheduled_for, {_TIME}) AS scheduled_for,
    e.resource AS resource,
    e.related AS related,
    e._partition AS _partition,
    toDecimal64(toUnixTimestamp64Milli(e._append), 0) AS _append
"""
LOOKS = (
    "AND NOT e.history AND e.kind IN {kinds:Array(String)} AND concat(e.kind, ':', e.state) IN {looks:Array(String)}"
)
# Up to when the newest log is stored whole: the clock of the partition that is farthest behind.
CLOCK = """
SELECT count(), min(newest_ms) FROM (
    SELECT max(clock_ms) AS newest_ms FROM flowgauge.clocks
    WHERE topic = {topic:String}
        AND log_id = (SELECT argMax(log_id, clock_ms) FROM flowgauge.clocks WHERE topic = {topic:String})
    GROUP BY partition
)
"""


@dataclass(frozen=True, slots=True)
class HistoryAsked:
    """Which events: of `tenant`, appended in [since, until), of one of `looks`: KIND:STATE, or KIND: alone."""

    tenant: str
    since_ms: int
    until_ms: int
    looks: Sequence[str]


async def history_page(store: ClickHouseStore, asked: HistoryAsked, after: PagePlace) -> Page:
    """Return the next lines after the place where the page before ended."""
    looks = list(asked.looks)
    kinds = sorted({each.partition(":")[0] for each in looks})
    wanted = Wanted(LINE, _STORED, LOOKS, {"kinds": kinds, "looks": looks})
    begin = after if after.at_ms else PagePlace(asked.since_ms)
    return await page(store, asked.tenant, "events", begin, until_ms=asked.until_ms, wanted=wanted)


async def history_clock_ms(store: ClickHouseStore) -> int | None:
    """Return up to when all events are stored, by the log's clock; None where nothing is."""
    ((partitions, clock_ms),) = (await store.query(CLOCK, {"topic": EVENTS}, seen=EVERY_TENANT)).rows
    return int(str(clock_ms)) if partitions else None

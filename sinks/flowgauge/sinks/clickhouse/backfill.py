"""Backfill: history that was stored before the views and indexes were what they are, folded and indexed again.

A day at a time: its rows are folded into all views of events, which changes nothing that was right (claims), its parts
of the table are indexed, and the day is noted as done. Broken off anywhere, it goes on with the days that are not
noted. A statement may take as long as an insert and no longer, for who asks on the server waits beside it: so a large
day is folded some hours at a time, and its index, which is made of whole parts, is waited for by asking.
Events that come meanwhile go through the views as they are and need none of this.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

import msgspec

from flowgauge.schemas.errors import BadEnvironment
from flowgauge.sinks.clickhouse.errors import EngineTrouble
from flowgauge.sinks.clickhouse.schema import backfill_target
from flowgauge.sinks.clickhouse.store import OF_DAY, ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import EVERY_TENANT

EVENTS = "flowgauge.events"
SLICE_ROWS = 8_000_000  # folded at a time: a day of 200 million is 24 hours of so many
HOURS = 24
LOOK_EVERY_S = 0.2
INDEX_S_MAX = 3_600  # of a day: 200 million rows take minutes; longer than that is a server that merges nothing
# Of the table's own list of parts: rows of all tenants, told several times or not.
DAYS = """
SELECT toDate(partition) AS day, sum(rows) AS rows
FROM system.parts
WHERE database = {database:String} AND table = 'events' AND active
    AND day NOT IN (SELECT day FROM flowgauge.backfills WHERE target = {target:String})
GROUP BY day
ORDER BY day DESC
"""
# A replica hears of the work a moment after it was asked for: none that is known is none that is done.
INDEXING = """
SELECT count() = 0 OR countIf(NOT is_done) > 0, anyIf(latest_fail_reason, NOT is_done AND latest_fail_reason != '')
FROM system.mutations
WHERE database = {database:String} AND table = 'events'
    AND position(command, 'MATERIALIZE INDEX') > 0 AND position(command, {of_day:String}) > 0
"""


@dataclass(frozen=True, slots=True)
class Backfilled:
    """One day that is done, the `number`th of `days`."""

    day: date
    rows: int
    number: int
    days: int


async def backfill_events(store: ClickHouseStore, tell: Callable[[Backfilled], object]) -> int:
    """Fold and index all days that are not done yet, the newest first; return how many.

    Blocks others' questions of a store in this process for as long as a day takes. Raises BadEnvironment where the
    tables are not up to date, EngineTrouble when a day cannot be done: what was done before stays done.
    """
    if store.missing_schema():
        raise BadEnvironment("the tables are not up to date: run `flowgauge schema apply` before")
    target = backfill_target(EVENTS)
    asked = {"database": store.database, "target": target}
    days = msgspec.convert((await store.query(DAYS, asked, seen=EVERY_TENANT)).rows, list[tuple[date, int]])
    for number, (day, rows) in enumerate(days, 1):
        for hours in hours_of(rows):
            await store.fold_hours(EVENTS, day, hours)
        await store.index(EVENTS, day)
        await _indexed(store, day)
        await store.note_backfill(target, day)
        tell(Backfilled(day, rows, number, len(days)))
    return len(days)


def hours_of(rows: int) -> Iterator[range]:
    """Yield the hours of a day of `rows` that are folded together: as many as have SLICE_ROWS, one at least."""
    step = max(1, HOURS * SLICE_ROWS // max(rows, SLICE_ROWS))
    for first in range(0, HOURS, step):
        yield range(first, min(first + step, HOURS))


async def _indexed(store: ClickHouseStore, day: date) -> None:
    try:
        async with asyncio.timeout(INDEX_S_MAX):
            while await _is_indexing(store, day):  # noqa: ASYNC110  # the engine tells nobody
                await asyncio.sleep(LOOK_EVERY_S)
    except TimeoutError:
        raise EngineTrouble(
            f"ClickHouse has not indexed {day} within {INDEX_S_MAX} s: see system.mutations, then run this again",
            "unknown",
        ) from None


async def _is_indexing(store: ClickHouseStore, day: date) -> bool:
    asked = {"database": store.database, "of_day": OF_DAY.format(day=day)}
    ((is_indexing, failed),) = (await store.query(INDEXING, asked, seen=EVERY_TENANT)).rows
    if failed:
        raise EngineTrouble(f"ClickHouse cannot index {day}: {str(failed)[:300]}", "unknown")
    return bool(is_indexing)

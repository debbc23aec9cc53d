"""Backfill: history that was stored before the views and indexes were what they are, folded and indexed again.

A day at a time: its rows are folded into all views of events, which changes nothing that was right (claims), its parts
of the table are indexed, and the day is noted as done. Broken off anywhere, it goes on with the days that are not
noted.
Events that come meanwhile go through the views as they are and need none of this.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import msgspec

from flowgauge.schemas.errors import BadEnvironment
from flowgauge.sinks.clickhouse.schema import backfill_target
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import EVERY_TENANT

EVENTS = "flowgauge.events"
# Of the table's own list of parts: rows of all tenants, told several times or not.
DAYS = """
SELECT toDate(partition) AS day, sum(rows) AS rows
FROM system.parts
WHERE database = {database:String} AND table = 'events' AND active
    AND day NOT IN (SELECT day FROM flowgauge.backfills WHERE target = {target:String})
GROUP BY day
ORDER BY day DESC
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
        await store.backfill(EVENTS, day)
        await store.note_backfill(target, day)
        tell(Backfilled(day, rows, number, len(days)))
    return len(days)

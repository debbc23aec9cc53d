"""The question `timeline`: all that was told of one run or one resource."""

from collections.abc import Sequence

from flowgauge.sinks.clickhouse.metric import MetricQuery
from flowgauge.sinks.clickhouse.questions import question_of
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import rows_of

DAY_MS = 86_400_000  # what tasks and logs of a run told before its first state and after its last
UNKNOWN_MS = 7 * DAY_MS  # how far back is looked for a run that nothing is known of
OF_RESOURCE = "has(arrayMap(each -> each['id'], arrayPushFront(related, resource)), {resource:String})"
# Also what names no run and is about it. As IN, so that the index over runs is asked of the empty name too; and first,
# so that nothing else is read of what other runs told.
FIRST_OF_RUN = "PREWHERE run IN ({run:String}, '')"
OF_RUN = "(run = {run:String} OR kind = 'flow-run' AND run = '' AND resource['id'] = {run:String})"


async def timeline(store: ClickHouseStore, sql: str, query: MetricQuery) -> list[tuple[object, ...]]:
    """Return the rows of the answer to `sql`, about a run, else a resource.

    From 1970 on means as long as the run lived, a day more on both sides, and up to the end while it is not known to
    have ended. Raises EngineTrouble.
    """
    since_ms, until_ms = query.since_ms, query.until_ms
    if not since_ms:
        since_ms, until_ms = await _life(store, query) if query.run else (until_ms - UNKNOWN_MS, until_ms)
    about = " AND ".join(each for each, named in ((OF_RUN, query.run), (OF_RESOURCE, query.resource)) if named)
    told_sql = sql.replace("<first>", FIRST_OF_RUN if query.run else "").replace("<about>", about)
    asked = {
        "tenant": query.tenant,
        "run": query.run,
        "resource": query.resource,
        "since_ms": since_ms,
        "until_ms": until_ms,
        "limit": query.limit,
    }
    return _with_gaps((await store.query(told_sql, asked, seen=rows_of(query.tenant))).rows)


def _with_gaps(rows: Sequence[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Return `rows`, whose third column is a time in us, with the seconds since the tenant's row before; first None."""
    before_us: dict[object, int] = {}
    told: list[tuple[object, ...]] = []
    for tenant, time, at_us, *rest in rows:
        now_us = int(str(at_us))
        gap = round((now_us - before_us[tenant]) / 1e6, 6) if tenant in before_us else None
        before_us[tenant] = now_us
        told.append((tenant, time, gap, *rest))
    return told


async def _life(store: ClickHouseStore, query: MetricQuery) -> tuple[int, int]:
    """Return from when to when to look; a look of its own, as a constant lets the engine plan in half the time."""
    about = {"tenant": query.tenant, "run": query.run}
    lives = (await store.query(question_of("timeline_life", query.tenant), about, seen=rows_of(query.tenant))).dicts()
    if not lives:
        return query.until_ms - UNKNOWN_MS, query.until_ms
    (life,) = lives
    first_ms, last_ms = int(str(life["first_ms"])), int(str(life["last_ms"]))
    has_ended = life["ended_ms"] is not None and int(str(life["ended_ms"])) >= last_ms
    return first_ms - DAY_MS, min(query.until_ms, last_ms + 1 + DAY_MS) if has_ended else query.until_ms

"""Windows: the newest rows of many are looked for near the newest time first, then in ever longer times."""

from collections.abc import Iterator, Mapping

from flowgauge.sinks.clickhouse.metric import MetricQuery
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.table import Table
from flowgauge.sinks.clickhouse.tenancy import rows_of

WINDOW_GROWS = 16  # each look costs some ten milliseconds


def windows(since_ms: int, newest_ms: int, first_ms: int) -> Iterator[int]:
    """Yield beginnings of the time in which rows are looked for, the last one `since_ms`.

    The first window is about `first_ms` long and ends at `newest_ms`. All but the last begin with a whole minute.
    """
    length_ms = first_ms
    while (begin_ms := (newest_ms - length_ms) // 60_000 * 60_000) > since_ms:
        yield begin_ms
        length_ms *= WINDOW_GROWS
    yield since_ms


async def newest(
    store: ClickHouseStore,
    sql: str,
    parameters: Mapping[str, object],
    query: MetricQuery,
    *,
    before_ms: int | None = None,
    first_ms: int,
) -> Table:
    """Return the newest rows, as many as `query` asks for, that `sql` finds up to `before_ms`; raise EngineTrouble."""
    newest_ms = min(ms for ms in (query.until_ms, query.now_ms, before_ms) if ms is not None)
    found = Table([], [])
    for since_ms in windows(query.since_ms, newest_ms, first_ms):
        found = await store.query(sql, {**parameters, "since_ms": since_ms}, seen=rows_of(query.tenant))
        if len(found.rows) >= query.limit:
            break
    return found

"""Windows: the newest rows of many are looked for near the newest time first, then in ever longer times."""

from collections.abc import Mapping
from itertools import count

from flowgauge.sinks.clickhouse.metric import MetricQuery
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.table import Table
from flowgauge.sinks.clickhouse.tenancy import rows_of

GROWS_MIN = 16  # each look costs some ten milliseconds


def window(since_ms: int, newest_ms: int, length_ms: int) -> int:
    """Return where the window of about `length_ms` up to `newest_ms` begins: with a whole minute, or `since_ms`."""
    return max(since_ms, (newest_ms - length_ms) // 60_000 * 60_000)


def longer(length_ms: int, found: int, wanted: int, looks: int) -> int:
    """Return how long the next window is when the `looks`th, of `length_ms`, had `found` rows, fewer than `wanted`.

    Twice as long as it takes where rows lie as close together as in that one; the longer, the more looks found none.
    """
    return length_ms * (max(GROWS_MIN, 2 * -(-wanted // found)) if found else GROWS_MIN**looks)


def newest_of(query: MetricQuery, before_ms: int | None = None) -> int:
    """Return where the newest of what `query` asks for may lie, up to `before_ms`."""
    return min(ms for ms in (query.until_ms, query.now_ms, before_ms) if ms is not None)


async def newest(
    store: ClickHouseStore,
    sql: str,
    parameters: Mapping[str, object],
    query: MetricQuery,
    *,
    before_ms: int | None = None,
    first_ms: int,
) -> Table:
    """Return the newest rows, as many as `query` asks for, that `sql` finds up to `before_ms`; raise EngineTrouble.

    They are looked for in about the last `first_ms` first.
    """
    newest_ms = newest_of(query, before_ms)
    found, length_ms = Table([], []), first_ms
    for looks in count(1):
        since_ms = window(query.since_ms, newest_ms, length_ms)
        found = await store.query(sql, {**parameters, "since_ms": since_ms}, seen=rows_of(query.tenant))
        if since_ms == query.since_ms or len(found.rows) >= query.limit:
            break
        length_ms = longer(length_ms, len(found.rows), query.limit, looks)
    return found

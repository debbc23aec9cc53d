"""Windows: the newest rows of many are looked for near the newest time first, then in ever longer times before."""

from collections.abc import Mapping, Sequence
from itertools import count

from flowgauge.sinks.clickhouse.metric import MetricQuery
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.table import Table
from flowgauge.sinks.clickhouse.tenancy import rows_of

GROWS_MIN = 16  # each look costs some ten milliseconds
FEW = 16  # rows that say little about how close together those before them lie
LOOKS_NARROW = 2  # looks, after which windows grow by GROWS_LATER at least, however many rows were found
GROWS_LATER = 64  # so that six looks reach 400 days back from a minute


def window(since_ms: int, newest_ms: int, length_ms: int) -> int:
    """Return where the window of about `length_ms` up to `newest_ms` begins: with a whole minute, or `since_ms`."""
    return max(since_ms, (newest_ms - length_ms) // 60_000 * 60_000)


def longer(length_ms: int, found: int, wanted: int, looks: int) -> int:
    """Return how long the next window is, with all before it, when `looks` of them had too few rows.

    These, of `length_ms` in all, had `found` rows of those `wanted`. Twice as long as it takes where rows lie as close
    together as in them; the longer, the more looks found none.
    """
    if not found:
        return length_ms * int(GROWS_MIN**looks)
    grows = 2 * -(-wanted // found)
    if looks > LOOKS_NARROW:
        return length_ms * max(GROWS_LATER, grows)
    return length_ms * (max(GROWS_MIN, grows) if found < FEW else grows)


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
    distinct: Sequence[str],
) -> Table:
    """Return the newest rows, as many as `query` asks for, that `sql` finds up to `before_ms`; raise EngineTrouble.

    They are looked for in about the last `first_ms` first, then before that. Of rows that are equal in the columns
    `distinct` the newest is returned.
    """
    newest_ms = newest_of(query, before_ms)
    columns: list[str] = []
    rows: dict[tuple[object, ...], tuple[object, ...]] = {}
    until_ms, length_ms = query.until_ms, first_ms
    for looks in count(1):
        since_ms = window(query.since_ms, newest_ms, length_ms)
        asked = {**parameters, "since_ms": since_ms, "until_ms": until_ms}
        found = await store.query(sql, asked, seen=rows_of(query.tenant))
        columns = columns or found.columns  # no rows come without columns
        for row in found.rows:  # as many as were asked for, in case some are known already
            rows.setdefault(tuple(row[columns.index(name)] for name in distinct), row)
        if since_ms == query.since_ms or len(rows) >= query.limit:
            break
        until_ms, length_ms = since_ms, longer(length_ms, len(rows), query.limit, looks)
    return Table(columns, list(rows.values())[: query.limit])

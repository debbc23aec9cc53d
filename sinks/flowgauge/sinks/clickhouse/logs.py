"""The question `logs`: the newest lines that are asked for, and the lines of the same runs around them."""

import asyncio
from collections.abc import Mapping
from typing import cast

import msgspec

from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.sinks.clickhouse.log_lines import CONTEXT_MS_MAX, WINDOW_MS, LogLine, before, log_rows, named
from flowgauge.sinks.clickhouse.messages_with import are_errors
from flowgauge.sinks.clickhouse.metric import MetricQuery
from flowgauge.sinks.clickhouse.questions import named_by_tenant, question_of
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import rows_of
from flowgauge.sinks.clickhouse.text_search import TextSearch, text_search
from flowgauge.sinks.clickhouse.windows import newest, newest_of

REACH = 2  # errors, as many times as lines are asked for: a run that failed and logged it is an error twice


async def log_lines(
    store: ClickHouseStore, sql: str, parameters: Mapping[str, object], query: MetricQuery
) -> list[tuple[object, ...]]:
    """Return the rows of the answer to `sql`, which finds the lines; raises EngineTrouble."""
    hits = await _hits(store, sql, parameters, query)
    around = await _around(store, query, hits) if query.context else []
    unnamed = sorted({line.whole_run for line in (*hits, *around) if line.run and not line.flow})
    flows = await _flows(store, query.tenant, unnamed)
    found = named(hits, flows), named(around, flows), text_search(query.text)
    return await asyncio.to_thread(_answered, *found, of_all=query.tenant == ANY_TENANT)


def _answered(
    hits: list[LogLine], around: list[LogLine], search: TextSearch | None, *, of_all: bool
) -> list[tuple[object, ...]]:
    """Mark what was found; off the event loop, as lines of a megabyte take a second."""
    return list(log_rows(hits, around, search, of_all=of_all))


async def _hits(
    store: ClickHouseStore, sql: str, parameters: Mapping[str, object], query: MetricQuery
) -> list[LogLine]:
    before_ms = before(query.before)[0] // 1000 + 1
    first_ms = WINDOW_MS
    if not query.text and are_errors(cast("list[str]", parameters.get("levels", []))):
        # The newest errors may lie ahead of now, or tell of no log line.
        first_ms = max(WINDOW_MS, newest_of(query, before_ms) - await _reach(store, query))
    distinct = ("tenant", "id")
    found = await newest(store, sql, parameters, query, before_ms=before_ms, first_ms=first_ms, distinct=distinct)
    return msgspec.convert(found.dicts(), list[LogLine])


async def _reach(store: ClickHouseStore, query: MetricQuery) -> int:
    """Return since when there are enough errors: few are looked up at once, and many lie near."""
    wanted = REACH * query.limit
    sql = named_by_tenant(question_of("errors_reach", query.tenant), query.tenant)
    parameters = {
        "tenant": query.tenant,
        "since_ms": query.since_ms,
        "until_ms": query.until_ms,
        "before_us": before(query.before)[0],
        "flow": query.flow,
        "run": query.run,
        "limit": wanted,
    }
    ((oldest_ms, found),) = msgspec.convert(
        (await store.query(sql, parameters, seen=rows_of(query.tenant))).rows, list[tuple[int, int]]
    )
    return oldest_ms if found >= wanted else query.since_ms


async def _around(store: ClickHouseStore, query: MetricQuery, hits: list[LogLine]) -> list[LogLine]:
    found = [line for line in hits if line.run]
    if not found:
        return []
    parameters = {
        "tenant": query.tenant,
        "tenants": [line.tenant for line in found],
        "runs": [line.run for line in found],
        "ids": [line.id for line in found],
        "context": query.context,
        "since_ms": max(0, min(line.occurred_us for line in found) // 1_000 - CONTEXT_MS_MAX),
        "until_ms": max(line.occurred_us for line in found) // 1_000 + CONTEXT_MS_MAX,
    }
    sql = question_of("log_context", query.tenant)
    return msgspec.convert((await store.query(sql, parameters, seen=rows_of(query.tenant))).dicts(), list[LogLine])


async def _flows(store: ClickHouseStore, tenant: str, runs: list[tuple[str, str]]) -> dict[tuple[str, str], str]:
    if not runs:
        return {}
    parameters = {"tenant": tenant, "runs": sorted({run for _, run in runs})}
    known = await store.query(question_of("run_flows", tenant), parameters, seen=rows_of(tenant))
    return {(whose, run): flow for whose, run, flow in msgspec.convert(known.rows, list[tuple[str, str, str]]) if flow}

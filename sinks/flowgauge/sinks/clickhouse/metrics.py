"""The questions that ClickHouse answers, by name: each is a .sql file in queries/, its parameters always bound.

The tenant is always the first condition, but where everyone is asked for. Dashboards read the rollups and runs; only
`logs`, `timeline` and the last minutes read raw events. Everything counts distinct ids or runs, so events that were
published twice change no answer.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches

import msgspec

from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.sinks.clickhouse.cost_metrics import COST_METRICS
from flowgauge.sinks.clickhouse.errors import EngineTrouble
from flowgauge.sinks.clickhouse.folding import folded_ms
from flowgauge.sinks.clickhouse.log_lines import LOG_COLUMNS, before
from flowgauge.sinks.clickhouse.logs import log_lines
from flowgauge.sinks.clickhouse.messages_with import bound, with_levels, with_messages
from flowgauge.sinks.clickhouse.metric import (
    LEVELS,
    SINCE_DEFAULT,
    InvalidQuestion,
    Metric,
    MetricQuery,
    arranged,
    refuse_unbounded,
)
from flowgauge.sinks.clickhouse.pattern_words import PATTERN_COLUMNS, pattern_row
from flowgauge.sinks.clickhouse.patterns import Examined, FlowHours, examine, patterns
from flowgauge.sinks.clickhouse.questions import named_by_tenant, of_tenant, question, question_of, to_the_point
from flowgauge.sinks.clickhouse.run_metrics import RUN_METRICS, Came
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.table import Table
from flowgauge.sinks.clickhouse.tenancy import rows_of
from flowgauge.sinks.clickhouse.text_search import text_search
from flowgauge.sinks.clickhouse.timeline import timeline
from flowgauge.sinks.clickhouse.windows import newest

FEW_MAX = 100  # runs that are named one by one: to read three hundred names takes as long as to look them up
FEW_CHARS_MAX = (
    10_000  # of their names together: a hundred ids have 4,000, and a server takes no parameter over 128 KiB
)
PATTERN_FLOWS_MAX = 2_000  # of one question: some seconds, and half the time that a client waits
PATTERN_FLOWS_AT_ONCE = 50  # hours of 400 days of that many flows are some thirty MB
# What narrows or shapes an answer; some questions have it.
CHOICES = (
    "flow",
    "deployment",
    "work_pool",
    "tag",
    "run",
    "resource",
    "text",
    "level",
    "before",
    "context",
    "tz",
    "per",
    "by",
    "bucket",
    "grace",
    "limit",
)
_NARROWS = ("flow", "deployment", "work_pool", "tag", "run", "level")
_BOUND_AS = {"level": "levels", "bucket": "bucket_ms", "grace": "grace_ms", "before": "before_us"}


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "failure-rate",
            "Finished and failed runs by hour",
            ("hour", "finished", "failed", "failure_rate"),
        ),
        Metric(
            "heatmap",
            "Finished and failed runs by weekday (1 = Monday) and hour",
            ("weekday", "hour", "finished", "failed", "failure_rate"),
        ),
        Metric(
            "runs",
            "The newest runs",
            ("run", "flow", "state", "scheduled_for", "started", "ended", "attempts", "seconds", "message"),
            tells_tenant=True,
        ),
        Metric(
            "logs",
            "The newest log lines by text, run and level",
            LOG_COLUMNS,
            also=("context",),
            tells_tenant=True,
        ),
        Metric(
            "timeline",
            "All that was told of one run or one resource, in order",
            ("time", "gap_seconds", "kind", "name", "event", "state", "level", "message"),
            since_of_run="1970-01-01",
            also=("run", "resource"),
            one_of=("run", "resource"),
            tells_tenant=True,
        ),
        Metric(
            "errors",
            "Errors of failed runs and tasks and error logs, by what they say, the most frequent first",
            ("error", "count", "runs", "flows", "first_seen", "last_seen", "example_run"),
            tells_tenant=True,
        ),
        Metric(
            "patterns",
            "Hours, weekdays and days of the month at which flows fail beyond chance",
            PATTERN_COLUMNS,
            since="56d",
            of_one_tenant=True,
        ),
        Metric("events", "Events by minute, the newest first", ("minute", "events", "per_second"), since="1d"),
        Metric(
            "overview",
            "What happens now, and what became of runs",
            ("events_5m", "events_per_second_5m", "finished_since", "failed_since", "failure_rate_since"),
        ),
        *RUN_METRICS,
        *COST_METRICS,
    )
}


async def answer(store: ClickHouseStore, name: str, query: MetricQuery) -> Table:
    """Answer the question `name`.

    Times are RFC 3339 strings in UTC, shares are 0 to 1, durations seconds, absent values None; every row is JSON
    as it stands. Raises InvalidQuestion for an unknown name or a bound that is passed, EngineTrouble when
    ClickHouse takes longer than 10 s or more than 1.5 GB.
    """
    if name not in METRICS:
        near = get_close_matches(name, METRICS, n=1)
        meant = f"did you mean {near[0]}? There are" if near else "one of"
        raise InvalidQuestion(f"no metric is called {name[:64]!r}: {meant} {', '.join(METRICS)}")
    metric = METRICS[name]
    refuse_unbounded(metric, query)
    asked = replace(query, per=query.per or metric.per or "", bucket_ms=query.bucket_ms or metric.bucket_ms or 0)
    try:
        rows = await (_patterns(store, asked) if name == "patterns" else _rows(store, name, asked))
    except EngineTrouble as trouble:
        if not trouble.is_too_much:
            raise
        raise EngineTrouble(f"{trouble}: ask {name} for less: {_narrowed_by(name)}", trouble.kind) from trouble
    return arranged(metric, asked, rows)


async def _rows(store: ClickHouseStore, name: str, query: MetricQuery) -> list[tuple[object, ...]]:
    came, which = await _came(store, query.tenant) if "{folded_ms:" in question(name) else (Came.MANY, {})
    sql = with_levels(question_of(name, query.tenant, query.per, came), levels_from(query.level))
    sql = named_by_tenant(of_tenant(with_messages(sql, text_search(query.text)), query.tenant), query.tenant)
    sql = to_the_point(query.prices.in_question(sql), frozenset(each for each in _NARROWS if getattr(query, each)))
    parameters = {**_parameters(sql, query), **which}
    if name == "logs":
        return await log_lines(store, sql, parameters, query)
    if name == "timeline":
        return await timeline(store, sql, query)
    if name == "events":
        # As many minutes as are asked for, no more: a week of them is millions of events.
        first_ms = query.limit * 60_000
        return (await newest(store, sql, parameters, query, first_ms=first_ms, distinct=("minute",))).rows
    return (await store.query(sql, parameters, seen=rows_of(query.tenant))).rows


async def _came(store: ClickHouseStore, tenant: str) -> tuple[Came, dict[str, object]]:
    """Return of how many runs something came since the last fold, and the parameters that say which.

    What comes between this look and the question is in the answer only of runs that it names or looks up.
    """
    since_ms = await folded_ms(store)
    few_max = 0 if tenant == ANY_TENANT else FEW_MAX  # of several tenants, runs may be called alike
    asked = {"tenant": tenant, "folded_ms": since_ms, "limit": few_max + 1}
    found = await store.query(question_of("came_since", tenant), asked, seen=rows_of(tenant))
    runs = [str(run) for (run,) in found.rows]
    if not runs:
        return Came.NOTHING, {}
    if len(runs) <= few_max and sum(map(len, runs)) <= FEW_CHARS_MAX:
        return Came.FEW, {"came": runs}
    return Came.MANY, {"folded_ms": since_ms}


async def _patterns(store: ClickHouseStore, query: MetricQuery) -> list[tuple[object, ...]]:
    """Test the flows some at a time, off the event loop, and correct for all of them."""
    sql = question("patterns")
    seen_of = rows_of(query.tenant)
    flows = [flow for (flow,) in (await store.query(sql, _parameters(sql, query), seen=seen_of)).rows]
    if len(flows) > PATTERN_FLOWS_MAX:
        raise InvalidQuestion(
            f"flow: more than {PATTERN_FLOWS_MAX:,} flows failed on three days or more: name one, or ask of less time"
        )
    sql = question("pattern_hours")
    seen: list[Examined] = []
    for start in range(0, len(flows), PATTERN_FLOWS_AT_ONCE):
        some = flows[start : start + PATTERN_FLOWS_AT_ONCE]
        asked = {**_parameters(sql, query), "first": some[0], "last": some[-1]}
        seen += await asyncio.to_thread(_examined, await store.query(sql, asked, seen=seen_of))
    return await asyncio.to_thread(_corrected, seen, query.tz)


def _examined(table: Table) -> list[Examined]:
    rows = msgspec.convert(table.rows, list[tuple[str, list[int], list[int], list[int]]])
    return [examine(FlowHours(*row)) for row in rows]


def _corrected(seen: list[Examined], tz: str) -> list[tuple[object, ...]]:
    return [pattern_row(pattern, tz) for pattern in patterns(seen)]


def parameters_of(name: str) -> frozenset[str]:
    """Return which of CHOICES the question `name` looks at; of no question, none."""
    if name not in METRICS:
        return frozenset()
    sql = question(name)
    found = frozenset(each for each in CHOICES if f"{{{_BOUND_AS.get(each, each)}:" in sql)
    found |= set(METRICS[name].also)
    if METRICS[name].per is not None:
        found |= {"per"}
    return found - {"bucket"} if METRICS[name].bucket_ms is None else found


def takes_prices(name: str) -> bool:
    """Tell whether the question `name` looks at the price list."""
    return name in METRICS and "<priced>" in question(name)


def since_of(name: str, *, of_run: bool = False) -> str:
    """Return how far back the question `name` looks, where nothing is said; of one run, perhaps all its life."""
    if name not in METRICS:
        return SINCE_DEFAULT
    return (of_run and METRICS[name].since_of_run) or METRICS[name].since


def levels_from(level: str) -> list[str]:
    """Return the log levels from `level`, one of LEVELS, up; of an empty one none, which means any."""
    return [name for name, rank in LEVELS.items() if rank >= LEVELS[level.upper()]] if level else []


def _narrowed_by(name: str) -> str:
    known = parameters_of(name)
    fewer = ("fewer rows (limit)",) if "limit" in known else ()
    return ", ".join(("a shorter time (since, until)", *fewer, *(f"one {each}" for each in _NARROWS if each in known)))


def _parameters(sql: str, query: MetricQuery) -> dict[str, object]:
    before_us, before_id, before_tenant = before(query.before)
    known: dict[str, object] = {
        "tenant": query.tenant,
        "everyone": query.tenant == ANY_TENANT,
        "since_ms": query.since_ms,
        "until_ms": query.until_ms,
        "flow": query.flow,
        "deployment": query.deployment,
        "work_pool": query.work_pool,
        "tag": query.tag,
        "run": query.run,
        "resource": query.resource,
        "levels": levels_from(query.level),
        "before_us": before_us,
        "before_id": before_id,
        "before_tenant": before_tenant,
        **bound(text_search(query.text)),
        "limit": query.limit,
        "flows_max": PATTERN_FLOWS_MAX + 1,
        "tz": query.tz,
        "by": query.by,
        "bucket_ms": query.bucket_ms,
        "grace_ms": query.grace_ms,
        "now_ms": query.until_ms if query.now_ms is None else query.now_ms,
        **query.prices.parameters(),
    }
    return {name: value for name, value in known.items() if f"{{{name}:" in sql}

"""The questions that ClickHouse answers, by name: each is a .sql file in queries/, its parameters always bound.

The tenant is always the first condition. Dashboards read the rollups and runs; only `logs` and the last minutes read
raw events. Everything counts distinct ids or runs, so events that were published twice change no answer.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.times import rfc3339
from flowgauge.sinks.clickhouse.pattern_words import PATTERN_COLUMNS, pattern_row
from flowgauge.sinks.clickhouse.patterns import Examined, FlowHours, examine, patterns
from flowgauge.sinks.clickhouse.store import ROWS_MAX, ClickHouseStore
from flowgauge.sinks.clickhouse.table import Table

TEXT_MAX = 200  # characters of a log search: more is no search
LIMIT_DEFAULT = 100
SINCE_DEFAULT = "7d"
PATTERN_FLOWS_MAX = 2_000  # of one question: some seconds, and half the time that a client waits
PATTERN_FLOWS_AT_ONCE = 200  # hours of two months of that many flows are some ten MB
_LEVELS = {
    "TRACE": 5,
    "DEBUG": 10,
    "INFO": 20,
    "WARN": 30,
    "WARNING": 30,
    "ERROR": 40,
    "CRITICAL": 50,
    "FATAL": 50,
}
_CHOICES = ("flow", "run", "text", "level", "tz", "limit")  # what narrows or shapes an answer; some questions have it
_BOUND_AS = {"level": "levels"}
# A word with a separator on both sides is a whole word of any message that holds the text.
_INNER_WORD = re.compile(r"(?<=[ -/:-@\[-`{-~])[A-Za-z0-9]+(?=[ -/:-@\[-`{-~])")
_WORDS_CONDITION = "AND hasAllTokens(message, {words:Array(String)})"


class InvalidQuestion(BadInput):
    """A question that cannot be asked: says which field, what came and what is expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricQuery:
    """What is asked: event times in [since_ms, until_ms) of one tenant. Empty text means any."""

    tenant: str
    since_ms: int
    until_ms: int
    flow: str = ""
    run: str = ""
    text: str = ""
    level: str = ""  # a log level and all above it
    limit: int = LIMIT_DEFAULT
    tz: str = "UTC"  # of the heat map


@dataclass(frozen=True, slots=True)
class Metric:
    """One question: its name, what it answers, and the columns of the answer in order."""

    name: str
    title: str
    columns: tuple[str, ...]
    since: str = SINCE_DEFAULT  # how far back, where nothing is said


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
            "durations",
            "How long finished runs took, by flow",
            ("flow", "runs", "p50_seconds", "p95_seconds", "max_seconds"),
        ),
        Metric(
            "runs",
            "The newest runs",
            ("run", "flow", "state", "scheduled_for", "started", "ended", "attempts", "seconds", "message"),
        ),
        Metric(
            "logs",
            "The newest log lines by text, run and level",
            ("time", "level", "flow", "run", "logger", "message"),
        ),
        Metric(
            "errors",
            "Errors of failed runs and tasks and error logs, by what they say, the most frequent first",
            ("error", "count", "runs", "flows", "first_seen", "last_seen", "example_run"),
        ),
        Metric(
            "patterns",
            "Hours, weekdays and days of the month at which flows fail beyond chance",
            PATTERN_COLUMNS,
            since="56d",
        ),
        Metric("events", "Events by minute, the newest first", ("minute", "events", "per_second")),
        Metric(
            "overview",
            "What happens now, and what became of runs",
            ("events_5m", "events_per_second_5m", "finished_since", "failed_since", "failure_rate_since"),
        ),
    )
}


async def answer(store: ClickHouseStore, name: str, query: MetricQuery) -> Table:
    """Answer the question `name`.

    Times are RFC 3339 strings in UTC, shares are 0 to 1, durations seconds, absent values None; every row is JSON
    as it stands. Raises InvalidQuestion for an unknown name or a bound that is passed, EngineTrouble when
    ClickHouse takes longer than 10 s.
    """
    if name not in METRICS:
        raise InvalidQuestion(f"no metric is called {name!r}: one of {', '.join(METRICS)}")
    _refuse_unbounded(query)
    if name == "patterns":
        return Table(list(METRICS[name].columns), await _patterns(store, query))
    words = inner_words(query.text)
    sql = question(name)
    if words:
        sql = sql.replace("-- words", _WORDS_CONDITION)
    found = await store.query(sql, _parameters(sql, query, words))
    rows = await _with_flows(store, query.tenant, found.rows) if name == "logs" else found.rows
    return Table(list(METRICS[name].columns), rows)


async def _patterns(store: ClickHouseStore, query: MetricQuery) -> list[tuple[object, ...]]:
    """Test the flows some at a time, off the event loop, and correct for all of them."""
    sql = question("patterns")
    flows = [flow for (flow,) in (await store.query(sql, _parameters(sql, query, []))).rows]
    if len(flows) > PATTERN_FLOWS_MAX:
        raise InvalidQuestion(
            f"flow: more than {PATTERN_FLOWS_MAX:,} flows failed on three days or more: name one, or ask of less time"
        )
    sql = question("pattern_hours")
    seen: list[Examined] = []
    for start in range(0, len(flows), PATTERN_FLOWS_AT_ONCE):
        some = flows[start : start + PATTERN_FLOWS_AT_ONCE]
        asked = {**_parameters(sql, query, []), "first": some[0], "last": some[-1]}
        seen += await asyncio.to_thread(_examined, await store.query(sql, asked))
    return [pattern_row(pattern, query.tz) for pattern in patterns(seen)]


def _examined(table: Table) -> list[Examined]:
    return [examine(hours) for hours in msgspec.convert(table.dicts(), list[FlowHours])]


@cache
def question(name: str) -> str:
    """Return the SQL of the question `name`."""
    path = files("flowgauge.sinks.clickhouse") / "queries" / f"{name.replace('-', '_')}.sql"
    return path.read_text("utf-8")


def parameters_of(name: str) -> frozenset[str]:
    """Return which of flow, run, text, level, tz and limit the question `name` looks at; of no question, none."""
    sql = question(name) if name in METRICS else ""
    return frozenset(each for each in _CHOICES if f"{{{_BOUND_AS.get(each, each)}:" in sql)


def since_of(name: str) -> str:
    """Return how far back the question `name` looks, where nothing is said."""
    return METRICS[name].since if name in METRICS else SINCE_DEFAULT


def inner_words(text: str) -> list[str]:
    """Return the words of `text` that any message which holds it holds whole: the text index finds those."""
    return [word.lower() for word in _INNER_WORD.findall(text)]


def levels_from(level: str) -> list[str]:
    """Return the log levels from `level` up; an unknown level is only itself, an empty one is any."""
    level = level.upper()
    if level not in _LEVELS:
        return [level] if level else []
    return [name for name, rank in _LEVELS.items() if rank >= _LEVELS[level]]


async def _with_flows(store: ClickHouseStore, tenant: str, lines: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Name the flow of the log lines that do not know it, by their runs."""
    runs = sorted({str(run) for _, _, flow, run, *_ in lines if run and not flow})
    if not runs:
        return lines
    known = await store.query(question("run_flows"), {"tenant": tenant, "runs": runs})
    flows = dict(zip(known.column("run"), known.column("flow_name"), strict=True)) if known.rows else {}
    return [(*line[:2], line[2] or flows.get(line[3], ""), *line[3:]) for line in lines]


def _parameters(sql: str, query: MetricQuery, words: list[str]) -> dict[str, object]:
    known: dict[str, object] = {
        "tenant": query.tenant,
        "since_ms": query.since_ms,
        "until_ms": query.until_ms,
        "flow": query.flow,
        "run": query.run,
        "text": query.text,
        "levels": levels_from(query.level),
        "words": words,
        "limit": query.limit,
        "flows_max": PATTERN_FLOWS_MAX + 1,
        "tz": query.tz,
    }
    return {name: value for name, value in known.items() if f"{{{name}:" in sql}


def _refuse_unbounded(query: MetricQuery) -> None:
    if not query.tenant:
        raise InvalidQuestion("tenant: expected a name, got none")
    if query.since_ms >= query.until_ms:
        raise InvalidQuestion(f"since ({rfc3339(query.since_ms)}) is expected before until ({rfc3339(query.until_ms)})")
    if not 1 <= query.limit <= ROWS_MAX:
        raise InvalidQuestion(f"limit: expected 1 to {ROWS_MAX}, got {query.limit}")
    if len(query.text) > TEXT_MAX:
        raise InvalidQuestion(f"text: expected at most {TEXT_MAX} characters, got {len(query.text)}")
    try:
        ZoneInfo(query.tz)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidQuestion(f"tz: expected an IANA time zone such as Europe/Berlin, got {query.tz!r}") from None

"""What the API's description says of questions: taken from their registry, each a path of its own. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from flowgauge.console.web.openapi import TEXT, Operation, Parameter, Schema
from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.schemas.times import format_duration
from flowgauge.sinks.clickhouse.call_settings import ROWS_MAX
from flowgauge.sinks.clickhouse.log_lines import CURSOR_EXAMPLE
from flowgauge.sinks.clickhouse.metric import (
    BUCKETS_MAX,
    BY,
    CONTEXT_MAX,
    GRACE_MS_DEFAULT,
    LEVELS,
    LIMIT_DEFAULT,
    SINCE_DEFAULT,
    TEXT_MAX,
    Metric,
)
from flowgauge.sinks.clickhouse.metrics import CHOICES, METRICS, parameters_of

METRIC_ROUTE: Final = "/v1/metrics/{name}"
TENANT = Parameter(name="tenant", about="Whose: another tenant's, for the operator only", example="shipping")
SINCE = Parameter(
    name="since",
    about="From when on: how long ago, such as 90m or 7d, a day in UTC such as 2026-11-24, or an RFC 3339 time",
    schema={**TEXT, "default": SINCE_DEFAULT},
    example="7d",
)
UNTIL = Parameter(name="until", about="Until when, written as `since`; now where nothing is said", example="1m")
LIMIT = Parameter(
    name="limit",
    about="At most this many rows",
    schema={"type": "integer", "minimum": 1, "maximum": ROWS_MAX, "default": LIMIT_DEFAULT},
    example=10,
)
OF_CHOICES: Mapping[str, Parameter] = {
    each.name: each
    for each in (
        Parameter(name="flow", about="Only this flow", example="nightly-etl"),
        Parameter(name="deployment", about="Only runs of this deployment", example="prod"),
        Parameter(name="work_pool", about="Only runs of this work pool", example="k8s"),
        Parameter(name="tag", about="Only runs with this tag", example="gpu"),
        Parameter(name="run", about="Only this run", example="nightly-etl-42"),
        Parameter(
            name="resource",
            about="Only what was told of this resource's id, as subject or related",
            example="prefect.flow-run.nightly-etl-42",
        ),
        Parameter(
            name="text",
            about="Only messages with these words, in this order; a * at either end lets the word go on there",
            schema={**TEXT, "maxLength": TEXT_MAX},
            example="refused the connection",
        ),
        Parameter(
            name="level", about="Only logs of this level or worse", schema={"enum": list(LEVELS)}, example="ERROR"
        ),
        Parameter(name="before", about="Only log lines older than the one with this `cursor`", example=CURSOR_EXAMPLE),
        Parameter(
            name="context",
            about=f"Lines of the same run around each that is found; with them at most {ROWS_MAX:,} lines in all",
            schema={"type": "integer", "minimum": 0, "maximum": CONTEXT_MAX, "default": 0},
            example=3,
        ),
        Parameter(
            name="tz",
            about="IANA time zone of hours and weekdays",
            schema={**TEXT, "default": "UTC"},
            example="Europe/Berlin",
        ),
        Parameter(name="per", about="What runs are grouped by", example="work_pool"),
        Parameter(
            name="by", about="What is at the top", schema={"enum": list(BY), "default": BY[0]}, example="changed"
        ),
        Parameter(
            name="bucket",
            about=f"Groups by time too: buckets of 1m to 31d, at most {BUCKETS_MAX:,} of them",
            example="1h",
        ),
        Parameter(
            name="grace",
            about="How late a run may start and be on time: 0s to 7d",
            schema={**TEXT, "default": format_duration(GRACE_MS_DEFAULT)},
            example="2m",
        ),
        LIMIT,
    )
}
_TIMES: Final = frozenset(("bucket", "ended", "first_seen", "last_seen", "minute", "scheduled_for", "started", "time"))
_TEXTS: Final = frozenset(
    (
        *("currency", "cursor", "deployment", "detail", "error", "event", "example_run", "flow", "kind", "letter"),
        *("level", "logger", "message", "name", "origin", "reason", "run", "says", "source", "state", "tag", "team"),
        *("tenant", "value", "weekdays", "when", "work_pool"),
    )
)
_OTHERS: Mapping[str, Schema] = {
    "hour": {"type": ["string", "integer"]},  # a time, and of the heat map one of 24
    "is_stored": {"type": "boolean"},
    "matches": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
}


def metric_operations() -> Iterator[Operation]:
    """Yield an operation for each question that there is."""
    for metric in METRICS.values():
        yield Operation(
            method="GET",
            path=METRIC_ROUTE.replace("{name}", metric.name),
            route=METRIC_ROUTE,
            title=metric.title,
            about=_about(metric),
            parameters=tuple(_parameters(metric)),
            answer=_answer(metric),
        )


def table(columns: Sequence[str], *, of: str = "", perhaps: Sequence[str] = ()) -> Schema:
    """Return the schema of rows under `columns`, `of` a metric.

    Columns of `perhaps` stand before the others where they are asked for.
    """
    names = [*perhaps, *columns]
    fields = {name: _column(name) for name in names}
    row = {"type": "object", "properties": fields, "required": list(columns), "additionalProperties": False}
    properties: dict[str, object] = {
        **({"metric": {"const": of}} if of else {}),
        "columns": {"type": "array", "items": {"enum": names}},
        "rows": {"type": "array", "items": row},
    }
    hint = {"hint": {"type": "string", "description": "Why there may be nothing, where that is easily overlooked"}}
    required = list(properties)
    return {"type": "object", "properties": {**properties, **(hint if of else {})}, "required": required}


def _parameters(metric: Metric) -> Iterator[Parameter]:
    known = parameters_of(metric.name)
    own: Mapping[str, Schema] = {
        "per": {"enum": metric.groups, **({"default": metric.per} if metric.per else {})},
        "bucket": {"default": format_duration(metric.bucket_ms)} if metric.bucket_ms else {},
    }
    yield replace(SINCE, schema={**TEXT, "default": metric.since})
    yield UNTIL
    for name in CHOICES:
        if name in known:
            choice = OF_CHOICES[name]
            yield replace(choice, schema={**choice.schema, **own.get(name, {})})
    yield TENANT if metric.of_one_tenant else replace(TENANT, about=f"{TENANT.about}; {ANY_TENANT} is all together")


def _about(metric: Metric) -> str:
    told = [f"Is about one of {', '.join(metric.one_of)}: name it."] if metric.one_of else []
    if metric.since_of_run:
        told.append(f"Of one run, `since` is {metric.since_of_run} where nothing is said.")
    return " ".join(told)


def _answer(metric: Metric) -> Schema:
    if metric.per is None:
        return table(metric.columns, of=metric.name, perhaps=("tenant",) if metric.tells_tenant else ())
    before = metric.groups if metric.bucket_ms is None else ("bucket", *metric.groups)
    return table(metric.columns[1:], of=metric.name, perhaps=before)


def _column(name: str) -> Schema:
    """Return the schema of what stands under `name`: columns that are neither texts nor times are numbers."""
    if name in _OTHERS:
        return _OTHERS[name]
    if name in _TIMES:
        return {"type": ["string", "null"], "format": "date-time"}
    return {"type": ["string" if name in _TEXTS else "number", "null"]}

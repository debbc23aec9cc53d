"""What is asked of a month: every metric, timelines, log needles and incidents, each time a little else. Pure.

No two askings of one question are the same: their times differ by some minutes, their flows, runs and words in turn.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.schemas.times import parse_duration_ms
from flowgauge.sinks.clickhouse.metric import MetricQuery
from flowgauge.sinks.clickhouse.metrics import METRICS, parameters_of, since_of

LARGEST: Final = "largest"
ALL: Final = "all"
INCIDENTS: Final = "incidents"  # the list; beside the metrics, as the next
INCIDENT: Final = "incident"  # one, named by the query's text
WEEK: Final = "7d"
STEP_MS: Final = 433_000  # between the ends of two askings: no round number, so that no boundary is hit each time


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the events are about, as far as askings name it: of the largest tenant, in no order."""

    since_ms: int
    until_ms: int
    tenant: str
    flows: Sequence[str]
    runs: Sequence[str]
    tasks: Sequence[str]  # ids of resources that few events are about
    marks: Sequence[str]  # words that one log line has
    customers: Sequence[str]  # phrases that a few lines have
    incidents: Sequence[str]


@dataclass(frozen=True, slots=True)
class Question:
    """One question, and all the ways in which it is asked."""

    name: str
    of: str  # LARGEST or ALL
    metric: str  # one of METRICS, INCIDENTS or INCIDENT
    askings: Sequence[MetricQuery]


def questions(facts: Facts, askings: int, *, first: int = 0, of: Sequence[str] = (LARGEST, ALL)) -> list[Question]:
    """Return every question, each with `askings` askings from the `first` on, of the largest tenant and of all."""
    return [
        Question(name, whose, metric, [_varied(query, facts, at, varies) for at in range(first, first + askings)])
        for whose in of
        for name, metric, query, varies in _shapes(facts, whose)
    ]


Shape = tuple[str, str, MetricQuery, Mapping[str, Sequence[str]]]


def _shapes(facts: Facts, whose: str) -> Iterator[Shape]:
    """Yield name, metric, query, and which of its fields take turns through what."""
    tenant = facts.tenant if whose == LARGEST else ANY_TENANT
    week = _asked(facts, tenant, WEEK)
    for metric in METRICS.values():
        if metric.one_of or (whose == ALL and metric.of_one_tenant):
            continue
        for since in sorted({WEEK, since_of(metric.name)}):
            yield f"{metric.name}, {since}", metric.name, _asked(facts, tenant, since), {}
        if whose == LARGEST and "flow" in parameters_of(metric.name):
            yield f"{metric.name}, {WEEK}, a flow", metric.name, week, {"flow": facts.flows}
    if whose == LARGEST or not METRICS["logs"].of_one_tenant:
        yield from _needles(facts, week)
    if whose == LARGEST:
        yield "timeline, a run", "timeline", replace(week, since_ms=0), {"run": facts.runs}  # all its life
        yield "timeline, a task", "timeline", replace(week, since_ms=facts.since_ms), {"resource": facts.tasks}
        yield "incidents", INCIDENTS, week, {}
        if facts.incidents:
            yield "incident", INCIDENT, week, {"text": facts.incidents}


def _needles(facts: Facts, week: MetricQuery) -> Iterator[Shape]:
    yield "logs, 7d, an id", "logs", week, {"text": facts.marks}
    yield "logs, 7d, a frequent word", "logs", replace(week, text="warehouse"), {}
    yield "logs, 7d, a word of errors", "logs", replace(week, text="refused"), {}
    yield "logs, 7d, a phrase", "logs", week, {"text": facts.customers}
    yield "logs, 7d, errors of a flow", "logs", replace(week, level="ERROR"), {"flow": facts.flows}


def _asked(facts: Facts, tenant: str, since: str) -> MetricQuery:
    return MetricQuery(tenant=tenant, since_ms=facts.until_ms - parse_duration_ms(since), until_ms=facts.until_ms)


def _varied(query: MetricQuery, facts: Facts, at: int, varies: Mapping[str, Sequence[str]]) -> MetricQuery:
    earlier_ms = at * STEP_MS if query.since_ms - at * STEP_MS > facts.since_ms else at * 1_000
    since_ms = query.since_ms - earlier_ms if query.since_ms else 0
    turns = {field: values[at % len(values)] for field, values in varies.items() if values}
    return replace(query, since_ms=since_ms, until_ms=query.until_ms - earlier_ms, **turns)  # type: ignore[arg-type]

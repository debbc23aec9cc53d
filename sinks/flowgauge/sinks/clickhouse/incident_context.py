"""What stands around one incident: errors, last error lines, what changed before it opened, what else is open.

Every look is bounded in time and rows, and all of them together by a deadline: what could not be told by then is named,
and the rest is told.

What changed is found by comparing runs: of each flow the first and the last run of every ten minutes in the two hours
before the opening, of one hour in three in the day, of one in twelve in the week; hours in which none ended are passed
over. What none of them had until the last day is new. A flow's first run of all is no change: there is nothing to
compare it with.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import structlog

from flowgauge.schemas.incident_context import (
    CHANGES_MAX,
    ERRORS_MAX,
    LINES_MAX,
    RELATED_MAX,
    Changed,
    ErrorGroup,
    ErrorLine,
    IncidentContext,
    RelatedIncident,
    RunLink,
    in_short,
    run_link,
    shortened,
)
from flowgauge.schemas.times import rfc3339
from flowgauge.schemas.transition import Transition
from flowgauge.sinks.clickhouse.errors import EngineTrouble
from flowgauge.sinks.clickhouse.incidents import Example, Incident, RunView, example_runs
from flowgauge.sinks.clickhouse.metric import MetricQuery
from flowgauge.sinks.clickhouse.metrics import answer
from flowgauge.sinks.clickhouse.questions import question
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import rows_of
from flowgauge.sinks.clickhouse.timeline import DAY_MS

DEADLINE_S = 5.0  # a page waits for as long
FLOWS_MAX = 3  # that are looked at: those of the examples that come first
COMPARED_MS = 7 * DAY_MS  # how far back runs are compared, and incidents looked for that are still open
CHANGED_MS = DAY_MS  # what changed earlier has little to do with it
RUNS_COMPARED_MAX = 300  # two of each of some 36 stretches, of each flow, and some to spare
HOUR_S, HOUR_MS = 3_600, 3_600_000
TRAITS_MAX = 1_000  # different things that they had
ERRORS_BEFORE_MS = 600_000  # errors are looked for in the window of the rule, or in ten minutes if that is shorter
ERRORS_SPAN_MS = DAY_MS  # from there on, of an incident that stays open
ROLES = (
    "deployment",
    "deployment-version",
    "flow-version",
    "work-pool",
    "work-queue",
    "worker",
)  # told of related things
DEPLOY_EVENTS = ("flowgauge.deploy", "prefect.deployment.created", "prefect.deployment.updated")  # and deploy…
EVENT_ID = "event_id"  # of a point incident's key: it names nothing that others share

log_lines = structlog.get_logger(__name__)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """The incident that is asked about, as far as the looks need it."""

    incident_id: str
    tenant: str
    key: Mapping[str, str]
    opened_at_ms: int
    window_ms: int
    until_ms: int  # its end, or now
    examples: Sequence[Example]


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Where people look at things: `run_url` is the orchestrator's page of a run, with {run} and {flow} to fill in."""

    run_url: str = ""
    incident: Callable[[str], str] = lambda _incident_id: ""
    run: Callable[[str], str] = lambda _run: ""


NO_LINKS = Links()


def about_incident(incident: Incident, now_ms: int) -> About:
    """Return what is asked about a stored incident."""
    return About(
        incident_id=incident.incident_id,
        tenant=incident.tenant,
        key=incident.key,
        opened_at_ms=incident.opened_at_ms,
        window_ms=incident.window_ms,
        until_ms=now_ms if incident.is_open else incident.at_ms,
        examples=incident.examples,
    )


def about_transition(transition: Transition, now_ms: int) -> About:
    """Return what is asked about the incident of `transition`."""
    return About(
        incident_id=transition.incident_id,
        tenant=transition.tenant,
        key=transition.key,
        opened_at_ms=transition.opened_at_ms,
        window_ms=transition.window_ms,
        until_ms=transition.at_ms if transition.to_state == "resolved" else now_ms,
        examples=[Example(each.occurred_us, each.event_id, each.run, each.flow) for each in transition.examples],
    )


async def incident_context(
    store: ClickHouseStore,
    about: About,
    *,
    runs: Sequence[RunView] | None = None,
    links: Links = NO_LINKS,
    deadline_s: float = DEADLINE_S,
) -> IncidentContext:
    """Return what stands around an incident after at most `deadline_s` seconds; raises nothing of ClickHouse's.

    `runs`, where they are known already, are its example runs.
    """
    looks = _Looks(store, about, asyncio.get_running_loop().time() + deadline_s)
    known = runs if runs is not None else await looks.told("runs", looks.runs(), [])
    flows = _flows(about, known)
    return IncidentContext(
        incident_id=about.incident_id,
        runs=[_link(run, links) for run in known],
        lines=_lines(known),
        errors=await looks.told("errors", looks.errors(flows, known), []),
        changes=await looks.told("changes", looks.changes(flows), []),
        related=await looks.told("related incidents", looks.related(flows, links), []),
        untold=looks.untold,
    )


class _Looks:
    """The looks into ClickHouse for one incident, one after the other: each may fail alone."""

    def __init__(self, store: ClickHouseStore, about: About, until_s: float) -> None:
        self._store = store
        self._about = about
        self._until_s = until_s
        self.untold: list[str] = []

    async def told(self, part: str, look: Awaitable[_T], otherwise: _T) -> _T:
        """Return what `look` finds; `otherwise`, and `part` is untold, where ClickHouse cannot say it in time."""
        try:
            async with asyncio.timeout_at(self._until_s):
                return await look
        except (EngineTrouble, TimeoutError) as error:
            about = self._about
            log_lines.warning("context not told", part=part, incident_id=about.incident_id, error=str(error) or "late")
            self.untold.append(part)
            return otherwise

    async def runs(self) -> list[RunView]:
        return await example_runs(self._store, self._about.tenant, self._about.examples)

    async def errors(self, flows: Sequence[str], runs: Sequence[RunView]) -> list[ErrorGroup]:
        """Return the most frequent errors of the flows, or of the runs where no flow is known."""
        about = self._about
        since_ms = max(0, about.opened_at_ms - max(about.window_ms, ERRORS_BEFORE_MS))
        until_ms = min(max(about.until_ms, about.opened_at_ms) + 1, since_ms + ERRORS_SPAN_MS)
        all_of = MetricQuery(tenant=about.tenant, since_ms=since_ms, until_ms=until_ms, limit=ERRORS_MAX)
        narrowed = [replace(all_of, flow=flow) for flow in flows]
        found: list[Mapping[str, Any]] = []
        for asked in narrowed or [replace(all_of, run=run.run) for run in runs[:FLOWS_MAX]]:
            found += (await answer(self._store, "errors", asked)).dicts()
        return _grouped(found)

    async def changes(self, flows: Sequence[str]) -> list[Changed]:
        """Return what was new in the day before the opening, the newest first."""
        news = [*await self._deploys(flows), *(await self._traits(flows) if flows else [])]
        return sorted(news, key=lambda each: (each.at, each.what, each.name), reverse=True)[:CHANGES_MAX]

    async def related(self, flows: Sequence[str], links: Links) -> list[RelatedIncident]:
        """Return the incidents that were open at the same time and share a flow or a value of the key."""
        about = self._about
        shared = {value for name, value in about.key.items() if name != EVENT_ID and value} | {*flows}
        if not shared:
            return []
        rows = await self._ask(
            "context_related",
            since_ms=max(0, about.opened_at_ms - COMPARED_MS),
            until_ms=max(about.until_ms, about.opened_at_ms) + 1,
            incident_id=about.incident_id,
            shared=sorted(shared),
            limit=RELATED_MAX,
        )
        return [_related(row, shared, links) for row in rows]

    async def _deploys(self, flows: Sequence[str]) -> list[Changed]:
        since_ms = max(0, self._about.opened_at_ms - CHANGED_MS)
        asked = {"since_ms": since_ms, "flows": [*flows], "events": [*DEPLOY_EVENTS], "limit": CHANGES_MAX}
        return [_deploy(row) for row in await self._ask("context_deploys", **asked)]

    async def _traits(self, flows: Sequence[str]) -> list[Changed]:
        since_ms = max(0, self._about.opened_at_ms - COMPARED_MS)
        day_ms, asked = self._about.opened_at_ms - CHANGED_MS, {"since_ms": since_ms, "flows": [*flows]}
        ended = [int(hour) for (hour,) in await self._ask("context_hours", day_ms=day_ms, **asked)]
        hours = sorted({*ended, *_recent_hours(self._about.opened_at_ms)})
        chosen = await self._ask("context_runs", hours=hours, limit=RUNS_COMPARED_MAX, **asked)
        runs = sorted({str(run) for (run,) in chosen})
        if not runs:
            return []
        rows = await self._ask("context_traits", since_ms=since_ms, runs=runs, roles=[*ROLES], limit=TRAITS_MAX)
        return list(_news(rows, day_ms))

    async def _ask(self, name: str, **asked: object) -> Sequence[Sequence[Any]]:
        about = self._about
        parameters = {"tenant": about.tenant, "opened_ms": about.opened_at_ms, **asked}
        return (await self._store.query(question(name), parameters, seen=rows_of(about.tenant))).rows


def _flows(about: About, runs: Sequence[RunView]) -> list[str]:
    """Return the flows that the incident is about: that of its key, else those of its examples."""
    if flow := about.key.get("flow"):
        return [flow]
    named = dict.fromkeys([*(each.flow for each in about.examples), *(run.flow for run in runs)])
    return [flow for flow in named if flow][:FLOWS_MAX]


def _recent_hours(opened_ms: int) -> range:
    """Return the hours that the two before the opening touch, in seconds since 1970."""
    return range(max(0, opened_ms - 2 * HOUR_MS) // HOUR_MS * HOUR_S, opened_ms // 1000 + 1, HOUR_S)


def _link(run: RunView, links: Links) -> RunLink:
    link = run_link(run.run, run.flow, links.run_url)
    return RunLink(run=run.run, flow=run.flow, state=run.state, link=link, page=links.run(run.run))


def _lines(runs: Sequence[RunView]) -> list[ErrorLine]:
    """Return the newest error lines of all runs, the newest first."""
    lines = [
        ErrorLine(time=line.time, level=line.level, run=run.run, flow=run.flow, text=shortened(in_short(line.message)))
        for run in runs
        for line in run.error_lines
    ]
    return sorted(lines, key=lambda line: (_in_order(line.time), line.run, line.text), reverse=True)[:LINES_MAX]


def _grouped(rows: Sequence[Mapping[str, Any]]) -> list[ErrorGroup]:
    """Return the errors of several flows as one list: a run is of one flow, so counts add up."""
    groups: dict[str, ErrorGroup] = {}
    for row in rows:
        found = ErrorGroup(
            error=shortened(row["error"]),
            count=row["count"],
            runs=row["runs"],
            first_seen=row["first_seen"],
            last_seen=row["last_seen"],
            example_run=row["example_run"],
        )
        known = groups.get(found.error)
        groups[found.error] = found if known is None else _together(known, found)
    return sorted(groups.values(), key=lambda group: (-group.count, group.error))[:ERRORS_MAX]


def _together(one: ErrorGroup, other: ErrorGroup) -> ErrorGroup:
    return ErrorGroup(
        error=one.error,
        count=one.count + other.count,
        runs=one.runs + other.runs,
        first_seen=min(one.first_seen, other.first_seen, key=_in_order),
        last_seen=max(one.last_seen, other.last_seen, key=_in_order),
        example_run=one.example_run,
    )


def _in_order(time: str) -> str:
    """Return a time of ClickHouse's as text that sorts: whole seconds have no fraction."""
    return time.removesuffix("Z")


def _news(rows: Sequence[Sequence[Any]], since_ms: int) -> Iterator[Changed]:
    """Yield what was first had from `since_ms` on, and not already by the first run of its flow."""
    begun = {flow: at_ms for flow, what, _, at_ms, _ in rows if not what}
    for flow, what, name, at_ms, run in rows:
        if what and at_ms >= since_ms and at_ms > begun[flow]:
            yield Changed(at=rfc3339(at_ms), what=what, name=shortened(name), flow=flow, run=run)


def _deploy(row: Sequence[Any]) -> Changed:
    at_ms, event, name, flow, version, said = row
    detail = shortened(" ".join(part for part in (version, said) if part))
    name = shortened(f"{event} {name}")
    return Changed(at=rfc3339(at_ms), what="deploy event", name=name, flow=flow, detail=detail)


def _related(row: Sequence[Any], shared: set[str], links: Links) -> RelatedIncident:
    incident_id, (rule, severity, state, _), opened_ms, key, flows = row
    return RelatedIncident(
        incident_id=incident_id,
        rule=rule,
        severity=severity,
        state=state,
        opened_at=rfc3339(opened_ms),
        key=key,
        shares=sorted(shared & {*key.values(), *flows}),
        link=links.incident(incident_id),
    )

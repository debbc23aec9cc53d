"""What the incident page says of what stands around it: errors, what changed before, what else was open. Pure."""

from dataclasses import dataclass

from flowgauge.console.web.words import SEVERITIES, STATES, Mark, Moment, count, mark, moment
from flowgauge.schemas.incident_context import Changed, ErrorGroup, IncidentContext, RelatedIncident
from flowgauge.schemas.times import parse_time_ms


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """One group of errors: messages that say the same."""

    error: str
    times: str
    runs: str
    first: Moment
    last: Moment


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """What was new; `run` is the first that had it."""

    at: Moment
    what: str
    name: str
    flow: str
    run: str
    detail: str


@dataclass(frozen=True, slots=True)
class RelatedRow:
    """Another incident that was open at the same time."""

    incident_id: str
    rule: str
    shares: str
    state: Mark
    severity: Mark
    opened: Moment


@dataclass(frozen=True, slots=True)
class ContextPart:
    """What the page says besides the incident's own numbers. `links` leads to runs in the orchestrator, by run."""

    errors: tuple[ErrorRow, ...]
    changes: tuple[ChangeRow, ...]
    related: tuple[RelatedRow, ...]
    links: dict[str, str]
    untold: str  # what ClickHouse could not say in time


def context_part(context: IncidentContext, now_ms: int) -> ContextPart:
    """Return what the page says of `context`, seen from `now_ms`."""
    return ContextPart(
        errors=tuple(_error(group, now_ms) for group in context.errors),
        changes=tuple(_change(change, now_ms) for change in context.changes),
        related=tuple(_related(other, now_ms) for other in context.related),
        links={run.run: run.link for run in context.runs if run.link},
        untold=", ".join(context.untold),
    )


def _error(group: ErrorGroup, now_ms: int) -> ErrorRow:
    first, last = (moment(parse_time_ms(time), now_ms) for time in (group.first_seen, group.last_seen))
    return ErrorRow(group.error, count(group.count, "time"), count(group.runs, "run"), first, last)


def _change(change: Changed, now_ms: int) -> ChangeRow:
    at = moment(parse_time_ms(change.at), now_ms)
    return ChangeRow(at, change.what, change.name, change.flow, change.run, change.detail)


def _related(other: RelatedIncident, now_ms: int) -> RelatedRow:
    return RelatedRow(
        incident_id=other.incident_id,
        rule=other.rule,
        shares=", ".join(other.shares),
        state=mark(STATES, other.state),
        severity=mark(SEVERITIES, other.severity),
        opened=moment(parse_time_ms(other.opened_at), now_ms),
    )

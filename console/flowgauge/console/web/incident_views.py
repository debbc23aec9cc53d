"""What the pages say of incidents: rows for lists, and one incident with its reasons. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from flowgauge.console.web.acts import act_words, handling_words
from flowgauge.console.web.banner import Banner
from flowgauge.console.web.context_views import ContextPart, context_part
from flowgauge.console.web.delivery_views import DeliveryRow, delivery_row
from flowgauge.console.web.examples import Shown, counted, shown_examples
from flowgauge.console.web.silence_views import silence_query
from flowgauge.console.web.standing import standing
from flowgauge.console.web.words import (
    HAPPENED,
    SEVERITIES,
    STATES,
    Mark,
    Moment,
    count,
    flapping_words,
    kind_of,
    mark,
    moment,
    shown_of,
    span,
    value_of,
)
from flowgauge.processors.kinds.kind import Examples, Shows
from flowgauge.schemas.controls_in_force import NOTHING_DONE, Handling
from flowgauge.schemas.flapping import Flapping
from flowgauge.schemas.incident_context import IncidentContext, in_short
from flowgauge.schemas.summary import summarize
from flowgauge.schemas.times import format_duration, parse_time_ms, rfc3339
from flowgauge.schemas.transition import ExampleRun, Transition
from flowgauge.sinks.clickhouse.incidents import Incident, IncidentView, LogLine
from flowgauge.sinks.clickhouse.incidents import Step as StoredStep

METER_WIDTH = 320
EVENT_ID = "event_id"  # part of a point incident's key; nobody reads it in a list


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """One incident in a list."""

    incident_id: str
    tenant: str
    title: str
    rule: str
    key: tuple[tuple[str, str], ...]
    state: Mark
    severity: Mark
    opened: Moment
    lasted: str
    value: str
    threshold: str
    flapping: str = ""
    handling: str = ""


@dataclass(frozen=True, slots=True)
class ActRow:
    """Something that somebody did about the incident."""

    at: Moment
    by: str
    says: str


@dataclass(frozen=True, slots=True)
class Step:
    """One transition in the timeline."""

    state: Mark
    at: Moment
    reason: str
    numbers: str


@dataclass(frozen=True, slots=True)
class Meter:
    """Value and threshold on one scale, as a picture; None values make none."""

    value_x: float
    threshold_x: float
    width: int
    words: str
    tone: str


@dataclass(frozen=True, slots=True)
class Fact:
    """A number behind the decision; `start` and `end` where it is a stretch of time."""

    name: str
    text: str
    start: Moment | None = None
    end: Moment | None = None


@dataclass(frozen=True, slots=True)
class ErrorLine:
    """A log line in short. `clock` is its time of day in UTC, `iso` the exact one."""

    iso: str
    clock: str
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class ExampleRow:
    """A run or an event that counted. `times` are pairs such as ("started", …); `delay` is said of a late run."""

    run: str
    event_id: str
    flow: str
    state: str
    times: tuple[tuple[str, Moment], ...]
    delay: str
    lines: tuple[ErrorLine, ...]
    message: str


@dataclass(frozen=True, slots=True)
class IncidentPage:
    """Everything the incident page says."""

    row: IncidentRow
    labels: tuple[tuple[str, str], ...]
    reason: str
    standing: str
    runbook: str
    meter: Meter | None
    facts: tuple[Fact, ...]
    timeline: tuple[Step, ...]
    examples: tuple[ExampleRow, ...]
    example_words: Examples
    example_count: str
    deliveries: tuple[DeliveryRow, ...]
    context: ContextPart
    acts: tuple[ActRow, ...]
    acts_cut: bool  # still older ones are no longer told
    unknown: Banner | None  # where detection is
    silence_query: str  # of the form that silences what is like it


def incident_row(
    incident: Incident, now_ms: int, flapping: Flapping | None = None, handling: Handling = NOTHING_DONE
) -> IncidentRow:
    """Return an incident's row in a list."""
    ended_ms = now_ms if incident.is_open else incident.at_ms
    return IncidentRow(
        incident_id=incident.incident_id,
        tenant=incident.tenant,
        title=title_of(incident),
        rule=incident.rule,
        key=tuple((name, value) for name, value in incident.key.items() if name != EVENT_ID),
        state=state_of(incident),
        severity=mark(SEVERITIES, incident.severity),
        opened=moment(incident.opened_at_ms, now_ms),
        lasted="" if is_point(incident) else span(max(0, ended_ms - incident.opened_at_ms)),
        value=value_of(incident.value, incident.rule_kind),
        threshold=value_of(incident.threshold, incident.rule_kind),
        flapping="" if flapping is None else flapping_words(flapping),
        handling=handling_words(handling),
    )


def incident_page(
    view: IncidentView,
    now_ms: int,
    unknown: Banner | None = None,
    handling: Handling = NOTHING_DONE,
    *,
    context: IncidentContext | None = None,
) -> IncidentPage:
    """Return an incident's page; `unknown` is said where detection does not know how it stands now."""
    incident, kind = view.incident, kind_of(view.incident.rule_kind)
    steps = sorted(view.transitions, key=lambda step: step.seq, reverse=True)
    examples = tuple(_example_rows(shown_examples(view, now_ms), kind.examples_as.shows, now_ms))
    told = sorted(view.deliveries, key=lambda delivery: (delivery.at_ms, delivery.delivery_id), reverse=True)
    return IncidentPage(
        row=incident_row(incident, now_ms, view.flapping, handling),
        labels=tuple(incident.labels.items()),
        reason=_sentence(incident.reason),
        standing=standing(incident, view.ended),
        runbook=incident.runbook,
        meter=_meter(incident),
        facts=_facts(incident, now_ms),
        timeline=tuple(_step(step, incident, now_ms) for step in steps),
        examples=examples,
        example_words=kind.examples_as,
        example_count=shown_of(len(examples), counted(incident)),
        deliveries=tuple(delivery_row(delivery, now_ms) for delivery in told),
        context=context_part(context or IncidentContext(incident_id=incident.incident_id), now_ms),
        acts=tuple(ActRow(moment(act.at_ms, now_ms), act.by, act_words(act)) for act in reversed(handling.acts)),
        acts_cut=handling.is_cut,
        unknown=unknown,
        silence_query=silence_query(
            incident.rule, {name: value for name, value in incident.key.items() if name != EVENT_ID}
        ),
    )


def is_point(incident: Incident) -> bool:
    """Tell whether this is one event, told once, that lasts for no time."""
    return not incident.is_open and incident.state == "firing"


def state_of(incident: Incident) -> Mark:
    """Return the mark of an incident's state; a point incident has only happened."""
    return STATES[HAPPENED] if is_point(incident) else mark(STATES, incident.state)


def title_of(incident: Incident) -> str:
    """Return the rule's summary with the numbers of the last breach: what the webhook of that firing says.

    Without one, or with one that fails, the webhook names the rule and its state; a title is the rule's name alone,
    because it stays when the state has changed.
    """
    fired = _firing(incident)
    title = summarize(fired)
    is_plain = title == summarize(msgspec.structs.replace(fired, summary=""))
    return summarize(msgspec.structs.replace(fired, summary="{{ rule }}")) if is_plain else title


def _firing(incident: Incident) -> Transition:
    return Transition(
        transition_id="",
        incident_id=incident.incident_id,
        seq=0,
        tenant=incident.tenant,
        rule=incident.rule,
        rule_kind=incident.rule_kind,
        rules_version=0,
        key=incident.key,
        from_state="inactive",
        to_state="firing",
        at_ms=incident.fired_at_ms,
        opened_at_ms=incident.opened_at_ms,
        reason=incident.reason,
        value=incident.value,
        threshold=incident.threshold,
        samples=incident.samples,
        late_samples=incident.late_samples,
        window_ms=incident.window_ms,
        examples=[ExampleRun(each.occurred_us, each.event_id, each.run, each.flow) for each in incident.examples],
        severity=incident.severity,
        labels=incident.labels,
        summary=incident.summary,
        runbook=incident.runbook,
    )


def _facts(incident: Incident, now_ms: int) -> tuple[Fact, ...]:
    late = " (came too late to count)" if incident.late_samples else ""
    return (
        Fact("Value", value_of(incident.value, incident.rule_kind)),
        Fact("Threshold", value_of(incident.threshold, incident.rule_kind)),
        Fact("Samples", f"{incident.samples:,}"),
        Fact("Late samples", f"{incident.late_samples:,}{late}"),
        _window(incident, now_ms),
        Fact("Rule", f"{incident.rule} ({incident.rule_kind})"),
    )


def _window(incident: Incident, now_ms: int) -> Fact:
    if not incident.window_ms:
        is_of_events = kind_of(incident.rule_kind).examples_as.shows == "events"
        return Fact("Window", "each event" if is_of_events else "no bound in time")
    start_ms, end_ms = incident.fired_at_ms - incident.window_ms, incident.fired_at_ms
    return Fact("Window", format_duration(incident.window_ms), moment(start_ms, now_ms), moment(end_ms, now_ms))


def _meter(incident: Incident) -> Meter | None:
    value, threshold = incident.value, incident.threshold
    if value is None or threshold is None or value < 0 or threshold < 0:
        return None
    kind = incident.rule_kind
    top = 1.0 if kind_of(kind).unit == "share" else max(value, threshold) * 1.15 or 1.0
    words = f"{value_of(value, kind)} against a threshold of {value_of(threshold, kind)}"
    tone = "is-firing" if value >= threshold else "is-resolved"
    return Meter(round(value / top * METER_WIDTH, 1), round(threshold / top * METER_WIDTH, 1), METER_WIDTH, words, tone)


def _step(step: StoredStep, incident: Incident, now_ms: int) -> Step:
    numbers = count(step.samples, "sample")
    if step.value is not None:
        is_share = kind_of(incident.rule_kind).unit == "share"
        numbers = f"{value_of(step.value, incident.rule_kind)} of {numbers}" if is_share else numbers
    state = STATES[HAPPENED] if is_point(incident) else mark(STATES, step.to_state)
    return Step(state, moment(step.at_ms, now_ms), _sentence(step.reason), numbers)


def _example_rows(examples: Iterable[Shown], shows: Shows, now_ms: int) -> Iterator[ExampleRow]:
    """Yield a row each; what is known of a run stands with the first of its examples."""
    told: set[str] = set()
    for shown in examples:
        yield _example_row(shown, shows, now_ms, is_first=shown.example.run not in told)
        told.add(shown.example.run)


def _example_row(shown: Shown, shows: Shows, now_ms: int, *, is_first: bool) -> ExampleRow:
    run = shown.run if is_first else None
    return ExampleRow(
        run=shown.example.run,
        event_id=shown.example.event_id,
        flow=shown.flow,
        state=run.state if run and shows != "events" else "",  # the run's, not the event's
        times=_times(shown, shows, now_ms),
        delay=_delay(shown) if shows == "starts" else "",
        lines=tuple(_error_line(line) for line in reversed(run.error_lines)) if run else (),
        message=run.message if run else "",
    )


def _times(shown: Shown, shows: Shows, now_ms: int) -> tuple[tuple[str, Moment], ...]:
    times: list[tuple[str, int | None]] = [("started", shown.started_ms)]
    if shows == "starts":
        is_known = shown.scheduled_ms is not None
        due = ("scheduled for", shown.scheduled_ms) if is_known else ("called late", shown.occurred_ms)
        times = [due, *times]
    elif shows == "last event":
        times = [("last seen", shown.occurred_ms)]
    elif shown.run is None or shows == "events":
        times = [("happened", shown.occurred_ms)]
    return tuple((word, moment(at_ms, now_ms)) for word, at_ms in times if at_ms is not None)


def _delay(shown: Shown) -> str:
    """Say by how much a run was late, from its scheduled time or from when it was called late."""
    if shown.late_by_ms is None:
        return "never started"
    by = f"{span(shown.late_by_ms)} {'later' if shown.scheduled_ms is None else 'late'}"
    return by if shown.started_ms is not None else f"not started, {by} so far"


def _error_line(line: LogLine) -> ErrorLine:
    iso = rfc3339(parse_time_ms(line.time))
    return ErrorLine(iso, iso[11:23], line.level, in_short(line.message))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] if text else "–"

"""What the pages say of incidents: rows for lists, and one incident with its reasons. Pure."""

from dataclasses import dataclass

from flowgauge.console.web.words import (
    OUTCOMES,
    SEVERITIES,
    STATES,
    Mark,
    Moment,
    count,
    in_short,
    mark,
    moment,
    span,
    value_of,
    window,
)
from flowgauge.schemas.summary import render_summary
from flowgauge.sinks.clickhouse.incidents import DeliveryView, Incident, IncidentView, RunView
from flowgauge.sinks.clickhouse.incidents import Step as Transition

METER_WIDTH = 320
EVENT_ID = "event_id"  # part of a point incident's key; nobody reads it in a list
SHARE_KINDS = frozenset({"failure_rate", "burn_rate"})  # their values are shares of 1


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """One incident in a list."""

    incident_id: str
    title: str
    rule: str
    key: tuple[tuple[str, str], ...]
    state: Mark
    severity: Mark
    opened: Moment
    lasted: str
    value: str
    threshold: str


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
class DeliveryRow:
    """One delivery with what has become of it."""

    channel: str
    told: Mark
    outcome: Mark
    attempts: int
    last: str
    at: Moment
    next_at: Moment | None
    delivery_id: str


@dataclass(frozen=True, slots=True)
class RunRow:
    """A failing run as the page shows it."""

    run: str
    flow: str
    state: str
    started: str
    text: str


@dataclass(frozen=True, slots=True)
class IncidentPage:
    """Everything the incident page says."""

    row: IncidentRow
    labels: tuple[tuple[str, str], ...]
    reason: str
    meter: Meter | None
    facts: tuple[tuple[str, str], ...]
    timeline: tuple[Step, ...]
    runs: tuple[RunRow, ...]
    deliveries: tuple[DeliveryRow, ...]


def incident_row(incident: Incident, now_ms: int) -> IncidentRow:
    """Return an incident's row in a list."""
    ended_ms = now_ms if incident.is_open else incident.at_ms
    return IncidentRow(
        incident_id=incident.incident_id,
        title=title_of(incident),
        rule=incident.rule,
        key=tuple((name, value) for name, value in incident.key.items() if name != EVENT_ID),
        state=state_of(incident),
        severity=mark(SEVERITIES, incident.severity),
        opened=moment(incident.opened_at_ms, now_ms),
        lasted="" if is_point(incident) else span(max(0, ended_ms - incident.opened_at_ms)),
        value=value_of(incident.value, incident.rule_kind),
        threshold=value_of(incident.threshold, incident.rule_kind),
    )


def incident_page(view: IncidentView, now_ms: int) -> IncidentPage:
    """Return an incident's page."""
    incident = view.incident
    steps = sorted(view.transitions, key=lambda step: step.seq, reverse=True)
    told = sorted(view.deliveries, key=lambda delivery: (delivery.at_ms, delivery.delivery_id), reverse=True)
    return IncidentPage(
        row=incident_row(incident, now_ms),
        labels=tuple(incident.labels.items()),
        reason=_sentence(incident.reason),
        meter=_meter(incident),
        facts=_facts(incident),
        timeline=tuple(_step(step, incident, now_ms) for step in steps),
        runs=tuple(_run_row(run) for run in view.runs),
        deliveries=tuple(_delivery_row(delivery, now_ms) for delivery in told),
    )


def is_point(incident: Incident) -> bool:
    """Tell whether this is one event, told once, that lasts for no time."""
    return not incident.is_open and incident.state == "firing"


def state_of(incident: Incident) -> Mark:
    """Return the mark of an incident's state; a point incident has only happened."""
    return STATES["happened"] if is_point(incident) else mark(STATES, incident.state)


def title_of(incident: Incident) -> str:
    """Return the rule's summary with the numbers of the last breach."""
    values: dict[str, object] = {
        **incident.key,
        "rule": incident.rule,
        "tenant": incident.tenant,
        "key": incident.key,
        "labels": incident.labels,
        "severity": incident.severity,
        "state": "firing",
        "reason": incident.reason,
        "value": incident.value,
        "threshold": incident.threshold,
        "samples": incident.samples,
        "late_samples": incident.late_samples,
        "window_ms": incident.window_ms,
        "runs": [example.run for example in incident.examples if example.run],
    }
    return render_summary(incident.summary, values)


def _facts(incident: Incident) -> tuple[tuple[str, str], ...]:
    late = " (came too late to count)" if incident.late_samples else ""
    return (
        ("Value", value_of(incident.value, incident.rule_kind)),
        ("Threshold", value_of(incident.threshold, incident.rule_kind)),
        ("Samples", f"{incident.samples:,}"),
        ("Late samples", f"{incident.late_samples:,}{late}"),
        ("Window", window(incident.window_ms, incident.fired_at_ms)),
        ("Rule", f"{incident.rule} ({incident.rule_kind})"),
    )


def _meter(incident: Incident) -> Meter | None:
    value, threshold = incident.value, incident.threshold
    if value is None or threshold is None or value < 0 or threshold < 0:
        return None
    kind = incident.rule_kind
    top = 1.0 if kind in SHARE_KINDS else max(value, threshold) * 1.15 or 1.0
    words = f"{value_of(value, kind)} against a threshold of {value_of(threshold, kind)}"
    tone = "is-firing" if value >= threshold else "is-resolved"
    return Meter(round(value / top * METER_WIDTH, 1), round(threshold / top * METER_WIDTH, 1), METER_WIDTH, words, tone)


def _step(step: Transition, incident: Incident, now_ms: int) -> Step:
    numbers = count(step.samples, "sample")
    if step.value is not None:
        numbers = (
            f"{value_of(step.value, incident.rule_kind)} of {numbers}" if incident.rule_kind in SHARE_KINDS else numbers
        )
    state = STATES["happened"] if is_point(incident) else mark(STATES, step.to_state)
    return Step(state, moment(step.at_ms, now_ms), _sentence(step.reason), numbers)


def _delivery_row(delivery: DeliveryView, now_ms: int) -> DeliveryRow:
    said = [f"HTTP {delivery.status}"] if delivery.status else []
    said += [delivery.reason] if delivery.reason else []
    said += [f"{delivery.elapsed_ms} ms"] if delivery.elapsed_ms else []
    return DeliveryRow(
        channel=delivery.channel,
        told=mark(STATES, delivery.to_state),
        outcome=mark(OUTCOMES, delivery.outcome),
        attempts=delivery.attempts,
        last=", ".join(said),
        at=moment(delivery.at_ms, now_ms),
        next_at=moment(delivery.next_attempt_ms, now_ms) if delivery.next_attempt_ms else None,
        delivery_id=delivery.delivery_id,
    )


def _run_row(run: RunView) -> RunRow:
    lines = [
        f"{line.time[11:23].rstrip('Z')} {line.level} {in_short(line.message)}" for line in reversed(run.error_lines)
    ]
    return RunRow(run.run, run.flow, run.state, run.started or "", "\n".join(lines) or run.message)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] if text else "–"

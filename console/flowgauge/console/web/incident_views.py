"""What the pages say of incidents: rows for lists, and one incident with its reasons. Pure.

An incident is read from its transitions alone; deliveries and runs stand beside it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flowgauge.console.web.words import (
    OUTCOMES,
    SEVERITIES,
    STATES,
    Mark,
    Moment,
    count,
    mark,
    moment,
    span,
    value_of,
    window,
)
from flowgauge.schemas.delivery import Delivery
from flowgauge.schemas.summary import summarize
from flowgauge.schemas.times import rfc3339
from flowgauge.schemas.transition import Transition

TELLING_STATES = frozenset({"firing", "no_data"})
METER_WIDTH = 320


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
class FailingRun:
    """A run behind the breach, with its message and the last lines of error it wrote."""

    run: str
    flow: str
    state: str
    at_ms: int
    message: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunRow:
    """A failing run as the page shows it."""

    run: str
    flow: str
    state: str
    at: Moment | None
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


def incident_row(transitions: Sequence[Transition], now_ms: int) -> IncidentRow:
    """Return the row of an incident with these transitions, at least one, in any order."""
    ordered = sorted(transitions, key=lambda transition: transition.seq)
    first, last, telling = ordered[0], ordered[-1], _telling(ordered)
    is_over = last.to_state in {"resolved", "inactive"}
    return IncidentRow(
        incident_id=last.incident_id,
        title=summarize(telling),
        rule=last.rule,
        key=tuple(first.key.items()),
        state=state_of(last),
        severity=mark(SEVERITIES, last.severity),
        opened=moment(first.opened_at_ms, now_ms),
        lasted="" if is_immediate(last) else span(max(0, (last.at_ms if is_over else now_ms) - first.opened_at_ms)),
        value=value_of(telling.value, telling.rule_kind),
        threshold=value_of(telling.threshold, telling.rule_kind),
    )


def incident_page(
    transitions: Sequence[Transition], deliveries: Iterable[Delivery], runs: Iterable[FailingRun], now_ms: int
) -> IncidentPage:
    """Return the page of an incident with these transitions, at least one, in any order."""
    ordered = sorted(transitions, key=lambda transition: transition.seq)
    telling = _telling(ordered)
    return IncidentPage(
        row=incident_row(ordered, now_ms),
        labels=tuple(telling.labels.items()),
        reason=_sentence(telling.reason),
        meter=_meter(telling),
        facts=_facts(telling),
        timeline=tuple(_step(transition, now_ms) for transition in reversed(ordered)),
        runs=tuple(_run_row(run, now_ms) for run in runs),
        deliveries=delivery_rows(deliveries, now_ms),
    )


def delivery_rows(deliveries: Iterable[Delivery], now_ms: int) -> tuple[DeliveryRow, ...]:
    """Return a row for each delivery from its newest step, the newest first."""
    newest: dict[str, Delivery] = {}
    for delivery in deliveries:
        known = newest.get(delivery.delivery_id)
        if known is None or _progress(delivery) >= _progress(known):
            newest[delivery.delivery_id] = delivery
    ordered = sorted(newest.values(), key=lambda delivery: (delivery.at_ms, delivery.delivery_id), reverse=True)
    return tuple(_delivery_row(delivery, now_ms) for delivery in ordered)


def state_of(last: Transition) -> Mark:
    """Return the mark of an incident's newest transition; one that is told at once and closed has only happened."""
    return STATES["happened"] if is_immediate(last) else mark(STATES, last.to_state)


def is_immediate(transition: Transition) -> bool:
    """Tell whether this is an `event` rule's incident, which is told at once and stays open for no time."""
    return transition.rule_kind == "event" and not transition.window_ms


def failing_run(row: Mapping[str, object]) -> FailingRun:
    """Return a run from a row of ClickHouse's answer; fields that are missing are empty."""
    lines = row.get("log_lines")
    return FailingRun(
        run=str(row.get("run") or ""),
        flow=str(row.get("flow") or ""),
        state=str(row.get("state") or ""),
        at_ms=int(str(row.get("at_ms") or 0)),
        message=str(row.get("message") or ""),
        lines=tuple(str(line) for line in lines) if isinstance(lines, list | tuple) else (),  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]  # any JSON
    )


def _telling(ordered: Sequence[Transition]) -> Transition:
    """Return the transition that says why: the newest that fires, else the newest."""
    return next((each for each in reversed(ordered) if each.to_state in TELLING_STATES), ordered[-1])


def _facts(transition: Transition) -> tuple[tuple[str, str], ...]:
    at = transition.at_ms
    seen = f"{rfc3339(at - transition.window_ms)} to {rfc3339(at)}" if transition.window_ms else rfc3339(at)
    return (
        ("Value", value_of(transition.value, transition.rule_kind)),
        ("Threshold", value_of(transition.threshold, transition.rule_kind)),
        ("Samples", f"{transition.samples:,}"),
        ("Late samples", f"{transition.late_samples:,}" + (" (seen too late, not counted in)" if transition.late_samples else "")),
        ("Window", f"{window(transition.window_ms)}, {seen}"),
        ("Rule", f"{transition.rule} ({transition.rule_kind}, rule set {transition.rules_version})"),
    )


def _meter(transition: Transition) -> Meter | None:
    value, threshold = transition.value, transition.threshold
    if value is None or threshold is None or value < 0 or threshold < 0:
        return None
    top = 1.0 if transition.rule_kind == "failure_rate" else max(value, threshold) * 1.15 or 1.0
    kind = transition.rule_kind
    words = f"{value_of(value, kind)} against a threshold of {value_of(threshold, kind)}"
    return Meter(round(value / top * METER_WIDTH, 1), round(threshold / top * METER_WIDTH, 1), METER_WIDTH, words)


def _step(transition: Transition, now_ms: int) -> Step:
    numbers = f"{value_of(transition.value, transition.rule_kind)} of {count(transition.samples, 'sample')}"
    if transition.rule_kind not in {"failure_rate", "burn_rate"}:
        numbers = count(transition.samples, "sample")
    return Step(state_of(transition), moment(transition.at_ms, now_ms), _sentence(transition.reason), numbers)


def _delivery_row(delivery: Delivery, now_ms: int) -> DeliveryRow:
    said = [f"HTTP {delivery.status}"] if delivery.status else []
    said += [delivery.reason] if delivery.reason else []
    said += [f"{delivery.elapsed_ms} ms"] if delivery.elapsed_ms else []
    return DeliveryRow(
        channel=delivery.channel,
        told=mark(STATES, delivery.to_state),
        outcome=mark(OUTCOMES, delivery.outcome),
        attempts=delivery.attempt,
        last=", ".join(said),
        at=moment(delivery.at_ms, now_ms),
        next_at=moment(delivery.next_attempt_ms, now_ms) if delivery.next_attempt_ms else None,
        delivery_id=delivery.delivery_id,
    )


def _progress(delivery: Delivery) -> tuple[int, int]:
    return delivery.attempt, delivery.at_ms


def _run_row(run: FailingRun, now_ms: int) -> RunRow:
    text = "\n".join(run.lines) or run.message
    return RunRow(run.run, run.flow, run.state, moment(run.at_ms, now_ms) if run.at_ms else None, text)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] if text else "–"

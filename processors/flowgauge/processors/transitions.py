"""Transitions: what a change of an alert is told as. Pure."""

from collections.abc import Sequence
from typing import NotRequired, Required, TypedDict, Unpack

from flowgauge.processors.alert_state import Change
from flowgauge.processors.reading import Reading
from flowgauge.processors.ruleset import CompiledRule
from flowgauge.schemas.ids import incident_id, transition_id
from flowgauge.schemas.rule import told_lanes
from flowgauge.schemas.transition import ExampleRun, Transition


class Told(TypedDict):
    """What a transition says beside the change: when it was, by which reading and rule set, and what is behind it."""

    at_ms: Required[int]
    reading: Required[Reading]
    version: Required[int]
    late_samples: NotRequired[int]
    examples: NotRequired[Sequence[ExampleRun]]


def transition_of(rule: CompiledRule, key: Sequence[str], change: Change, **told: Unpack[Told]) -> Transition:
    """Return the transition of the incident of `rule` and `key`, the tenant first."""
    tenant, written, reading = key[0], rule.rule, told["reading"]
    incident = incident_id(tenant, written.name, key[1:], change.opened_at_ms)
    return Transition(
        transition_id=transition_id(incident, change.seq, change.to_state),
        incident_id=incident,
        seq=change.seq,
        tenant=tenant,
        rule=written.name,
        rule_kind=rule.kind.name,
        rules_version=told["version"],
        key=rule.key_object(key),
        from_state=change.from_state,
        to_state=change.to_state,
        at_ms=told["at_ms"],
        opened_at_ms=change.opened_at_ms,
        reason=change.cause or reading.reason,
        value=reading.value,
        threshold=reading.threshold,
        samples=reading.samples,
        late_samples=told.get("late_samples", 0),
        window_ms=rule.window_ms,
        examples=list(told.get("examples", ())),
        severity=written.severity,
        labels=dict(written.labels),
        summary=written.summary,
        notify=told_lanes(written, change.to_state),
        runbook=written.runbook,
    )

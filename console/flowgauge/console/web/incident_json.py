"""Incidents and health as the API answers them: names of the rule language, times in RFC 3339. Pure."""

from typing import Any, cast

import msgspec

from flowgauge.console.web.acts import acts_json, handling_json
from flowgauge.console.web.answer_records import (
    Change,
    CountedRun,
    FlappingTold,
    LeftOut,
    ListedIncident,
    ProcessHealth,
    WholeIncident,
)
from flowgauge.console.web.banner import banner
from flowgauge.console.web.deliveries import sent_delivery
from flowgauge.console.web.examples import Shown, counted, shown_examples
from flowgauge.console.web.incident_views import is_point, title_of
from flowgauge.console.web.standing import standing
from flowgauge.console.web.words import HAPPENED, flapping_words
from flowgauge.schemas.controls_in_force import NOTHING_DONE, Handling
from flowgauge.schemas.flapping import Flapping
from flowgauge.schemas.incident_context import IncidentContext
from flowgauge.schemas.left_out import Recent
from flowgauge.schemas.times import format_duration, rfc3339
from flowgauge.sinks.clickhouse.incidents import Incident, IncidentView, RunView, Step
from flowgauge.transport.health import Health

INCIDENT_COLUMNS = tuple(ListedIncident.__annotations__)
LEFT_OUT_RULES_SHOWN = 10


def incident_json(
    incident: Incident, flapping: Flapping | None = None, handling: Handling = NOTHING_DONE
) -> ListedIncident:
    """Return an incident as a row of a list, with INCIDENT_COLUMNS."""
    return {
        "incident_id": incident.incident_id,
        "tenant": incident.tenant,
        "rule": incident.rule,
        "kind": incident.rule_kind,
        "key": incident.key,
        "state": HAPPENED if is_point(incident) else incident.state,
        "open": incident.is_open,
        "severity": incident.severity,
        "labels": incident.labels,
        "summary": title_of(incident),
        "runbook": incident.runbook or None,
        "opened_at": rfc3339(incident.opened_at_ms),
        "at": rfc3339(incident.at_ms),
        "reason": incident.reason,
        "value": incident.value,
        "threshold": incident.threshold,
        "samples": incident.samples,
        "late_samples": incident.late_samples,
        "window": format_duration(incident.window_ms),
        "flapping": None if flapping is None else _flapping(flapping),
        "handling": handling_json(handling),
    }


def incident_view_json(
    view: IncidentView,
    now_ms: int,
    unknown_since: str | None = None,
    handling: Handling = NOTHING_DONE,
    *,
    context: IncidentContext | None = None,
) -> WholeIncident:
    """Return all of one incident; `runs` are the first of the `runs_counted` that counted."""
    return {
        **incident_json(view.incident, view.flapping, handling),
        "standing": standing(view.incident, view.ended),
        "transitions": [_step(step) for step in view.transitions],
        "runs_counted": counted(view.incident),
        "runs": [_run(shown) for shown in shown_examples(view, now_ms)],
        "deliveries": [sent_delivery(delivery) for delivery in view.deliveries],
        "context": context or IncidentContext(incident_id=view.incident.incident_id),
        "acts": acts_json(handling),
        "acts_cut": handling.is_cut,
        "detection_unknown_since": unknown_since,
    }


def health_json(health: Health, now_ms: int) -> ProcessHealth:
    """Return the health of this process: its numbers, its problems, and the banner's sentence."""
    shown = banner(health, now_ms)
    unknown_since = unknown_since_json(health, now_ms)
    return {
        "ok": not health.problems and unknown_since is None,
        "says": shown.sentence,
        "detection_unknown_since": unknown_since,
        "held_back_by": health.holding_back(now_ms),
        "detection_clock": rfc3339(health.clock_ms) if health.clock_ms else None,
        "loading": health.loading,
        "rules_version": health.rules_version,
        "accepted": health.accepted,
        "refused": health.refused,
        "limited": health.limited,
        "stored": health.stored,
        "sink_behind": health.sink_behind,
        "undelivered": health.undelivered,
        "problems": health.problems,
        "left_out": {why: _left_out(recent) for why, recent in health.left_out.recent(now_ms).items()},
    }


def unknown_since_json(health: Health, now_ms: int) -> str | None:
    """Return since when detection is unknown, None where it is not."""
    unknown_ms = health.unknown_since_ms(now_ms)
    return rfc3339(unknown_ms) if unknown_ms else None


def _flapping(flapping: Flapping) -> FlappingTold:
    return {
        "says": flapping_words(flapping),
        "incidents": flapping.incidents,
        "span_seconds": flapping.span_ms / 1000,
        "shortest_seconds": flapping.shortest_ms / 1000,
        "keep_firing_for": format_duration(flapping.keep_firing_for_ms),
    }


def _left_out(recent: Recent) -> LeftOut:
    return {
        "samples": recent.samples,
        "newest": rfc3339(recent.newest_ms) if recent.newest_ms else None,
        "rules": recent.rules[:LEFT_OUT_RULES_SHOWN],
    }


def _step(step: Step) -> Change:
    return {
        "transition_id": step.transition_id,
        "at": rfc3339(step.at_ms),
        "from": step.from_state,
        "to": step.to_state,
        "value": step.value,
        "threshold": step.threshold,
        "samples": step.samples,
        "late_samples": step.late_samples,
        "reason": step.reason,
    }


def _run(shown: Shown) -> CountedRun:
    known: dict[str, Any] = msgspec.to_builtins(shown.run) if shown.run else dict.fromkeys(RunView.__slots__)
    told: dict[str, Any] = {
        **known,
        "run": shown.example.run,
        "flow": shown.flow,
        "event_id": shown.example.event_id,
        "occurred": rfc3339(shown.occurred_ms),
        "late_by_seconds": None if shown.late_by_ms is None else shown.late_by_ms / 1000,
        "error_lines": known["error_lines"] or [],
    }
    return cast("CountedRun", told)  # `known` has the names of RunView

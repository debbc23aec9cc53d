"""What docs/prefect-rules.md says differs on purpose: for each a trigger, a rule, events, and what both decide."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tests.differential.scenarios import Scenario
from tests.property.detection import START_MS

from flowgauge.schemas.times import rfc3339

RUN = "prefect.flow-run.0b9d1f0e-0000-4000-8000-000000000001"
HEARTBEAT, COMPLETED = "prefect.flow-run.heartbeat", "prefect.flow-run.Completed"

Json = dict[str, Any]


class Happened(NamedTuple):
    """An event: seconds after START when the log got it, and when it happened where that was not then."""

    at: float
    name: str = "x"
    occurred: float | None = None
    resource: Mapping[str, str] = {"prefect.resource.id": "r"}
    follows: int | None = None


class Case(NamedTuple):
    """What a Prefect trigger and a rule of another kind make of the same events: seconds after START."""

    trigger: Json
    rule: str
    events: Sequence[Happened]
    prefect: Sequence[float]
    native: Sequence[tuple[float, str]]


def at(*times: float) -> list[Happened]:
    return [Happened(time) for time in times]


def run_event(when: float, name: str, **labels: str) -> Happened:
    return Happened(when, name, resource={"prefect.resource.id": RUN, **labels})


HEARTBEATS = {
    "posture": "Proactive",
    "after": [HEARTBEAT],
    "expect": [HEARTBEAT, COMPLETED],
    "for_each": ["prefect.resource.id"],
    "within": 60,
}
SILENCE = {"posture": "Proactive", "within": 60}
REACTIVE = {"posture": "Reactive"}
NATIVE: Mapping[str, Case] = {
    "five events within a minute may be missed between two buckets": Case(
        {**REACTIVE, "threshold": 5, "within": 60},
        "when: {event: {times: 5, within: 60s}}",
        at(0, 58, 59, 60, 61, 62),
        [],
        [(63, "firing"), (119, "resolved")],
    ),
    "the first bucket counts events of 15 minutes before": Case(
        {**REACTIVE, "threshold": 3, "within": 60},
        "when: {event: {times: 3, within: 60s}}",
        [Happened(0), Happened(1, occurred=-800), Happened(2, occurred=-700)],
        [2],
        [],
    ),
    "mute until the bucket ends, then one more firing": Case(
        {**REACTIVE, "threshold": 3, "within": 10},
        "when: {event: {times: 3, within: 10s}}",
        at(0, 1, 2, 3, 4, 5, 11, 12, 13),
        [2, 13],
        [(3, "firing"), (22, "resolved")],
    ),
    "silence of one minute is told after up to three": Case(
        SILENCE, "when: {absence: {after: 60s}}", at(9), [185, 245, 305, 365], [(70, "firing")]
    ),
    "silence of one key is never told without `after`": Case(
        {**SILENCE, "for_each": ["prefect.resource.id"]},
        "{for_each: [resource.id], when: {absence: {after: 60s}}}",
        at(9),
        [],
        [(70, "firing")],
    ),
    "a stray heartbeat after the end of a run tells of a crash": Case(
        HEARTBEATS,
        f"{{match: {{event: {HEARTBEAT}}}, for_each: [run], when: {{absence: {{after: 60s}}}}}}",
        [
            run_event(0, HEARTBEAT),
            run_event(10, COMPLETED, **{"prefect.state-type": "COMPLETED", "prefect.state-name": "Completed"}),
            run_event(11, HEARTBEAT),
        ],
        [75],
        [],
    ),
    '`["!a", "!b"]` is everything': Case(
        {**REACTIVE, "match": {"prefect.resource.id": ["!r", "!s"]}},
        '{match: {resource.id: ["!r", "!s"]}, when: {event: {}}}',
        at(0),
        [0],
        [],
    ),
    "events without the label share a bucket": Case(
        {**REACTIVE, "for_each": ["env"], "threshold": 2, "within": 60},
        "{for_each: [resource.env], when: {event: {times: 2, within: 60s}}}",
        at(0, 1),
        [1],
        [],
    ),
}


def drawn(trigger: Json, events: Sequence[Happened], **asked: bool) -> Scenario:
    """Return events and one automation as a scenario."""
    automation = {"name": "a", "trigger": {"type": "event", **trigger}}
    found = [(START_MS + round(each.at * 1000), _event(number, each)) for number, each in enumerate(events)]
    return Scenario(0, (automation,), tuple(found), asked)


def _event(number: int, each: Happened) -> Json:
    occurred = each.at if each.occurred is None else each.occurred
    follows = {} if each.follows is None else {"follows": event_id(each.follows)}
    event: Json = {"id": event_id(number), "event": each.name, "occurred": rfc3339(START_MS + round(occurred * 1000))}
    related: list[Json] = []
    return {**event, "resource": dict(each.resource), "related": related, "payload": {}, **follows}


def event_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"

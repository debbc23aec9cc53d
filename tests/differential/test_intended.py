"""The intended differences that docs/prefect-rules.md lists: each is there, and no other is listed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.differential.comparison import (
    PrefectEngine,
    difference,
    firings_of,
    needs_prefect,
    running_engine,
    transitions_of,
)
from tests.differential.scenarios import Scenario
from tests.property.detection import START_MS, rules
from tests.unit.test_docs_reference import table

from flowgauge.schemas.times import rfc3339

PAGE = (Path(__file__).parents[2] / "docs" / "prefect-rules.md").read_text(encoding="utf-8")
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


@pytest.fixture(scope="module")
def engine() -> Iterator[PrefectEngine]:
    with running_engine() as running:
        yield running


def drawn(trigger: Json, events: Sequence[Happened], **asked: bool) -> Scenario:
    """Return events and one automation as a scenario."""
    automation = {"name": "a", "trigger": {"type": "event", **trigger}}
    found = [(START_MS + round(each.at * 1000), _event(number, each)) for number, each in enumerate(events)]
    return Scenario(0, (automation,), tuple(found), asked)


def _event(number: int, each: Happened) -> Json:
    occurred = each.at if each.occurred is None else each.occurred
    follows = {} if each.follows is None else {"follows": _id(each.follows)}
    event: Json = {"id": _id(number), "event": each.name, "occurred": rfc3339(START_MS + round(occurred * 1000))}
    related: list[Json] = []
    return {**event, "resource": dict(each.resource), "related": related, "payload": {}, **follows}


def _id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"


def seconds(at_ms: int) -> float:
    return (at_ms - START_MS) / 1000


def test_the_page_lists_what_other_kinds_do_instead_and_nothing_else() -> None:
    assert [row[0] for row in table(PAGE, "## What the other kinds do instead")] == list(NATIVE)


@pytest.mark.parametrize("name", NATIVE)
def test_another_kind_decides_as_the_page_says(name: str) -> None:
    case = NATIVE[name]
    happened = drawn(case.trigger, case.events)
    rule = case.rule if case.rule.startswith("{") else f"{{{case.rule}}}"

    found = transitions_of(happened, rules(f"rules: [{{name: a, {rule[1:]}]"))

    assert [(seconds(item.at_ms), item.to_state) for item in found] == list(case.native)
    assert [seconds(item.at_ms) for item in firings_of(happened)] == list(case.prefect)


@pytest.mark.parametrize("name", NATIVE)
@needs_prefect
def test_prefect_decides_as_the_page_says(engine: PrefectEngine, name: str) -> None:
    assert difference(engine, drawn(NATIVE[name].trigger, NATIVE[name].events)) is None


@needs_prefect
def test_a_timer_of_prefect_begins_when_it_is_loaded_and_ours_at_its_first_event(engine: PrefectEngine) -> None:
    loaded = drawn(SILENCE, at(300), loads_at_start=True)

    assert [seconds(each.at_ms) for each in engine.firings(loaded)][:4] == [60, 120, 180, 240]
    assert [seconds(each.at_ms) for each in firings_of(loaded)][:1] == [480]
    assert difference(engine, replace(loaded, asked={})) is None


@needs_prefect
def test_a_late_event_moves_the_time_of_prefect_and_not_ours(engine: PrefectEngine) -> None:
    keyed = {**SILENCE, "after": ["s"], "expect": ["x"], "for_each": ["prefect.resource.id"]}
    late = drawn(keyed, [Happened(0, "s"), Happened(50, "s", 20)], lag_counts=True)

    assert [seconds(each.at_ms) for each in firings_of(late)] == [60]
    assert [seconds(each.at_ms) for each in engine.firings(late)] == [90]
    assert difference(engine, replace(late, asked={})) is None


@needs_prefect
def test_an_event_waits_for_the_one_it_follows_in_prefect_and_not_here(engine: PrefectEngine) -> None:
    follower = drawn(REACTIVE, [Happened(0, follows=1), Happened(7)])

    assert [(seconds(each.at_ms), each.event) for each in firings_of(follower)] == [(0, _id(0)), (7, _id(1))]
    assert [(seconds(each.at_ms), each.event) for each in engine.firings(follower)] == [(7, _id(1)), (7, _id(0))]

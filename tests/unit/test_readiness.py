"""What keeps a role from being ready, in sentences."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

import pytest

from flowgauge.console.groups import ALL_GROUPS, DETECTOR, MATCHER, NOTIFIER, SINK
from flowgauge.console.readiness import Readiness
from flowgauge.processors import detector_app, matcher_app
from flowgauge.schemas.topics import EVENTS, SAMPLES, TRANSITIONS
from flowgauge.sinks.clickhouse import sink_app
from flowgauge.sinks.clickhouse.rows import SPECS
from flowgauge.sinks.webhooks import notifier_app
from flowgauge.transport.health import Health
from flowgauge.transport.lag import Lag


def ready(
    *,
    records: int | None = 7,
    seconds: float = 1.5,
    problems: Mapping[str, str] = MappingProxyType({}),
    has_ended: bool = False,
) -> Readiness:
    """Return what a matcher knows of itself that owns two partitions and keeps up, but for what is given."""
    stop = asyncio.Event()
    if has_ended:
        stop.set()
    own = Lag(EVENTS, "matcher", records=records, seconds=seconds)
    return Readiness(
        "match", "match-1", Health(problems=dict(problems)), lambda _topic, _group: frozenset({2, 0}), [own], [], stop
    )


def test_a_role_that_keeps_up_is_ready_and_tells_its_share() -> None:
    assert ready().body() == {
        "role": "match",
        "instance": "match-1",
        "ready": True,
        "waiting": [],
        "groups": [
            {"topic": EVENTS, "group": "matcher", "partitions": [0, 2], "lag_records": 7, "lag_seconds": 1.5},
        ],
    }


def test_a_role_that_was_given_no_partition_stands_by_and_is_ready() -> None:
    lag = Lag(EVENTS, "matcher", records=7)
    standing_by = Readiness(
        "match", "match-3", Health(), lambda _topic, _group: frozenset(), [lag], [], asyncio.Event()
    )

    assert list(standing_by.waiting()) == []


def test_who_loads_history_is_not_ready() -> None:
    it = Readiness("up", "here", Health(loading=True), lambda _topic, _group: frozenset(), [], [], asyncio.Event())

    assert list(it.waiting()) == ["history is being loaded"]


def test_a_role_outside_its_group_is_not_ready() -> None:
    outside = Readiness(
        "match", "m", Health(), lambda _topic, _group: None, [Lag(EVENTS, "matcher")], [], asyncio.Event()
    )

    assert list(outside.waiting()) == ["it is not in group matcher on flowgauge.events yet"]


@pytest.mark.parametrize(
    ("it", "waiting"),
    [
        (ready(records=None), "how far group matcher on flowgauge.events is behind is not known yet"),
        (ready(seconds=61.0), "group matcher on flowgauge.events is 61 s behind"),
        (ready(problems={"matcher": "no broker answers"}), "matcher: no broker answers"),
        (ready(has_ended=True), "it is ending"),
    ],
)
def test_each_thing_that_it_waits_for_is_a_sentence(it: Readiness, waiting: str) -> None:
    assert (it.body()["waiting"], it.body()["ready"]) == ([waiting], False)


def test_trouble_of_others_is_told_but_is_not_its_own() -> None:
    it = ready(problems={"sink events": "45 s behind"})

    it.told_of_others.add("sink events")

    assert list(it.waiting()) == []


def test_the_groups_are_called_as_the_parts_call_them() -> None:
    assert MATCHER == (EVENTS, matcher_app.GROUP)
    assert DETECTOR == (SAMPLES, detector_app.GROUP)
    assert NOTIFIER == (TRANSITIONS, notifier_app.GROUP)
    assert set(SINK) == {(spec.topic, sink_app.GROUP) for spec in SPECS}
    assert len(set(ALL_GROUPS)) == len(ALL_GROUPS)

"""The checker and the timeline by themselves: what is wrong is named, what is right is not."""

import msgspec
import pytest
from tests.torture.checker import CHANNEL, Findings, InLog, check_messages, check_transitions
from tests.torture.faults import WEIGHTS, timeline
from tests.torture.hook import Told

from flowgauge.schemas.delivery import Delivery
from flowgauge.schemas.ids import delivery_id
from flowgauge.schemas.transition import AlertState, Transition

TEAM = ("detect-1", "detect-2", "gateway-1", "match-1", "notify-1", "pulse-1", "sink-1")


def transition(seq: int, to: AlertState, start: AlertState = "inactive") -> Transition:
    return Transition(
        transition_id=f"t{seq}", incident_id="i", seq=seq, tenant="default", rule="failing", rule_kind="failure_rate",
        rules_version=1, key={"flow": "a"}, from_state=start, to_state=to, at_ms=seq, opened_at_ms=0, reason="rate",
        window_ms=4_000, notify=[CHANNEL],
    )  # fmt: skip


FIRING, NO_DATA, RESOLVED = (
    transition(0, "firing"),
    transition(1, "no_data", "firing"),
    transition(2, "resolved", "firing"),
)
STORY = [FIRING, NO_DATA, RESOLVED]


def told(of: Transition, *, accepted: bool = True) -> Told:
    kind = "incident.resolved" if of.to_state == "resolved" else "incident.firing"
    return Told(delivery_id(of.transition_id, CHANNEL), kind, of.incident_id, of.transition_id, accepted)


def outcome(of: Transition, outcome: str) -> Delivery:
    return msgspec.convert(
        {
            "delivery_id": delivery_id(of.transition_id, CHANNEL),
            "transition_id": of.transition_id, "incident_id": "i",
            "tenant": "default", "rule": "failing", "channel": CHANNEL, "to_state": of.to_state, "attempt": 1,
            "outcome": outcome, "at_ms": 1,
        },
        Delivery,
    )  # fmt: skip


def in_transitions(there: list[Transition]) -> tuple[int, int, int]:
    found = Findings()
    check_transitions(found, STORY, there)
    return found.lost["transitions"], found.doubled["transitions"], found.wrong["transitions"]


def test_transitions_that_are_missing_twice_there_changed_or_invented_are_each_named() -> None:
    changed = msgspec.structs.replace(NO_DATA, samples=7)
    invented = transition(3, "firing", "resolved")

    assert in_transitions(STORY) == (0, 0, 0)
    assert in_transitions([FIRING, RESOLVED]) == (1, 0, 0)
    assert in_transitions([*STORY, NO_DATA]) == (0, 1, 0)
    assert in_transitions([FIRING, changed, RESOLVED]) == (0, 0, 1)
    assert in_transitions([*STORY, invented]) == (0, 0, 1)


@pytest.mark.parametrize(
    ("messages", "outcomes", "lost", "wrong"),
    [
        ([told(each) for each in STORY], [], 0, {}),
        ([told(FIRING), told(FIRING), told(NO_DATA), told(RESOLVED)], [], 0, {}),
        ([told(FIRING), told(RESOLVED)], [outcome(NO_DATA, "superseded")], 0, {}),
        ([told(FIRING), told(RESOLVED)], [], 1, {}),
        ([told(FIRING), told(NO_DATA)], [outcome(RESOLVED, "superseded")], 1, {}),
        ([told(NO_DATA), told(RESOLVED)], [outcome(FIRING, "delivered")], 1, {"deliveries": 1}),
        ([told(FIRING, accepted=False), told(RESOLVED), told(FIRING), told(NO_DATA)], [], 0, {"order of messages": 1}),
        ([*map(told, STORY), told(transition(9, "firing"))], [], 0, {"messages": 1}),
    ],
)
def test_messages_that_are_lost_early_or_about_nothing_are_each_named(
    messages: list[Told], outcomes: list[Delivery], lost: int, wrong: dict[str, int]
) -> None:
    found = Findings()

    check_messages(found, InLog({}, STORY, STORY, {}, outcomes), messages)

    assert (found.lost.total(), dict(found.wrong)) == (lost, wrong)


def test_a_seed_makes_one_timeline_which_holds_every_kind_of_fault() -> None:
    faults = timeline(5, 60, TEAM)

    assert faults == timeline(5, 60, TEAM)
    assert faults != timeline(6, 60, TEAM)
    assert {fault.kind for fault in faults[:20]} == set(WEIGHTS)
    killed = {target.partition("-")[0] for fault in faults if fault.kind == "kill" for target in fault.targets}
    assert killed == {each.partition("-")[0] for each in TEAM}

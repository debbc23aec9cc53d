"""Dead letters: which of them somebody means who has all sent again."""

from tests.unit.test_message import FIRING

from flowgauge.schemas.lane import action_lane
from flowgauge.sinks.webhooks.dead_letters import DeadLetters, Letter

TENANT = FIRING.tenant


def buried(*lanes: str) -> DeadLetters:
    """Return letters of these lanes, each died a millisecond after the one before it, from 1 on."""
    letters = DeadLetters()
    for number, lane in enumerate(lanes, 1):
        letters.bury(lane, Letter(lane, FIRING, dead_ms=number, attempt=1, recorded_ms=number))
    return letters


def test_all_of_a_time_are_of_every_channel_and_of_no_action() -> None:
    letters = buried("ops", action_lane("restart"), "chat")

    assert list(letters.since(0, 10, "", TENANT)) == ["ops", "chat"]
    assert list(letters.since(0, 10, "", "*")) == ["ops", "chat"]


def test_an_action_is_meant_where_somebody_names_it() -> None:
    letters = buried("ops", action_lane("restart"), "restart")

    assert list(letters.since(0, 10, action_lane("restart"), TENANT)) == [action_lane("restart")]


def test_the_time_holds_its_beginning_and_not_its_end_and_no_other_tenants() -> None:
    letters = buried("a", "b", "c")

    assert list(letters.since(2, 3, "", TENANT)) == ["b"]
    assert list(letters.since(0, 10, "", "somebody else")) == []

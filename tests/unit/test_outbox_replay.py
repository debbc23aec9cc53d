"""What is sent again: under which id, what follows it, and what one who asked once never gets twice."""

from tests.unit.test_outbox_ways import DEAD, H, M, World, transition

from flowgauge.schemas.ids import delivery_id
from flowgauge.sinks.webhooks.policy import LinePolicy


def lost(world: World) -> str:
    """Begin what is due, let it die, and return its delivery id."""
    (send,) = world.begin()
    world.settle([send], DEAD)
    return send.delivery_id


def replay(world: World, delivery: str) -> bool:
    return world.outbox.replay(delivery, asked_ms=world.now_ms + M, now_ms=world.now_ms)


def test_a_reminder_that_was_given_up_is_sent_again_under_its_own_id() -> None:
    world = World({"ops": LinePolicy(repeat_ms=H)})
    world.see(transition("firing", 0))
    world.deliver()
    world.wait(H)
    reminder = lost(world)

    assert replay(world, reminder)
    (again,) = world.begin()

    assert again.delivery_id == reminder != delivery_id(transition("firing", 0).transition_id, "ops")


def test_each_letter_of_a_line_is_followed_by_the_end_that_was_never_told() -> None:
    world = World()
    world.see(transition("firing", 0))
    opening = lost(world)
    world.see(transition("no_data", 1))
    lost(world)
    world.see(transition("resolved", 2))
    world.commit()
    world.restart()

    assert replay(world, opening)
    assert world.deliver() == [("ops", "firing"), ("ops", "resolved")]


def test_what_is_sent_again_after_the_end_was_told_is_followed_by_the_end() -> None:
    world = World()
    world.see(transition("firing", 0))
    world.deliver()
    world.see(transition("no_data", 1))
    letter = lost(world)
    world.see(transition("resolved", 2))
    assert world.deliver() == [("ops", "resolved")]
    world.restart()

    assert replay(world, letter)
    assert world.deliver() == [("ops", "no_data"), ("ops", "resolved")]


def test_what_is_sent_again_after_the_end_was_given_up_too_is_followed_by_the_end() -> None:
    world = World()
    world.see(transition("firing", 0))
    world.deliver()
    world.see(transition("no_data", 1))
    letter = lost(world)
    world.see(transition("resolved", 2))
    lost(world)

    assert replay(world, letter)
    assert world.deliver() == [("ops", "no_data"), ("ops", "resolved")]


def test_what_is_sent_again_after_its_incident_ended_in_a_silence_is_followed_by_the_end() -> None:
    world = World()
    world.see(transition("firing", 0))
    letter = lost(world)
    world.silenced_until_ms = world.now_ms + H
    world.see(transition("no_data", 1))
    world.deliver()
    world.see(transition("resolved", 2))
    world.wait(H)
    assert world.deliver() == []

    assert replay(world, letter)
    assert world.deliver() == [("ops", "firing"), ("ops", "resolved")]


def test_an_action_that_is_run_again_is_not_run_for_a_state_that_does_not_name_it() -> None:
    world = World()
    world.see(transition("firing", 0, notify=["action:stop"]))
    letter = lost(world)
    world.see(transition("no_data", 1, notify=["ops"]))
    world.deliver()

    assert replay(world, letter)
    assert world.deliver() == [("action:stop", "firing")]


def test_what_died_again_after_a_clock_stepped_back_is_not_sent_a_third_time() -> None:
    world = World()
    world.see(transition("firing", 0))
    letter = lost(world)
    world.wait(M)
    asked_ms = world.now_ms
    assert world.outbox.replay(letter, asked_ms=asked_ms, now_ms=world.now_ms)
    world.wait(-H)
    lost(world)
    world.restart()

    assert not world.outbox.replay(letter, asked_ms=asked_ms, now_ms=world.now_ms)

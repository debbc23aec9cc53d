"""What people did, as the notifier goes by it: on what it holds, and on what it takes over or opens later."""

from tests.unit.test_outbox_ways import DELIVERED, NOW_MS, H, M, transition

from flowgauge.schemas.control import Acknowledged, Control, Matcher, Silence, Silenced, SilenceExpired
from flowgauge.schemas.controls_in_force import ControlsInForce
from flowgauge.sinks.webhooks.outbox import Outbox
from flowgauge.sinks.webhooks.people import People
from flowgauge.sinks.webhooks.policy import LinePolicy, Ways
from flowgauge.sinks.webhooks.sends import Send

OPENING = transition("firing", 0)
ACKNOWLEDGED = Acknowledged(control_id="a", tenant="acme", at_ms=NOW_MS, by="ann", incident_id=OPENING.incident_id)


def silenced(name: str = "s", tenant: str = "acme") -> Silenced:
    silence = Silence(
        silence_id=name, matchers=[Matcher("flow", "=", "k")], starts_ms=NOW_MS, ends_ms=NOW_MS + H, reason="moving"
    )
    return Silenced(control_id=name, tenant=tenant, at_ms=NOW_MS, by="ann", silence=silence)


def expired(name: str = "s") -> SilenceExpired:
    return SilenceExpired(control_id=f"{name} over", tenant="acme", at_ms=NOW_MS + 1, by="ann", silence_id=name)


def outbox_of(people: People) -> Outbox:
    ways = Ways(
        policy=lambda _: LinePolicy(repeat_ms=M),
        hidden=people.hidden,
        concluded=people.concluded,
        looked_after=people.is_looked_after,
    )
    return Outbox(max_alert_age_ms=H, ways=ways)


def told(people: People, *controls: Control) -> None:
    for control in controls:
        if people.in_force.take(control):
            people.take(control)


def begin(outbox: Outbox, now_ms: int) -> list[Send]:
    return outbox.begin_due(now_ms, lambda _lane, _about: None)


def test_a_silence_that_was_ended_while_nobody_held_its_incident_lets_go_at_once() -> None:
    people = People(ControlsInForce())
    told(people, silenced())
    before = outbox_of(people)
    before.see(OPENING, now_ms=NOW_MS, is_caught_up=True)
    assert begin(before, NOW_MS) == []
    stored = {name: value for name, value in before.take_changes().state.items() if value}

    told(people, expired())
    people.apply_fresh((), NOW_MS + 1)
    after = outbox_of(people)
    after.restore(stored, NOW_MS + 2)
    people.apply_all(after, NOW_MS + 2)

    assert [send.channel for send in begin(after, NOW_MS + 2)] == ["ops"]


class CountingOutbox(Outbox):
    """Counts how often it looks at all that is held."""

    asked = 0

    def ask_again(self, now_ms: int) -> None:
        """Count, and ask."""
        self.asked += 1
        super().ask_again(now_ms)


def test_what_is_held_is_asked_about_once_for_many_silences() -> None:
    people = People(ControlsInForce())
    outbox = CountingOutbox(max_alert_age_ms=H)
    told(people, *(silenced(f"s{number}") for number in range(100)))

    people.apply_fresh([outbox], NOW_MS)
    people.apply_fresh([outbox], NOW_MS)

    assert outbox.asked == 1


def test_nobody_is_reminded_of_an_incident_that_was_acknowledged_before_it_came() -> None:
    people = People(ControlsInForce())
    told(people, ACKNOWLEDGED)
    people.apply_fresh((), NOW_MS)
    outbox = outbox_of(people)
    outbox.see(OPENING, now_ms=NOW_MS, is_caught_up=True)
    (send,) = begin(outbox, NOW_MS)
    outbox.settle(send, DELIVERED, NOW_MS)

    assert begin(outbox, NOW_MS + H) == []

"""The outbox: what is told, in which order, and what is only recorded."""

from collections.abc import Sequence
from itertools import pairwise

import pytest

from flowgauge.schemas.delivery import Delivery
from flowgauge.schemas.ids import delivery_id, incident_id, transition_id
from flowgauge.schemas.transition import AlertState, Transition
from flowgauge.sinks.webhooks.outbox import (
    SENDS_MAX,
    SENDS_PER_ENDPOINT_MAX,
    TOO_MANY_INCIDENTS,
    WOKEN_BY_SUCCESS,
    Outbox,
)
from flowgauge.sinks.webhooks.schedule import GONE, RETRY_DELAYS_MS, WAIT_MS_MAX, Verdict
from flowgauge.sinks.webhooks.sends import Send
from flowgauge.sinks.webhooks.telling import CHANNELS_MAX, GAVE_UP, NEVER_TOLD, NEWER, OLD, TOO_MANY_CHANNELS

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
DELIVERED = Verdict("delivered", status=200)
FAILED = Verdict("failed", "answered 5xx", 500)
DEAD = Verdict("dead", GONE, 410)
NO_CHANNEL = Verdict("failed", "no such channel")


def transition(  # one per line of a test's timetable
    to: AlertState, seq: int, *, key: str = "k", at_ms: int = NOW_MS, notify: Sequence[str] = ("ops",), **more: object
) -> Transition:
    incident = incident_id("acme", "r", [key], 1)
    fields: dict[str, object] = {
        "transition_id": transition_id(incident, seq, to),
        "incident_id": incident,
        "seq": seq,
        "tenant": "acme",
        "rule": "r",
        "rule_kind": "failure_rate",
        "rules_version": 1,
        "key": {"flow": key},
        "from_state": "inactive",
        "to_state": to,
        "at_ms": at_ms,
        "opened_at_ms": at_ms,
        "reason": "above",
        "window_ms": 600_000,
        "notify": list(notify),
    }
    return Transition(**(fields | more))  # type: ignore[arg-type]  # the fields are named above


def new_outbox() -> Outbox:
    return Outbox(max_alert_age_ms=HOUR_MS)


def see(outbox: Outbox, *transitions: Transition, now_ms: int = NOW_MS, is_caught_up: bool = True) -> None:
    for one in transitions:
        outbox.see(one, now_ms=now_ms, is_caught_up=is_caught_up)


def begin(outbox: Outbox, now_ms: int = NOW_MS) -> list[Send]:
    return outbox.begin_due(now_ms, lambda _lane, _about: None)


def told(sends: Sequence[Send]) -> list[tuple[str, str, int]]:
    return [(send.channel, send.transition.to_state, send.attempt) for send in sends]


def recorded(outbox: Outbox) -> list[tuple[str, str, str]]:
    return [(record.to_state, record.outcome, record.reason) for record in outbox.take_changes().records]


def test_a_firing_is_sent_and_then_its_resolve_and_the_record_goes() -> None:
    outbox = new_outbox()
    see(outbox, transition("pending", 0), transition("firing", 1))

    (first,) = begin(outbox)
    see(outbox, transition("recovering", 2), transition("resolved", 3))
    assert begin(outbox) == []
    outbox.settle(first, DELIVERED, NOW_MS)
    (second,) = begin(outbox)
    outbox.settle(second, DELIVERED, NOW_MS)

    assert told([first, second]) == [("ops", "firing", 1), ("ops", "resolved", 1)]
    assert first.delivery_id == delivery_id(first.transition.transition_id, "ops")
    changes = outbox.take_changes()
    assert list(changes.state.values()) == [None]
    assert [(record.to_state, record.outcome) for record in changes.records] == [
        ("firing", "started"),
        ("firing", "delivered"),
        ("resolved", "started"),
        ("resolved", "delivered"),
    ]


def test_states_nobody_is_told_of_leave_no_trace() -> None:
    outbox = new_outbox()

    see(outbox, transition("pending", 0), transition("inactive", 1))

    assert outbox.take_changes().state == {}


def test_an_incident_that_names_no_channel_leaves_no_trace() -> None:
    outbox = new_outbox()

    see(outbox, transition("firing", 0, notify=[]), transition("resolved", 1, notify=[]))

    assert outbox.take_changes().state == {}


def test_a_duplicate_changes_nothing() -> None:
    outbox = new_outbox()
    see(outbox, transition("firing", 0))
    (send,) = begin(outbox)
    outbox.settle(send, DELIVERED, NOW_MS)
    outbox.take_changes()

    see(outbox, transition("firing", 0))

    assert outbox.take_changes().state == {}
    assert begin(outbox) == []


def test_the_opening_is_told_even_if_all_is_over_and_what_lay_between_is_superseded() -> None:
    outbox = new_outbox()
    see(outbox, transition("firing", 0), transition("no_data", 1), transition("firing", 2), transition("resolved", 3))
    assert recorded(outbox) == [("no_data", "superseded", NEWER), ("firing", "superseded", NEWER)]

    (first,) = begin(outbox)
    outbox.settle(first, DELIVERED, NOW_MS)
    (second,) = begin(outbox)

    assert first.transition.seq == 0
    assert second.transition.seq == 3


def test_a_failed_attempt_is_repeated_under_the_same_id_after_its_wait() -> None:
    outbox = new_outbox()
    see(outbox, transition("firing", 0))
    (first,) = begin(outbox)
    outbox.settle(first, FAILED, NOW_MS)

    wait_ms = outbox.wait_ms(NOW_MS)

    assert wait_ms is not None
    assert 4_000 <= wait_ms <= 6_000
    assert begin(outbox, NOW_MS + wait_ms - 1) == []
    (second,) = begin(outbox, NOW_MS + wait_ms)
    assert second.delivery_id == first.delivery_id
    assert second.attempt == 2


def test_a_record_of_a_failure_says_when_it_is_tried_again() -> None:
    outbox = new_outbox()
    see(outbox, transition("firing", 0))
    (send,) = begin(outbox)

    outbox.settle(send, Verdict("failed", "answered 429", 429, 12, retry_after_ms=60_000), NOW_MS)

    record = outbox.take_changes().records[-1]
    assert (record.outcome, record.status, record.elapsed_ms) == ("failed", 429, 12)
    assert record.next_attempt_ms == NOW_MS + 60_000


def test_the_records_of_a_delivery_are_in_order_whatever_the_clock_does() -> None:
    outbox = new_outbox()
    see(outbox, transition("firing", 0))
    (send,) = begin(outbox)
    outbox.settle(send, FAILED, NOW_MS - 10 * HOUR_MS)
    (send,) = begin(outbox, NOW_MS - 9 * HOUR_MS)
    outbox.settle(send, DELIVERED, NOW_MS - 9 * HOUR_MS)

    times = [record.at_ms for record in outbox.take_changes().records]

    assert times == sorted(set(times))


def test_a_failed_update_gives_way_to_a_newer_one_once_the_channel_knows_of_the_incident() -> None:
    outbox = new_outbox()
    see(outbox, transition("firing", 0))
    outbox.settle(begin(outbox)[0], DELIVERED, NOW_MS)
    see(outbox, transition("no_data", 1))
    (update,) = begin(outbox)
    see(outbox, transition("resolved", 2))
    outbox.take_changes()

    outbox.settle(update, FAILED, NOW_MS)

    assert recorded(outbox) == [("no_data", "failed", "answered 5xx"), ("no_data", "superseded", NEWER)]
    assert told(begin(outbox)) == [("ops", "resolved", 1)]


def test_a_resolve_waits_for_its_firing_however_long_that_fails() -> None:
    outbox = new_outbox()
    see(outbox, transition("firing", 0))
    outbox.settle(begin(outbox)[0], FAILED, NOW_MS)
    see(outbox, transition("resolved", 1))

    assert begin(outbox) == []
    assert told(begin(outbox, NOW_MS + 60_000)) == [("ops", "firing", 2)]


def test_a_delivery_that_never_succeeds_is_given_up_and_its_resolve_is_not_told() -> None:
    outbox = new_outbox()
    see(outbox, transition("firing", 0), transition("resolved", 1))
    now_ms = NOW_MS
    for _ in RETRY_DELAYS_MS["page"]:
        now_ms += outbox.wait_ms(now_ms) or 0
        (send,) = begin(outbox, now_ms)
        outbox.settle(send, FAILED, now_ms)

    changes = outbox.take_changes()

    assert [(record.to_state, record.outcome, record.reason) for record in changes.records[-2:]] == [
        ("firing", "dead", GAVE_UP + "answered 5xx"),
        ("resolved", "superseded", NEVER_TOLD),
    ]
    assert [value is None for value in changes.state.values()] == [True, False]
    assert len(outbox.letters) == 1
    assert 60 * HOUR_MS < now_ms - NOW_MS < 90 * HOUR_MS


def test_after_a_dead_opening_the_next_open_state_is_told_instead() -> None:
    outbox = new_outbox()
    see(outbox, transition("firing", 0))
    (send,) = begin(outbox)
    see(outbox, transition("no_data", 1))
    outbox.settle(send, DEAD, NOW_MS)

    assert told(begin(outbox)) == [("ops", "no_data", 1)]


def test_an_endpoint_that_is_gone_makes_it_dead_without_an_attempt_and_the_other_is_told() -> None:
    outbox = new_outbox()
    see(outbox, transition("firing", 0, notify=["gone", "ops"]))

    sends = outbox.begin_due(NOW_MS, lambda lane, _about: DEAD if lane == ("acme", "gone") else None)

    assert told(sends) == [("ops", "firing", 1)]
    assert recorded(outbox) == [("firing", "dead", GONE), ("firing", "started", "")]


def test_a_channel_that_nobody_defined_yet_is_waited_for_on_the_schedule() -> None:
    outbox = new_outbox()
    see(outbox, transition("firing", 0), transition("resolved", 1))

    assert outbox.begin_due(NOW_MS, lambda _lane, _about: NO_CHANNEL) == []

    assert recorded(outbox) == [("firing", "failed", "no such channel")]
    assert outbox.backlogs()["acme", "ops"].count == 2
    assert told(begin(outbox, NOW_MS + 6_000)) == [("ops", "firing", 2)]


def failing(*keys: str, failures: int = 5) -> tuple[Outbox, int]:
    """Return an outbox whose channel has failed each of these incidents so often, and when it did last."""
    outbox, now_ms = new_outbox(), NOW_MS
    see(outbox, *(transition("firing", 0, key=key) for key in keys))
    for number in range(failures):
        for send in sorted(begin(outbox, now_ms), key=lambda send: send.transition.key["flow"]):
            outbox.settle(send, FAILED, now_ms)
        if number < failures - 1:
            now_ms += 2 * RETRY_DELAYS_MS["page"][number + 1]
    return outbox, now_ms


def test_what_waits_is_woken_in_the_order_of_failing_and_goes_out_under_the_same_id() -> None:
    outbox, failed_ms = failing("a", "b", "c")
    now_ms = failed_ms + 60_000
    assert begin(outbox, now_ms) == []

    outbox.wake(now_ms, 2)

    sends = begin(outbox, now_ms)
    assert {send.transition.key["flow"]: send.delivery_id for send in sends} == {
        key: delivery_id(transition("firing", 0, key=key).transition_id, "ops") for key in "ab"
    }


def test_a_channel_that_is_not_meant_is_not_woken() -> None:
    outbox, failed_ms = failing("a")

    outbox.wake(failed_ms + 60_000, 2, lambda lane: lane == ("acme", "other"))

    assert begin(outbox, failed_ms + 60_000) == []


def test_a_retry_after_is_respected_by_the_waking() -> None:
    outbox = new_outbox()
    see(outbox, transition("firing", 0))
    outbox.settle(begin(outbox)[0], FAILED, NOW_MS)
    busy_ms = NOW_MS + HOUR_MS
    outbox.settle(begin(outbox, busy_ms)[0], Verdict("failed", "answered 429", 429, retry_after_ms=600_000), busy_ms)

    outbox.wake(busy_ms + 60_000, 2)

    assert begin(outbox, busy_ms + 599_999) == []
    assert len(begin(outbox, busy_ms + 600_000)) == 1


def test_a_restart_probes_a_failing_channel_once_and_a_success_wakes_the_next() -> None:
    outbox, failed_ms = failing("a", "b", "c", "d")
    committed = {key: value for key, value in outbox.take_changes().state.items() if value is not None}
    now_ms = failed_ms + 60_000
    restarted = new_outbox()

    restarted.restore(committed, now_ms)

    (probe,) = begin(restarted, now_ms)
    restarted.settle(probe, DELIVERED, now_ms)
    restarted.wake(now_ms, WOKEN_BY_SUCCESS)
    assert len(begin(restarted, now_ms)) == WOKEN_BY_SUCCESS


def test_an_early_attempt_that_fails_leaves_the_schedule_as_it_was() -> None:
    outbox, failed_ms = failing("a")
    due_ms = failed_ms + (outbox.wait_ms(failed_ms) or 0)
    outbox.wake(failed_ms + 60_000, 1)
    (early,) = begin(outbox, failed_ms + 60_000)
    outbox.take_changes()

    outbox.settle(early, FAILED, failed_ms + 60_000)

    (record,) = outbox.take_changes().records
    assert (record.outcome, record.next_attempt_ms) == ("failed", due_ms)
    assert begin(outbox, due_ms - 1) == []
    assert len(begin(outbox, due_ms)) == 1


def test_early_attempts_that_fail_are_themselves_put_off_longer_and_longer() -> None:
    outbox, now_ms = failing("a", failures=8)
    due_ms = now_ms + (outbox.wait_ms(now_ms) or 0)
    attempts: list[int] = []
    while now_ms < due_ms:
        outbox.wake(now_ms, 1)
        now_ms += outbox.wait_ms(now_ms) or 0
        (send,) = begin(outbox, now_ms)
        outbox.settle(send, FAILED, now_ms)
        attempts.append(now_ms)

    waits_s = [(later - sooner) / 1_000 for sooner, later in pairwise(attempts)]
    assert waits_s[:5] == pytest.approx([30, 120, 600, 1_800, 3_600], rel=0.2)


def test_what_waits_is_told_with_its_newest_reason_also_after_a_restart() -> None:
    outbox, now_ms = failing("a", "b")
    see(outbox, transition("firing", 0, key="c"))
    committed = {key: value for key, value in outbox.take_changes().state.items() if value is not None}
    restarted = new_outbox()

    restarted.restore(committed, now_ms)

    backlog = restarted.backlogs()["acme", "ops"]
    assert (backlog.count, backlog.waiting, backlog.reason) == (3, 2, "answered 5xx")


@pytest.mark.parametrize(("rule_kind", "window_ms"), [("event", 0), ("prefect", 60_000)])
def test_an_incident_of_a_moment_is_told_once_and_closed(rule_kind: str, window_ms: int) -> None:
    outbox = new_outbox()
    see(outbox, transition("firing", 0, rule_kind=rule_kind, window_ms=window_ms))
    (send,) = begin(outbox)

    outbox.settle(send, DELIVERED, NOW_MS)

    assert list(outbox.take_changes().state.values()) == [None]
    assert outbox.wait_ms(NOW_MS) is None


def test_an_event_that_is_counted_in_a_window_stays_open_until_its_resolve() -> None:
    outbox = new_outbox()
    see(outbox, transition("firing", 0, rule_kind="event", window_ms=60_000))
    outbox.settle(begin(outbox)[0], DELIVERED, NOW_MS)

    see(outbox, transition("resolved", 1, rule_kind="event", window_ms=60_000))

    assert told(begin(outbox)) == [("ops", "resolved", 1)]


def test_old_incidents_are_recorded_only_and_those_still_open_are_told_once_when_caught_up() -> None:
    outbox = new_outbox()
    old_ms = NOW_MS - 2 * HOUR_MS
    past = [transition("firing", 0, key="past", at_ms=old_ms), transition("resolved", 1, key="past", at_ms=old_ms)]
    still = [transition("firing", 0, key="still", at_ms=old_ms), transition("no_data", 1, key="still", at_ms=old_ms)]
    see(outbox, *past, *still, is_caught_up=False)
    assert begin(outbox) == []
    assert recorded(outbox) == [(one.to_state, "backfilled", OLD) for one in (*past, *still)]
    assert outbox.withholds

    outbox.release(NOW_MS)

    assert not outbox.withholds
    sends = begin(outbox)
    assert [(send.transition.key["flow"], send.transition.to_state) for send in sends] == [("still", "no_data")]
    outbox.settle(sends[0], DELIVERED, NOW_MS)
    see(outbox, transition("resolved", 2, key="still"))
    assert told(begin(outbox)) == [("ops", "resolved", 1)]


def test_an_old_event_incident_is_recorded_only() -> None:
    outbox = new_outbox()

    see(
        outbox,
        transition("firing", 0, at_ms=NOW_MS - 2 * HOUR_MS, rule_kind="event", window_ms=0),
        is_caught_up=False,
    )
    outbox.release(NOW_MS)

    assert begin(outbox) == []
    assert recorded(outbox) == [("firing", "backfilled", OLD)]


def test_a_recent_transition_is_told_before_all_is_read_and_an_old_one_once_caught_up() -> None:
    outbox = new_outbox()

    see(outbox, transition("firing", 0, key="recent"), is_caught_up=False)
    see(outbox, transition("firing", 0, key="old", at_ms=NOW_MS - 2 * HOUR_MS), is_caught_up=True)

    assert len(begin(outbox)) == 2


def test_a_restart_repeats_an_attempt_of_unknown_outcome_under_the_same_id() -> None:
    outbox = new_outbox()
    see(outbox, transition("firing", 0))
    (before,) = begin(outbox)
    committed = {key: value for key, value in outbox.take_changes().state.items() if value is not None}

    restarted = new_outbox()
    restarted.restore(committed, NOW_MS + 5)

    (after,) = begin(restarted, NOW_MS + 5)
    assert after.delivery_id == before.delivery_id
    assert (before.attempt, after.attempt) == (1, 2)


def test_a_restart_keeps_what_was_withheld() -> None:
    outbox = new_outbox()
    see(outbox, transition("firing", 0, at_ms=NOW_MS - 2 * HOUR_MS), is_caught_up=False)
    committed = {key: value for key, value in outbox.take_changes().state.items() if value is not None}

    restarted = new_outbox()
    restarted.restore(committed, NOW_MS)

    assert begin(restarted) == []
    restarted.release(NOW_MS)
    assert told(begin(restarted)) == [("ops", "firing", 1)]


def test_a_clock_that_steps_back_takes_the_waits_with_it() -> None:
    outbox = new_outbox()
    see(outbox, transition("firing", 0))
    outbox.settle(begin(outbox)[0], FAILED, NOW_MS)
    wait_ms = outbox.wait_ms(NOW_MS)

    assert begin(outbox, NOW_MS - HOUR_MS) == []
    assert outbox.wait_ms(NOW_MS - HOUR_MS) == wait_ms


def test_a_wait_from_a_far_future_ends_within_the_longest_wait_after_a_restart() -> None:
    outbox = new_outbox()
    see(outbox, transition("firing", 0), now_ms=NOW_MS + 10**12)
    outbox.settle(begin(outbox, NOW_MS + 10**12)[0], FAILED, NOW_MS + 10**12)
    committed = {key: value for key, value in outbox.take_changes().state.items() if value is not None}

    restarted = new_outbox()
    restarted.restore(committed, NOW_MS)

    assert restarted.wait_ms(NOW_MS) == WAIT_MS_MAX


def test_one_channel_cannot_take_all_the_room() -> None:
    outbox = new_outbox()
    see(outbox, *(transition("firing", 0, key=f"slow{n}", notify=["slow"]) for n in range(100)))
    see(outbox, transition("firing", 0, key="other", notify=["quick"]))

    sends = begin(outbox)

    assert sum(send.channel == "slow" for send in sends) == SENDS_PER_ENDPOINT_MAX
    assert sum(send.channel == "quick" for send in sends) == 1


def test_the_channels_take_turns_for_the_room_there_is() -> None:
    outbox = new_outbox()
    names = [f"c{n}" for n in range(10)]
    for name in names:
        see(outbox, *(transition("firing", 0, key=f"{name}-{n}", notify=[name]) for n in range(20)))
    seen: set[str] = set()
    for _ in range(5):
        sends = begin(outbox)
        assert len(sends) == SENDS_MAX
        seen |= {send.channel for send in sends}
        for send in sends:
            outbox.settle(send, DELIVERED, NOW_MS)

    assert seen == set(names)


def test_an_incident_beyond_the_bound_is_recorded_and_counted() -> None:
    outbox = Outbox(max_alert_age_ms=HOUR_MS, incidents_max=1)

    see(outbox, transition("firing", 0), transition("firing", 0, key="other"))

    assert outbox.refused_incidents == 1
    assert recorded(outbox) == [("firing", "dead", TOO_MANY_INCIDENTS)]


def test_a_channel_beyond_the_bound_is_recorded() -> None:
    outbox = new_outbox()

    see(outbox, transition("firing", 0, notify=[f"c{n}" for n in range(CHANNELS_MAX + 1)]))

    assert len(begin(outbox)) == CHANNELS_MAX
    assert recorded(outbox)[0] == ("firing", "dead", TOO_MANY_CHANNELS)


def test_a_channel_that_a_rule_no_longer_names_still_hears_of_the_end_and_of_nothing_else() -> None:
    outbox = new_outbox()
    see(outbox, transition("firing", 0, notify=["old"]))
    outbox.settle(begin(outbox)[0], DELIVERED, NOW_MS)

    see(outbox, transition("no_data", 1, notify=["new"]), transition("resolved", 2, notify=["new"]))

    assert told(begin(outbox)) == [("new", "no_data", 1), ("old", "resolved", 1)]


def test_a_resolve_of_an_incident_nobody_heard_of_is_recorded_only() -> None:
    outbox = new_outbox()

    see(outbox, transition("resolved", 3))

    assert begin(outbox) == []
    assert recorded(outbox) == [("resolved", "superseded", NEVER_TOLD)]


def test_the_backlog_counts_what_is_owed_since_when() -> None:
    outbox = new_outbox()
    see(outbox, transition("firing", 0, at_ms=NOW_MS - 5, notify=["a", "b"]), transition("firing", 0, key="x"))

    backlogs = outbox.backlogs()

    assert {lane: (backlog.count, backlog.since_ms) for lane, backlog in backlogs.items()} == {
        ("acme", "a"): (1, NOW_MS - 5),
        ("acme", "b"): (1, NOW_MS - 5),
        ("acme", "ops"): (1, NOW_MS),
    }


@pytest.mark.parametrize("text", ["ü" * 5_000, "\x00" * 5_000, "x" * 200_000])
def test_a_state_record_stays_below_its_bound_whatever_the_rule_says(text: str) -> None:
    outbox = new_outbox()
    huge = {f"{number}{text}": text for number in range(40)}
    channels = [f"c{number}" for number in range(CHANNELS_MAX)]
    for seq in range(2 * CHANNELS_MAX):
        to: AlertState = "no_data" if seq % 2 else "firing"
        see(outbox, transition(to, seq, key=text, notify=channels, labels=huge, reason=text, summary=text))
        for send in begin(outbox):
            if send.channel != f"c{seq // 2}":
                outbox.settle(send, DELIVERED, NOW_MS)

    assert all(len(state or b"") < 262_144 for state in outbox.take_changes().state.values())


def test_each_record_names_its_delivery_and_its_owner() -> None:
    outbox = new_outbox()
    firing = transition("firing", 0)
    see(outbox, firing)
    begin(outbox)

    assert outbox.take_changes().records == (
        Delivery(
            delivery_id=delivery_id(firing.transition_id, "ops"),
            transition_id=firing.transition_id,
            incident_id=firing.incident_id,
            tenant="acme",
            rule="r",
            channel="ops",
            to_state="firing",
            attempt=1,
            outcome="started",
            at_ms=NOW_MS,
        ),
    )


def test_a_firing_that_goes_on_after_a_recovery_is_not_told_again() -> None:
    """Nobody was told of the recovery, so a second firing would be news of nothing."""
    outbox = new_outbox()
    see(outbox, transition("firing", 1))
    (first,) = begin(outbox)
    outbox.settle(first, DELIVERED, NOW_MS)

    see(outbox, transition("recovering", 2), transition("firing", 3, from_state="recovering"))

    assert outbox.backlogs() == {}

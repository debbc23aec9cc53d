"""The delivery watch: when it opens an incident about a channel, whom it tells, and when it closes it."""

from flowgauge.schemas.delivery import Delivery, Outcome
from flowgauge.schemas.transition import decode_transition, encode_transition
from flowgauge.sinks.webhooks.delivery_watch import RULE, RULE_KIND, DeliveryWatch
from flowgauge.sinks.webhooks.policy import Lane
from flowgauge.sinks.webhooks.telling import UNKNOWN_OUTCOME

NOW_MS = 1_800_000_000_000


def record(outcome: Outcome, *, channel: str = "pager", tenant: str = "acme", reason: str = "answered 5xx") -> Delivery:
    return Delivery(
        delivery_id="d",
        transition_id="t",
        incident_id="i",
        tenant=tenant,
        rule="failing",
        channel=channel,
        to_state="firing",
        attempt=1,
        outcome=outcome,
        at_ms=NOW_MS,
        reason=reason,
    )


def watched(_lane: Lane) -> tuple[str, ...]:
    return ("ops",)


def nobody(_lane: Lane) -> tuple[str, ...]:
    return ()


def well(_lane: Lane) -> bool:
    return False


def left_alone(_lane: Lane) -> bool:
    return True


def test_a_message_that_is_given_up_opens_an_incident_and_one_that_arrives_closes_it() -> None:
    watch = DeliveryWatch()

    (opened,) = watch.after([record("dead"), record("dead")], well, watched, NOW_MS)
    assert watch.after([record("failed"), record("dead")], well, watched, NOW_MS + 1) == []
    (closed,) = watch.after([record("delivered"), record("delivered")], well, watched, NOW_MS + 2)

    assert (opened.rule, opened.rule_kind, opened.key) == (RULE, RULE_KIND, {"channel": "pager"})
    assert (opened.tenant, opened.notify, opened.to_state) == ("acme", ["ops"], "firing")
    assert "failing" in opened.reason
    assert "answered 5xx" in opened.reason
    assert (closed.incident_id, closed.seq, closed.to_state) == (opened.incident_id, 1, "resolved")
    assert decode_transition(encode_transition(closed)) == closed


def test_a_failure_counts_once_its_endpoint_is_left_alone() -> None:
    watch = DeliveryWatch()

    assert watch.after([record("failed")], well, watched, NOW_MS) == []
    assert len(watch.after([record("failed")], left_alone, watched, NOW_MS)) == 1


def test_it_is_one_incident_per_channel_and_tenant() -> None:
    watch = DeliveryWatch()

    found = watch.after(
        [record("dead"), record("dead", tenant="other"), record("dead", channel="chat")], well, watched, NOW_MS
    )

    assert len({each.incident_id for each in found}) == 3


def test_without_anybody_to_tell_there_is_no_incident() -> None:
    assert DeliveryWatch().after([record("dead")], well, nobody, NOW_MS) == []


def test_an_action_is_no_channel() -> None:
    found = DeliveryWatch().after(
        [record("dead", channel="action:restart"), record("dead", reason=UNKNOWN_OUTCOME)], well, watched, NOW_MS
    )

    assert found == []


def test_after_a_restart_it_goes_on_with_the_incident_that_was_open() -> None:
    (opened,) = DeliveryWatch().after([record("dead")], well, watched, NOW_MS)
    watch = DeliveryWatch()
    watch.go_on(opened)

    assert watch.after([record("dead")], well, watched, NOW_MS + 1) == []
    (closed,) = watch.after([record("delivered")], well, watched, NOW_MS + 2)
    assert closed.incident_id == opened.incident_id


def test_after_a_restart_it_knows_of_an_incident_that_was_over() -> None:
    before, after = DeliveryWatch(), DeliveryWatch()
    written = [
        *before.after([record("dead")], well, watched, NOW_MS),
        *before.after([record("delivered")], well, watched, NOW_MS + 1),
    ]
    for each in written:
        after.go_on(each)

    assert after.after([record("delivered")], well, watched, NOW_MS + 2) == []
    assert [each.to_state for each in after.after([record("dead")], well, watched, NOW_MS + 3)] == ["firing"]

"""What the notifier says in health of channels, each tenant's under its own name."""

import pytest

from flowgauge.schemas.delivery import Delivery, Outcome
from flowgauge.sinks.webhooks.backlog import Backlog
from flowgauge.sinks.webhooks.channel_health import REMEDIES, ChannelHealth
from flowgauge.sinks.webhooks.schedule import GONE, NO_CHANNEL
from flowgauge.transport.health import Health


def record(outcome: Outcome, reason: str = "", *, tenant: str = "acme") -> Delivery:
    return Delivery(
        delivery_id="d",
        transition_id="t",
        incident_id="i",
        tenant=tenant,
        rule="r",
        channel="ops",
        to_state="firing",
        attempt=1,
        outcome=outcome,
        at_ms=1,
        reason=reason,
    )


@pytest.mark.parametrize(
    ("backlog", "line"),
    [
        (Backlog(2, 5, waiting=1, reason="answered 5xx"), "a message waits to be tried again: answered 5xx"),
        (Backlog(9, 5, waiting=3, reason="cannot connect"), "3 messages wait to be tried again: cannot connect"),
        (
            Backlog(1, 5, waiting=1, reason=NO_CHANNEL),
            f"a message waits to be tried again: no such channel ({REMEDIES[NO_CHANNEL]})",
        ),
    ],
)
def test_what_waits_after_a_failure_is_a_problem_with_its_reason_and_remedy(backlog: Backlog, line: str) -> None:
    health = Health()

    ChannelHealth(health).tell({("acme", "ops"): backlog})

    assert health.of("acme").problems == {"channel ops": line}


def test_what_is_owed_and_was_not_tried_yet_is_no_problem_and_is_counted_for_its_tenant() -> None:
    health = Health()

    ChannelHealth(health).tell(
        {("acme", "ops"): Backlog(2, 5), ("acme", "b"): Backlog(1, 3), ("beta", "b"): Backlog(4, 9)}
    )

    assert (health.undelivered, health.undelivered_since_ms) == (7, 3)
    assert (health.of("acme").undelivered, health.of("acme").undelivered_since_ms) == (3, 3)
    assert (health.of("beta").undelivered, health.of("beta").problems) == (4, {})


def test_a_problem_goes_with_what_waited() -> None:
    health = Health()
    channel_health = ChannelHealth(health)
    channel_health.tell({("acme", "ops"): Backlog(1, 5, waiting=1, reason="answered 5xx")})

    channel_health.tell({})

    assert health.of("acme").problems == {}
    assert (health.undelivered, health.of("acme").undelivered_since_ms) == (0, 0)


def test_a_message_that_was_given_up_stays_a_problem_of_its_tenant_until_the_channel_takes_another() -> None:
    health = Health()
    channel_health = ChannelHealth(health)
    channel_health.note([record("dead", GONE)])
    channel_health.note([record("delivered", tenant="beta")])
    channel_health.tell({})
    assert health.of("acme").problems["channel ops"].startswith("a message was given up: endpoint gone")

    channel_health.note([record("delivered")])
    channel_health.tell({})

    assert health.of("acme").problems == {}


def test_new_channels_make_what_was_given_up_before_no_problem() -> None:
    health = Health()
    channel_health = ChannelHealth(health)
    channel_health.note([record("dead", GONE)])

    channel_health.forget_given_up()
    channel_health.tell({})

    assert health.of("acme").problems == {}

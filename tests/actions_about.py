"""What tests of actions are about: one transition, and the notice of it."""

from flowgauge.schemas.delivery import Delivery
from flowgauge.schemas.ids import delivery_id, incident_id, transition_id
from flowgauge.schemas.lane import action_lane
from flowgauge.schemas.transition import ExampleRun, Transition
from flowgauge.sinks.webhooks.kinds.kind import Notice

NOW_MS = 1_800_000_000_000


def firing(flow: str = "orders", *, rule: str = "failing", run: str = "run-1", event_id: str = "e1") -> Transition:
    """Return the firing of `rule` for `flow`, with one run behind it."""
    incident = incident_id("acme", rule, [flow], NOW_MS)
    return Transition(
        transition_id=transition_id(incident, 0, "firing"),
        incident_id=incident,
        seq=0,
        tenant="acme",
        rule=rule,
        rule_kind="failure_rate",
        rules_version=1,
        key={"flow": flow},
        from_state="inactive",
        to_state="firing",
        at_ms=NOW_MS,
        opened_at_ms=NOW_MS,
        reason="failure rate above threshold",
        value=0.6,
        threshold=0.3,
        samples=5,
        window_ms=600_000,
        examples=[ExampleRun(NOW_MS * 1000, event_id, run, flow)],
        severity="error",
        summary="{{ flow }}: {{ value|percent }} failed",
    )


def notice(transition: Transition | None = None, action: str = "restart") -> Notice:
    """Return what an action is told of `transition`."""
    about = transition or firing()
    told = delivery_id(about.transition_id, action_lane(action))
    return Notice(told, (about,), public_url="https://flowgauge.example")


def delivery(transition: Transition, outcome: str, reason: str = "", action: str = "restart") -> Delivery:
    """Return the record of an attempt at `action`."""
    return Delivery(
        delivery_id=delivery_id(transition.transition_id, action_lane(action)),
        transition_id=transition.transition_id,
        incident_id=transition.incident_id,
        tenant=transition.tenant,
        rule=transition.rule,
        channel=action_lane(action),
        to_state=transition.to_state,
        attempt=1,
        outcome=outcome,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # tests name each
        at_ms=NOW_MS + 5,
        reason=reason,
        status=200,
        elapsed_ms=12,
    )

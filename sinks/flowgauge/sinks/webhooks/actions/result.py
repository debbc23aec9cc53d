"""The result of an action as an event, so that it can be looked for, counted and alerted on like all else. Pure.

    delivery record of `action:NAME` ──► flowgauge.action.succeeded | failed | refused
                                         resource: the action · related: incident and rule · payload: what came of it

Only an end is an event: an attempt that is to be repeated is none. Its id says by itself that the event is an action's
and how many actions led to it, so whoever sees it in a transition knows, after a restart too:

    UUID version 8:   f1096a9e-ac71 - 8 DDD - digest      DDD: the chain, 1 for what no action's event set off
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Literal
from uuid import UUID

from flowgauge.schemas.delivery import Delivery
from flowgauge.schemas.event import Event
from flowgauge.schemas.ids import digest
from flowgauge.schemas.lane import EVENT_PREFIX, action_of
from flowgauge.schemas.times import EPOCH
from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks.actions.action import DRY_RUN

CHAIN_MAX = 3  # actions that set off each other: an escalation, never a circle
REFUSED = "refused: "  # begins the reason of what was never tried
_MARK = 0xF1096A9EAC71
_DEPTH_MAX = 0xFFF

Result = Literal["succeeded", "failed", "refused"]


def result_event(delivery: Delivery, transition: Transition) -> Event | None:
    """Return the event of how an action ended; None of a channel, of what is no end, and at the end of a chain.

    `delivery` is a record of the lane that runs the action, `transition` what it was about. The same record gives the
    same event, id included.
    """
    action = action_of(delivery.channel)
    result = _result(delivery)
    depth = chain_of(transition) + 1
    if action is None or result is None or depth > CHAIN_MAX + 1:
        return None
    return Event(
        id=_event_id(delivery, result, depth),
        tenant=delivery.tenant,
        occurred=EPOCH + timedelta(milliseconds=delivery.at_ms),
        event=f"{EVENT_PREFIX}{result}",
        resource={"id": f"{EVENT_PREFIX}{action}", "name": action},
        related=[
            {"id": delivery.incident_id, "role": "incident"},
            {"id": delivery.rule, "role": "rule"},
        ],
        payload={
            "action": action,
            "rule": delivery.rule,
            "incident_id": delivery.incident_id,
            "delivery_id": delivery.delivery_id,
            "to_state": delivery.to_state,
            "attempt": delivery.attempt,
            "status": delivery.status,
            "elapsed_ms": delivery.elapsed_ms,
            "reason": delivery.reason,
            "dry_run": delivery.reason == DRY_RUN,
        },
    )


def chain_of(transition: Transition) -> int:
    """Return how many actions in a row led to a transition, as far as its key and its examples tell; 0 for none."""
    return max((_depth(text) for text in _event_ids(transition)), default=0)


def _event_ids(transition: Transition) -> Iterator[str]:
    yield from (example.event_id for example in transition.examples)
    if event_id := transition.key.get("event_id"):
        yield event_id


def _depth(event_id: str) -> int:
    try:
        number = UUID(event_id).int
    except ValueError:
        return 0
    return number >> 64 & _DEPTH_MAX if number >> 80 == _MARK else 0


def _event_id(delivery: Delivery, result: Result, depth: int) -> UUID:
    drawn = int(digest(delivery.delivery_id, delivery.attempt, result)[:16], 16) & (1 << 62) - 1
    return UUID(int=_MARK << 80 | 8 << 76 | min(depth, _DEPTH_MAX) << 64 | 2 << 62 | drawn)


def _result(delivery: Delivery) -> Result | None:
    match delivery.outcome:
        case "delivered":
            return "succeeded"
        case "dead":
            return "refused" if delivery.reason.startswith(REFUSED) else "failed"
        case _:
            return None

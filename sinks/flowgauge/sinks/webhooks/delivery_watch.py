"""The delivery watch: a channel that cannot be told is an incident itself, told through other channels. Pure.

    a message was given up, or the endpoint is left alone ──► firing: "flowgauge: a channel is not reached" {channel}
    a message of that channel arrives                      ──► resolved

Its transitions go to the log as those of any rule do, so they stand in the list of incidents and reach the channels
that ask for them (`delivery_failures: true`). A channel never tells of itself. What nobody asks for is not made: the
trouble of a channel stands in health either way.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from flowgauge.schemas.delivery import Delivery
from flowgauge.schemas.ids import incident_id, transition_id
from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks.policy import Lane
from flowgauge.sinks.webhooks.telling import UNKNOWN_OUTCOME, is_action

RULE = "flowgauge: a channel is not reached"
RULE_KIND = "delivery"
WATCHED_MAX = 10_000  # channels in trouble at a time

Watchers = Callable[[Lane], tuple[str, ...]]  # the channels that are told when this one is not reached


@dataclass(slots=True)
class DeliveryWatch:
    """Which channels are known to be out of reach."""

    _open: dict[Lane, Transition] = field(default_factory=dict[Lane, Transition])

    def go_on(self, written: Transition) -> None:
        """Go on from what a notifier before this one wrote; what no channel's incident is changes nothing."""
        if written.rule_kind != RULE_KIND:
            return
        lane = written.tenant, written.key.get("channel", "")
        known = self._open.get(lane)
        if written.to_state != "resolved":
            self._open[lane] = written
        elif known and known.incident_id == written.incident_id:
            del self._open[lane]

    def after(
        self, records: Iterable[Delivery], is_left_alone: Callable[[Lane], bool], watchers: Watchers, now_ms: int
    ) -> list[Transition]:
        """Return the transitions that follow from what became of deliveries."""
        found: list[Transition] = []
        for record in records:
            lane = record.tenant, record.channel
            if record.outcome == "delivered" and lane in self._open:
                found.append(_next(self._open.pop(lane), now_ms))
            elif lane not in self._open and _is_trouble(record, lane, is_left_alone):
                notify = watchers(lane)
                if notify and len(self._open) < WATCHED_MAX:
                    self._open[lane] = _first(lane, record, notify, now_ms)
                    found.append(self._open[lane])
        return found


def _is_trouble(record: Delivery, lane: Lane, is_left_alone: Callable[[Lane], bool]) -> bool:
    if record.outcome == "dead":
        return record.reason != UNKNOWN_OUTCOME and not is_action(record.channel)
    return record.outcome == "failed" and is_left_alone(lane)


def _first(lane: Lane, record: Delivery, notify: tuple[str, ...], now_ms: int) -> Transition:
    tenant, channel = lane
    incident = incident_id(tenant, RULE, [channel], now_ms)
    return Transition(
        transition_id=transition_id(incident, 0, "firing"),
        incident_id=incident,
        seq=0,
        tenant=tenant,
        rule=RULE,
        rule_kind=RULE_KIND,
        rules_version=0,
        key={"channel": channel},
        from_state="inactive",
        to_state="firing",
        at_ms=now_ms,
        opened_at_ms=now_ms,
        reason=f"not told of {record.rule}: {record.reason}",
        severity="critical",
        summary="{{ channel }} is not reached: {{ reason }}",
        notify=list(notify),
    )


def _next(opening: Transition, now_ms: int) -> Transition:
    return msgspec.structs.replace(
        opening,
        transition_id=transition_id(opening.incident_id, opening.seq + 1, "resolved"),
        seq=opening.seq + 1,
        from_state="firing",
        to_state="resolved",
        at_ms=max(now_ms, opening.at_ms),
        reason="a message arrived",
        summary="{{ channel }} is reached again",
    )

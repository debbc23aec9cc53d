"""What the page of deliveries says, and how any page shows a delivery. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flowgauge.console.web.deliveries import ReplayTold
from flowgauge.console.web.words import OUTCOMES, STATES, Mark, Moment, mark, moment
from flowgauge.schemas.lane import lane_words
from flowgauge.sinks.clickhouse.deliveries import ToldDelivery
from flowgauge.sinks.clickhouse.incidents import DeliveryView

SHOWN_MAX = 200  # of one page; those that were given up come first
FIELDS = ("channel", "outcome", "since", "by")


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One delivery with what has become of it."""

    channel: str
    told: Mark
    outcome: Mark
    attempts: int
    last: str
    at: Moment
    next_at: Moment | None
    delivery_id: str
    is_dead: bool


@dataclass(frozen=True, slots=True)
class ListedDelivery:
    """A delivery in a list of many incidents'."""

    row: DeliveryRow
    incident_id: str
    rule: str


@dataclass(frozen=True, slots=True)
class DeliveriesPage:
    """Everything the page says. `fields` are its forms', as they were filled in."""

    rows: tuple[ListedDelivery, ...]
    is_cut: bool
    fields: Mapping[str, str]
    tenant: str  # that was asked for, for forms to keep
    outcomes: tuple[tuple[str, str], ...]
    problem: str
    told: ReplayTold | None


def delivery_row(delivery: DeliveryView | ToldDelivery, now_ms: int) -> DeliveryRow:
    """Return a delivery's row: a status and a reason, never where it went."""
    said = [f"HTTP {delivery.status}"] if delivery.status else []
    said += [delivery.reason] if delivery.reason else []
    said += [f"{delivery.elapsed_ms} ms"] if delivery.elapsed_ms else []
    return DeliveryRow(
        channel=lane_words(delivery.channel),
        told=mark(STATES, delivery.to_state),
        outcome=mark(OUTCOMES, delivery.outcome),
        attempts=delivery.attempts,
        last=", ".join(said),
        at=moment(delivery.at_ms, now_ms),
        next_at=moment(delivery.next_attempt_ms, now_ms) if delivery.next_attempt_ms else None,
        delivery_id=delivery.delivery_id,
        is_dead=delivery.outcome == "dead",
    )


def deliveries_page(
    found: Sequence[ToldDelivery],
    fields: Mapping[str, str],
    now_ms: int,
    *,
    problem: str = "",
    told: ReplayTold | None = None,
) -> DeliveriesPage:
    """Return the page of deliveries: `told` is what was just asked to be sent again."""
    shown = found[:SHOWN_MAX]
    return DeliveriesPage(
        rows=tuple(ListedDelivery(delivery_row(each, now_ms), each.incident_id, each.rule) for each in shown),
        is_cut=len(found) > len(shown),
        fields={name: fields.get(name, "") for name in FIELDS},
        tenant=fields.get("tenant", ""),
        outcomes=tuple((name, each.text) for name, each in OUTCOMES.items()),
        problem=problem,
        told=told,
    )

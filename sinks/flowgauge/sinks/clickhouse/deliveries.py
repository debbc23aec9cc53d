"""Deliveries as people look at them: how each stands, all that was recorded of one, and how many were given up.

Everything is read from the records of deliveries: what the notifier did just now may be some seconds away.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from flowgauge.schemas.lane import ACTION_PREFIX
from flowgauge.sinks.clickhouse.incidents import DeliveryView, newest_record
from flowgauge.sinks.clickhouse.metric import InvalidQuestion
from flowgauge.sinks.clickhouse.questions import question
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import rows_of

_ID_BEGINS = re.compile(r"[0-9a-fA-F]{6,31}")  # as much of an id as people copy; fewer digits say little


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldDelivery(DeliveryView):
    """How telling one channel of one change of an incident stands, and whose it is."""

    incident_id: str
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRecord:
    """One step in the life of a delivery."""

    attempt: int
    outcome: str
    at_ms: int
    status: int
    elapsed_ms: int
    reason: str
    next_attempt_ms: int


@dataclass(frozen=True, slots=True)
class Dead:
    """Deliveries that stand given up. `newest_ms` is when the last of them was; 0 where there is none."""

    count: int
    newest_ms: int


async def deliveries(  # what a list is narrowed by, each with its name
    store: ClickHouseStore,
    tenant: str,
    *,
    since_ms: int,
    limit: int,
    channel: str = "",
    outcome: str = "",
    dead_first: bool = False,
) -> list[ToldDelivery]:
    """Return deliveries of which something was recorded since, the newest first, at most `limit`; "" is any."""
    return await _list(
        store, tenant, since_ms=since_ms, limit=limit, channel=channel, outcome=outcome, dead_first=dead_first
    )


async def delivery_named(store: ClickHouseStore, tenant: str, delivery_id: str) -> ToldDelivery | None:
    """Return the delivery whose id this is, or begins so; None when this tenant has none.

    Raises InvalidQuestion where several ids begin so.
    """
    begins = delivery_id.lower() if _ID_BEGINS.fullmatch(delivery_id) else delivery_id
    found = await _list(store, tenant, id_begins=begins, limit=2) if begins else []
    whole = [each for each in found if each.delivery_id == begins]
    if whole or not _ID_BEGINS.fullmatch(delivery_id):
        return whole[0] if whole else None
    if len(found) > 1:
        ids = " and ".join(each.delivery_id for each in found)
        raise InvalidQuestion(f"delivery: several ids begin with {delivery_id}, such as {ids}: write more of it")
    return found[0] if found else None


async def delivery_records(store: ClickHouseStore, tenant: str, of: ToldDelivery) -> list[DeliveryRecord]:
    """Return what was recorded of a delivery, in order."""
    asked = {"tenant": tenant, "incident_id": of.incident_id, "delivery_id": of.delivery_id}
    found = await store.query(question("delivery_records"), asked, seen=rows_of(tenant))
    return [DeliveryRecord(**cast("dict[str, Any]", row)) for row in found.dicts()]


async def dead_since(store: ClickHouseStore, tenant: str, *, channel: str, since_ms: int) -> Dead:
    """Return what was given up since and still stands so: of `channel`, or "" of all that are no actions."""
    asked = {"tenant": tenant, "channel": channel, "since_ms": since_ms, "actions": ACTION_PREFIX}
    found = await store.query(question("deliveries_dead"), asked, seen=rows_of(tenant))
    (row,) = found.rows
    count, newest_ms = cast("tuple[int, int]", tuple(row))
    return Dead(count, newest_ms)


async def _list(  # what a list is narrowed by, each with its name
    store: ClickHouseStore,
    tenant: str,
    *,
    limit: int,
    since_ms: int = 0,
    id_begins: str = "",
    channel: str = "",
    outcome: str = "",
    dead_first: bool = False,
) -> list[ToldDelivery]:
    asked = {
        "tenant": tenant,
        "since_ms": since_ms,
        "id_begins": id_begins,
        "channel": channel,
        "outcome": outcome,
        "dead_first": dead_first,
        "limit": limit,
    }
    found = await store.query(question("deliveries"), asked, seen=rows_of(tenant))
    return [_delivery(row) for row in found.rows]


def _delivery(row: Sequence[object]) -> ToldDelivery:
    values: tuple[Any, ...] = tuple(row)
    delivery_id, transition_id, incident_id, rule, channel, to_state, attempts, latest = values
    return ToldDelivery(
        delivery_id=delivery_id,
        transition_id=transition_id,
        incident_id=incident_id,
        rule=rule,
        channel=channel,
        to_state=to_state,
        attempts=attempts,
        **newest_record(latest),
    )

"""Incidents as silences look at them: those that are open now, and those of late."""

from dataclasses import dataclass
from typing import Any, cast

from flowgauge.sinks.clickhouse.questions import question_of
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import rows_of

HIDABLE_MAX = 10_000  # looked at in one preview


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredIncident:
    """What the matchers of a silence can be about, as the newest transition says it, and when it opened."""

    tenant: str
    incident_id: str
    rule: str
    severity: str
    key: dict[str, str]
    labels: dict[str, str]
    opened_at_ms: int
    is_open: bool


async def hidable(
    store: ClickHouseStore, tenant: str, *, since_ms: int, limit: int = HIDABLE_MAX
) -> list[StoredIncident]:
    """Return what is open now, then what opened since `since_ms`, each the newest first; of ANY_TENANT too."""
    found = await store.query(
        question_of("hidable", tenant),
        {"tenant": tenant, "since_ms": since_ms, "limit": limit},
        seen=rows_of(tenant),
    )
    return [_stored(*cast("tuple[Any, ...]", row)) for row in found.rows]


def _stored(*row: Any) -> StoredIncident:
    tenant, incident_id, (rule, severity), key, labels, opened_at_ms, is_open = row
    return StoredIncident(
        tenant=tenant,
        incident_id=incident_id,
        rule=rule,
        severity=severity,
        key=key,
        labels=labels,
        opened_at_ms=opened_at_ms,
        is_open=bool(is_open),
    )

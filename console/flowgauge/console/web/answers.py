"""What the pages and the API ask: metrics, incidents and health, for one tenant at a time.

ClickHouse is the view: what it answers may be some seconds behind the log, and the health banner says how far.
"""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request

from flowgauge.console.web.guard import authorization_of
from flowgauge.console.web.incident_views import IncidentPage, incident_page, incident_row
from flowgauge.console.web.overview import Asked, Overview, overview
from flowgauge.producers.tokens import TokenTable
from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.event import NAME_MAX
from flowgauge.schemas.times import parse_duration_ms, parse_time_ms
from flowgauge.sinks.clickhouse.incidents import IncidentView, incident, incidents, open_incidents
from flowgauge.sinks.clickhouse.metrics import MetricQuery, answer
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.table import Table
from flowgauge.transport.health import Health
from flowgauge.transport.wall_clock import now_ms as wall_clock_ms

SINCE_DEFAULT = "7d"
WEEK_MS = 7 * 86_400_000
HOUR_MS = 3_600_000
RECENT_MAX = 20  # incidents that closed, on the overview


class Answers:
    """Answers for the pages and the API."""

    def __init__(
        self,
        store: ClickHouseStore,
        health: Health,
        tokens: TokenTable,
        *,
        now_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self._store = store
        self._tokens = tokens
        self.health = health
        self.now_ms = now_ms

    def tenant_of(self, request: Request) -> str | None:
        """Return whose data the request may see: its token's tenant; without tokens, whom it asks for."""
        tenant = self._tokens.tenant_of(authorization_of(request.headers))
        if self._tokens.open:
            return request.query_params.get("tenant", tenant or "")[:NAME_MAX] or tenant
        return tenant

    async def metric(self, name: str, tenant: str, parameters: Mapping[str, str]) -> Table:
        """Return the answer to a question; raise BadInput for one that cannot be asked."""
        return await answer(self._store, name, self.query_of(tenant, parameters))

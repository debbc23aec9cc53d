"""What the pages and the API ask: metrics, incidents and health, for one tenant at a time.

ClickHouse is the view: what it answers may be some seconds behind the log, and the health banner says how far.
"""

from collections.abc import Callable
from dataclasses import dataclass

from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.times import parse_duration_ms, parse_time_ms
from flowgauge.sinks.clickhouse.metrics import METRICS, MetricQuery, answer
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.table import Table
from flowgauge.transport.health import Health

SINCE_DEFAULT = "7d"
LIMIT_MAX = 10_000  # rows of one answer


@dataclass(frozen=True, slots=True)
class Console:
    """Where answers come from."""

    store: ClickHouseStore
    health: Health
    now_ms: Callable[[], int]

"""Every metric of the log: `flowgauge_transport_<what>_<unit>`. Labels are topics and groups, without the prefix."""

from typing import Final, TypeVar

from prometheus_client import Counter, Gauge, Histogram

_Metric = TypeVar("_Metric", Counter, Gauge, Histogram)

LAG_RECORDS: Final = Gauge(
    "flowgauge_transport_lag_records", "Records between where a group stands and the end.", ["topic", "group"]
)
LAG_SECONDS: Final = Gauge(
    "flowgauge_transport_lag_seconds",
    "Age of the oldest record that a group has not passed; 0 while it keeps up.",
    ["topic", "group"],
)
REBALANCES: Final = Counter(
    "flowgauge_transport_rebalances_total", "Times that a group gave this process its share.", ["topic", "group"]
)
TRANSACTION_SECONDS: Final = Histogram(
    "flowgauge_transport_transaction_seconds",
    "From the beginning of a step's transaction until brokers have committed it.",
    ["topic", "group"],
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 15, 60),
)
RESTORE_SECONDS: Final = Histogram(
    "flowgauge_transport_restore_seconds",
    "From the fencing of a partition's former owner until its state is read.",
    ["topic", "group"],
    buckets=(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 15, 60),
)
CONTROLS_PASSED_OVER: Final = Counter(
    "flowgauge_transport_controls_passed_over_total", "Records of what people did that this version cannot read."
)
CONTROLS_DROPPED: Final = Counter(
    "flowgauge_transport_controls_dropped_total",
    "What people did and this process no longer holds, because there is more of it than it may hold.",
    ["what"],
)


def of(metric: _Metric, topic: str, group: str) -> _Metric:
    """Return the child of `metric` that counts for a group on a topic."""
    return metric.labels(topic.rpartition(".")[2], group)

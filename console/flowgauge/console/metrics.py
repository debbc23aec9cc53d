"""Every measurement of the console: the health of this process, read when it is asked for."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from flowgauge.transport.health import Health


def health_registry(health: Health, now_ms: Callable[[], int]) -> CollectorRegistry:
    """Return a registry with what `health` says now."""
    registry = CollectorRegistry()
    registry.register(_HealthCollector(health, now_ms))
    return registry


class _HealthCollector(Collector):
    def __init__(self, health: Health, now_ms: Callable[[], int]) -> None:
        self._health = health
        self._now_ms = now_ms

    def collect(self) -> Iterable[Metric]:
        """Yield each measurement."""
        health, now = self._health, self._now_ms()
        unknown_ms = health.unknown_since_ms(now)
        owed_ms = now - health.undelivered_since_ms if health.undelivered_since_ms else 0
        for name, text, value in (
            (
                "detection_unknown_seconds",
                "For how long detection has not known what happens; 0 when it does.",
                (now - unknown_ms) / 1000 if unknown_ms else 0.0,
            ),
            (
                "detection_behind_seconds",
                "How far the detector's slowest source clock is behind this machine's clock.",
                max(0, now - health.clock_ms) / 1000 if health.clock_ms else 0.0,
            ),
            ("loading", "1 while history passes detection.", float(health.loading)),
            ("problems", "Parts of this process that say they are in trouble.", float(len(health.problems))),
            ("undelivered_messages", "Messages that are owed.", float(health.undelivered)),
            ("undelivered_age_seconds", "Age of the oldest message owed.", max(0, owed_ms) / 1000),
        ):
            yield GaugeMetricFamily(f"flowgauge_console_{name}", text, value=value)

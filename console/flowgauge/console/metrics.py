"""Every measurement of the console: what became of questions, and the health of this process, read when asked for."""

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from flowgauge.transport.health import Health

Measured: TypeAlias = tuple[str, str, float]  # name, help, value


REFUSED_QUESTIONS = Counter(
    "flowgauge_console_refused_questions_total",
    "Questions answered with HTTP 429: a tenant's line was full (line), or no turn came in time (wait).",
    ["reason"],
)
REMEMBERED_ANSWERS = Counter(
    "flowgauge_console_remembered_answers_total",
    "Questions answered without ClickHouse (hit), by one that was under way (joined), or by asking it (miss).",
    ["how"],
)
EVICTED_ANSWERS = Counter(
    "flowgauge_console_evicted_answers_total", "Answers forgotten before their time, to make room for others."
)


CLOSED_CONNECTIONS = Counter(
    "flowgauge_console_closed_connections_total",
    "Connections that were ended: a head, a body or a reader was too slow, or there were too many, of one address.",
    ["reason"],
)


class Knows(NamedTuple):
    """What a process knows of beyond itself."""

    detection: bool  # until when all of it has seen everything
    deliveries: bool  # what is owed to channels


ALL = Knows(detection=True, deliveries=True)
ITSELF = Knows(detection=False, deliveries=False)


def health_registry(health: Health, now_ms: Callable[[], int], knows: Knows) -> CollectorRegistry:
    """Return a registry with what `health` says now, of what the process knows."""
    registry = CollectorRegistry()
    registry.register(_HealthCollector(health, now_ms, knows))
    return registry


class _HealthCollector(Collector):
    def __init__(self, health: Health, now_ms: Callable[[], int], knows: Knows) -> None:
        self._health = health
        self._now_ms = now_ms
        self._knows = knows

    def collect(self) -> Iterable[Metric]:
        """Yield each measurement."""
        found = list(_own(self._health))
        if self._knows.detection:
            found += _detection(self._health, self._now_ms())
        if self._knows.deliveries:
            found += _deliveries(self._health, self._now_ms())
        for name, text, value in found:
            yield GaugeMetricFamily(f"flowgauge_console_{name}", text, value=value)


def _own(health: Health) -> Iterable[Measured]:
    yield "loading", "1 while history passes detection.", float(health.loading)
    yield "problems", "Parts of this process that say they are in trouble.", float(len(health.problems))


def _detection(health: Health, now_ms: int) -> Iterable[Measured]:
    unknown_ms = health.unknown_since_ms(now_ms)
    yield (
        "detection_unknown_seconds",
        "For how long detection has not known what happens; 0 when it does.",
        (now_ms - unknown_ms) / 1000 if unknown_ms else 0.0,
    )
    yield (
        "detection_held_back_partitions",
        "Partitions of the events that keep detection unknown while others go on.",
        float(len(health.holding_back(now_ms))),
    )
    yield (
        "detection_behind_seconds",
        "How far the detector's slowest source clock is behind this machine's clock.",
        max(0, now_ms - health.clock_ms) / 1000 if health.clock_ms else 0.0,
    )


def _deliveries(health: Health, now_ms: int) -> Iterable[Measured]:
    owed_ms = now_ms - health.undelivered_since_ms if health.undelivered_since_ms else 0
    yield "undelivered_messages", "Messages that are owed.", float(health.undelivered)
    yield "undelivered_age_seconds", "Age of the oldest message owed.", max(0, owed_ms) / 1000

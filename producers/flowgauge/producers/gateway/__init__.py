"""The gateway: every way in for senders without Kafka.

http_events      POST /v1/events, as we speak
             ─► door (whose it is, how much it may, the body within bounds)
             ─► intake (checked, durable in the log or in the dlq)
"""

from collections.abc import Callable

from starlette.routing import BaseRoute

from flowgauge.producers.gateway.door import Door
from flowgauge.producers.gateway.http_events import http_events
from flowgauge.producers.gateway.intake import Intake
from flowgauge.producers.gateway.limits import Limits, no_limits
from flowgauge.producers.tokens import TokenTable
from flowgauge.transport import wall_clock
from flowgauge.transport.health import Health
from flowgauge.transport.log import Log

__all__ = ["gateway_routes"]


def gateway_routes(
    log: Log,
    *,
    tokens: TokenTable,
    health: Health,
    limits: Limits | None = None,
    now_ms: Callable[[], int] = wall_clock.now_ms,
) -> list[BaseRoute]:
    """Return the routes through which events come in; without `limits`, however much."""
    door = Door(Intake(log, health, now_ms), tokens, limits or no_limits())
    return [http_events(door)]

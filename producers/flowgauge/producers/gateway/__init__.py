"""The gateway: every way in for senders without Kafka.

http_events      POST /v1/events, as we speak
prefect_posts    POST /api/events, as Prefect's clients post
prefect_sockets  WS /api/events/in, as they stream
hooks            POST /v1/hooks/NAME, as programs do that send webhooks in a form of their own
openlineage      POST /api/v1/lineage, as OpenLineage's clients do
cloudevents      POST /v1/cloudevents
             ─► door (whose it is, how much it may, the body within bounds)
             ─► intake (checked, durable in the log or in the dlq)
"""

from collections.abc import Callable

from starlette.routing import BaseRoute

from flowgauge.producers.gateway.cloudevents import cloudevents
from flowgauge.producers.gateway.door import Door
from flowgauge.producers.gateway.hooks import HookOf, hooks
from flowgauge.producers.gateway.http_events import http_events
from flowgauge.producers.gateway.intake import Intake
from flowgauge.producers.gateway.limits import Limits, no_limits
from flowgauge.producers.gateway.openlineage import openlineage
from flowgauge.producers.gateway.prefect_posts import prefect_posts
from flowgauge.producers.gateway.prefect_sockets import prefect_sockets
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
    hook_of: HookOf = lambda _name: None,
    now_ms: Callable[[], int] = wall_clock.now_ms,
) -> list[BaseRoute]:
    """Return the routes through which events come in; without `limits`, however much."""
    door = Door(Intake(log, health, now_ms), tokens, limits or no_limits())
    return [
        http_events(door),
        prefect_posts(door),
        prefect_sockets(door),
        *openlineage(door),
        cloudevents(door, now_ms),
        hooks(door, hook_of, now_ms),
    ]

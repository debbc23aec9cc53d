"""`POST /api/events`: Prefect's own endpoint for a list of its events.

    204  the good events are durable in the log and the bad ones in the dlq
    422  no list of events can be told apart in the body: it goes to the dlq as one
    415  not JSON; the other refusals are the door's

Prefect refuses a whole list for one bad event: a sender that repeats what was refused never gets past it, and its good
neighbours wait behind it. Here each stands for itself: what is refused is counted, and kept in the dlq with the reason.
"""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from flowgauge.producers.gateway.batch_body import BrokenBody, split_events
from flowgauge.producers.gateway.door import Door, Refused, answering, content_type_of
from flowgauge.producers.gateway.prefect_events import mapped
from flowgauge.producers.gateway.prefect_tokens import readings_of

PATH = "/api/events"
_JSON = "application/json"


def prefect_posts(door: Door) -> BaseRoute:
    """Return the route."""

    async def publish(request: Request) -> Response:
        tenant = door.tenant_with(request, *readings_of(request.headers.get("authorization")))
        if content_type_of(request) != _JSON:
            raise Refused(415, f"send Content-Type {_JSON}, got {content_type_of(request)[:64]!r}")
        async with door.body_of(request) as body:
            raws = await door.told_apart(tenant, body, _split, broken=422)
            await door.take(tenant, await mapped(door.intake, raws))
        return Response(None, 204)

    return Route(PATH, answering(publish), methods=["POST"])


def _split(body: bytes) -> Sequence[bytes]:
    if not body.lstrip().startswith(b"["):
        raise BrokenBody("expected a JSON list of Prefect's events")
    return split_events(body, _JSON)

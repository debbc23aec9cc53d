"""`POST /v1/events`: the door of senders that speak as we do.

    200  each event has its answer: {"accepted": n, "rejected": m, "errors": [{index, id, reason, detail}]};
         sent once all accepted ones are durable in the log and all rejected ones in the dlq
    400  no events can be told apart in the body: it goes to the dlq as one
    415  not JSON or NDJSON; the other refusals are the door's

Content types are asked for because a foreign web page in a browser on this machine can send others, without a token, to
a gateway that listens on loopback.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from flowgauge.producers.gateway.batch_body import split_events
from flowgauge.producers.gateway.door import Door, Refused, answering, content_type_of, encode

CONTENT_TYPES: Final = frozenset(
    {"application/json", "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}
)


def http_events(door: Door) -> BaseRoute:
    """Return the route."""

    async def publish(request: Request) -> Response:
        tenant = door.tenant_of(request)
        content_type = content_type_of_events(request)
        async with door.body_of(request) as body:
            taken = await door.take(tenant, await events_of(door, tenant, body, content_type))
        return Response(encode(taken.answer()), 200, None, "application/json")

    return Route("/v1/events", answering(publish), methods=["POST"])


def content_type_of_events(request: Request) -> str:
    """Return the content type; raise Refused for one that is not of events."""
    content_type = content_type_of(request)
    if content_type not in CONTENT_TYPES:
        said = f"send Content-Type application/json or application/x-ndjson, got {content_type[:64]!r}"
        raise Refused(415, said)
    return content_type


async def events_of(door: Door, tenant: str, body: bytes, content_type: str) -> Sequence[bytes]:
    """Return the raw events in `body`; raise Refused as `told_apart` does."""
    return await door.told_apart(tenant, body, partial(split_events, content_type=content_type))

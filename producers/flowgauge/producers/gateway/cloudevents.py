"""`POST /v1/cloudevents`: the door of senders that speak CloudEvents 1.0 over HTTP.

    application/cloudevents+json          one, structured   204, or 400 for one that never fits
    application/cloudevents-batch+json    a list            200, each has its answer as at /v1/events
    any other, with `ce-` headers         one, binary       204, or 400

204 says nothing because brokers of Knative take an answer with a body for an event. The other refusals are the door's:
after 503 the sender repeats the same events. What no event could be made of is in the dlq as it came.

`OPTIONS` is the handshake of CloudEvents' webhooks: a sender asks whether it is welcome. It is, for to be believed it
still needs a token; the callback that it may name is never called.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from flowgauge.producers.cloud_event import STRUCTURED, as_sent, http_attributes, of_binary, of_structured
from flowgauge.producers.gateway.batch_body import split_events
from flowgauge.producers.gateway.door import Door, Refused, answering, content_type_of, encode
from flowgauge.producers.gateway.intake import Unfit
from flowgauge.schemas.errors import InvalidEvent

ONE: Final = f"{STRUCTURED}+json"
BATCH: Final = f"{STRUCTURED}-batch+json"
_HOST = re.compile(r"[A-Za-z0-9.:_-]{1,253}")


def cloudevents(door: Door, now_ms: Callable[[], int]) -> BaseRoute:
    """Return the route."""

    async def take(request: Request) -> Response:
        if request.method == "OPTIONS":
            return _welcome(request)
        tenant = door.tenant_of(request)
        content_type = content_type_of(request)
        is_binary = not content_type.startswith(STRUCTURED) and _has_attributes(request)
        if not is_binary and content_type not in {ONE, BATCH}:
            said = f"send Content-Type {ONE}, {BATCH}, or the headers ce-id, ce-source, ce-type and ce-specversion"
            raise Refused(415, f"{said}; got Content-Type {content_type[:64]!r}")
        async with door.body_of(request) as body:
            if content_type == BATCH:
                taken = await door.take(tenant, await door.told_apart(tenant, body, partial(_batch, now_ms=now_ms())))
                return Response(encode(taken.answer()), 200, None, "application/json")
            read = partial(_binary, request.headers.raw) if is_binary else _structured
            event = await door.intake.heavy(len(body), partial(read, body, now_ms()))
            return await _take_one(door, tenant, event)

    return Route("/v1/cloudevents", answering(take), methods=["POST", "OPTIONS"])


async def _take_one(door: Door, tenant: str, event: bytes | Unfit) -> Response:
    taken = await door.take(tenant, [event])
    if taken.letters:
        raise Refused(400, f"{taken.errors[0]['reason']}: {taken.errors[0]['detail']}", counts=taken.answer())
    return Response(None, 204)


def _has_attributes(request: Request) -> bool:
    return any(name.startswith(b"ce-") for name, _ in request.headers.raw)


def _batch(body: bytes, *, now_ms: int) -> list[bytes | Unfit]:
    return [_structured(raw, now_ms) for raw in split_events(body, "")]


def _structured(raw: bytes, now_ms: int) -> bytes | Unfit:
    try:
        return of_structured(raw, now_ms)
    except InvalidEvent as invalid:
        return Unfit(raw, invalid)


def _binary(headers: list[tuple[bytes, bytes]], data: bytes, now_ms: int) -> bytes | Unfit:
    try:
        return of_binary(http_attributes(headers), data, now_ms)
    except InvalidEvent as invalid:
        return Unfit(as_sent(headers, data), invalid)


def _welcome(request: Request) -> Response:
    headers = {"Allow": "POST, OPTIONS"}
    if "webhook-request-origin" in request.headers:
        origin = request.headers["webhook-request-origin"]
        if not _HOST.fullmatch(origin):
            raise Refused(400, "WebHook-Request-Origin: expected a host name")
        headers |= {"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*"}
    return Response(None, 200, headers)

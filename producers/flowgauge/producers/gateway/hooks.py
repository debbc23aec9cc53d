"""`POST /v1/hooks/NAME`: the door of programs that send webhooks in a form of their own.

    200  {"accepted": 1, …}: it is an event; {"accepted": 0, "rejected": 0, …}: the hook says to ignore it
    401  who sent it is not known: the signature or the token does not fit; nothing of it is kept
    404  no hook is called so
    422  no event can be made of it: it is in the dlq, with the reason `unmappable`

All other refusals are those of POST /v1/events.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from flowgauge.producers import metrics
from flowgauge.producers.answer import Answer
from flowgauge.producers.gateway.door import Door, Refused, answering, content_type_of, encode
from flowgauge.producers.gateway.intake import Unfit
from flowgauge.producers.hook_book import OpenHook
from flowgauge.producers.hook_event import HOOK_BYTES_MAX, Ignored, event_of
from flowgauge.producers.tokens import Sender
from flowgauge.schemas.errors import InvalidEvent

HERE_BYTES_MAX = 8_192  # a larger webhook is looked through in a thread: expressions take up to 5 ms for so much

HookOf: TypeAlias = Callable[[str], OpenHook | None]


@dataclass(frozen=True, slots=True)
class Sent:
    """One webhook that came in, and by which hook."""

    by: OpenHook
    tenant: str
    body: bytes
    headers: Mapping[str, str]
    now_ms: int

    def event(self) -> bytes | Unfit | None:
        """Return the event it becomes, or why it becomes none; None where the hook ignores it."""
        try:
            return event_of(self.by.hook, self.body, self.headers, tenant=self.tenant, now_ms=self.now_ms)
        except Ignored:
            return None
        except InvalidEvent as invalid:
            return Unfit(self.body, invalid)


def hooks(door: Door, hook_of: HookOf, now_ms: Callable[[], int]) -> BaseRoute:
    """Return the route. `hook_of` tells of the hooks that are open now."""

    async def publish(request: Request) -> Response:
        found = hook_of(request.path_params["name"])
        if found is None:
            metrics.HOOKS.labels("unknown").inc()
            raise Refused(404, "no hook is called so: the file that the setting `hooks` names has their names")
        sender = _sender_of(found, request)
        tenant = door.let_speak(request, sender) if sender else door.tenant_of(request)
        if content_type_of(request) != "application/json":
            raise Refused(415, "send Content-Type application/json")
        _refuse_unsigned(found.missing(request.headers))
        async with door.body_of(request, HOOK_BYTES_MAX) as body:
            sent = Sent(found, tenant, body, request.headers, now_ms())
            if sender:
                _refuse_unsigned(found.fault_of(sent.headers, body, now_ms=sent.now_ms))
                door.proven(sender, body)
            return await _store(door, sent)

    return Route("/v1/hooks/{name}", answering(publish), methods=["POST"])


def _sender_of(found: OpenHook, request: Request) -> Sender | None:
    """Return who sends, if the body proves it, counted apart from the tenant's tokens; None where a token tells."""
    name: str = request.path_params["name"]
    return None if found.hook.tenant is None else Sender(found.hook.tenant, name.encode())


def _refuse_unsigned(fault: str) -> None:
    if fault:
        metrics.HOOKS.labels("unverified").inc()
        raise Refused(401, f"{fault}: both sides need the same secret")


async def _store(door: Door, sent: Sent) -> Response:
    event = await door.intake.heavy(len(sent.body), sent.event, here_bytes_max=HERE_BYTES_MAX)
    if event is None:
        metrics.HOOKS.labels("ignored").inc()
        return Response(encode(Answer(accepted=0, rejected=0)), 200, None, "application/json")
    taken = await door.take(sent.tenant, [event])
    metrics.HOOKS.labels("accepted" if taken.accepted else "unmappable").inc()
    return Response(encode(taken.answer()), 200 if taken.accepted else 422, None, "application/json")

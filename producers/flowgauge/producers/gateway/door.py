"""What all ways in over HTTP share: whose a request is, its body within bounds, and refusals as answers.

    401  no token that we know
    408  the body did not come in time                  413  over a bound of batch_body.py
    415  an encoding that is not gzip                   503  + Retry-After: the log or this process is full
    429  + Retry-After: over a bound of limits.py

Every answer but a good one is a JSON object with `error`, a sentence. After 429 and 503 the sender repeats the same
events with the same ids.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from flowgauge.producers import metrics
from flowgauge.producers.gateway.batch_body import BODY_BYTES_MAX, RAW_BYTES_MAX, BodyTooLarge, BrokenBody, Gunzip
from flowgauge.producers.gateway.intake import UNVERIFIED, Intake, Taken, Unfit
from flowgauge.producers.gateway.limits import Limits, Over
from flowgauge.producers.tokens import Sender, TokenTable
from flowgauge.schemas.errors import InvalidEvent, Transient

BODY_DEADLINE_S = 30.0  # a body that takes longer holds memory for nobody
RETRY_AFTER_S = 1
_LENGTH_DIGITS_MAX = 18  # of a Content-Length header; Python refuses to read very long numbers

_Event = TypeVar("_Event", bound=bytes | Unfit)
encode = msgspec.json.Encoder().encode


class Refused(Exception):
    """A request that gets another answer than the good one."""

    def __init__(
        self,
        status: int,
        error: str,
        headers: dict[str, str] | None = None,
        *,
        counts: dict[str, object] | None = None,
    ) -> None:
        super().__init__(error)
        self.status = status
        self.headers = headers
        self.answer = {"error": error, **(counts or {})}


class Door:
    """The common part of a way in over HTTP."""

    def __init__(self, intake: Intake, tokens: TokenTable, limits: Limits) -> None:
        self.intake = intake
        self.limits = limits
        self._tokens = tokens

    def tenant_of(self, request: Request) -> str:
        """Return whose events `request` brings in. Raises Refused as `sender_with` does."""
        return self.tenant_with(request, request.headers.get("authorization"))

    def tenant_with(self, request: Request, *authorizations: str | None) -> str:
        """Return the same where an `Authorization` header may be read in several ways; the body is charged to it."""
        request.state.sender = sender = self.sender_with(*authorizations)
        return sender.tenant

    def let_speak(self, request: Request, sender: Sender) -> str:
        """Return the same where only the body may prove who sends; to it nothing is charged before `proven`."""
        self._refuse_over(sender.tenant, self.limits.over(sender))
        request.state.sender = None
        return sender.tenant

    def proven(self, sender: Sender, body: bytes) -> None:
        """Charge a body that proved to be of `sender`; raise Refused when it is over a bound."""
        self._admitted(sender)
        self.limits.bytes_came(sender, len(body))

    def sender_with(self, *authorizations: str | None) -> Sender:
        """Return the sender of the first that is known of an `Authorization` header's readings; it counts as a request.

        Raises Refused without a known token, while history loads, or when the sender is over a bound.
        """
        senders = map(self._tokens.sender_of, authorizations)
        sender = next((sender for sender in senders if sender is not None), None)
        if sender is None:
            fault = "no tenant has this token: " if any(authorizations) else ""
            said = f"{fault}send `Authorization: Bearer TOKEN` with one that [tenants] in the server's settings names"
            raise Refused(401, said, {"WWW-Authenticate": "Bearer"})
        return self._admitted(sender)

    def knows(self, sender: Sender) -> bool:
        """Return whether the token of one that stays connected is still good."""
        return self._tokens.knows(sender)

    def _admitted(self, sender: Sender) -> Sender:
        self._refuse_over(sender.tenant, self.limits.admit(sender))
        return sender

    def _refuse_over(self, tenant: str, over: Over | None) -> None:
        if self.intake.health.loading:
            raise come_again("history is being loaded")
        if over:
            self.intake.count_limited(tenant, over.limit)
            raise _come_later(over)

    @asynccontextmanager
    async def body_of(self, request: Request, bytes_max: int = RAW_BYTES_MAX) -> AsyncGenerator[bytes]:
        """Read the body, decompressed, of `bytes_max` at most; it counts as held until the block is left.

        Each bound raises its own Refused.
        """
        sender: Sender | None = request.state.sender
        pieces: list[bytes] = []
        try:
            await self._read(request, sender, pieces, bytes_max)
            pieces[:] = [b"".join(pieces)]  # so that the body is held once
            yield pieces[0]
        finally:
            self.intake.hold(sender.tenant if sender else UNVERIFIED, -sum(map(len, pieces)))

    async def take(self, tenant: str, events: Sequence[bytes | Unfit], *, goes_on: bool = False) -> Taken:
        """Hand `events` in, which count as of `tenant`; raises Refused with 503 when the log takes none now.

        It raises 429 where others of the tenant were over a bound first; not when a request `goes_on`, of which events
        were taken before: it would never get past them.
        """
        if not goes_on:
            self._refuse_over(tenant, self.limits.events_over(tenant))
        self.limits.events_came(tenant, len(events))
        try:
            return await self.intake.take(tenant, events)
        except Transient:
            self.limits.events_came(tenant, -len(events))
            raise come_again("the log cannot take events now") from None

    async def told_apart(
        self, tenant: str, body: bytes, split: Callable[[bytes], Sequence[_Event]], *, broken: int = 400
    ) -> Sequence[_Event]:
        """Return what `split` finds in `body`.

        Raises Refused: 413 for too many, `broken` where none can be told apart, once the body is in the dlq as one.
        """
        try:
            return await self.intake.heavy(len(body), partial(split, body))
        except BodyTooLarge as large:
            raise Refused(413, str(large)) from None
        except BrokenBody as error:
            taken = await self.take(tenant, [Unfit(body, InvalidEvent("not JSON", str(error)))])
            raise Refused(broken, str(error), counts=taken.answer()) from None

    async def _read(self, request: Request, sender: Sender | None, pieces: list[bytes], bytes_max: int) -> None:
        """Add the body, decompressed, to `pieces`."""
        gunzip = _gunzip(request, bytes_max)
        tenant = sender.tenant if sender else UNVERIFIED
        size_max = min(BODY_BYTES_MAX, bytes_max)
        length = request.headers.get("content-length", "0")
        _refuse_long_body(length, size_max)
        announced = int(length) if length.isdecimal() else 0  # charged at once, so that those beside it know of it
        size = 0
        self._charge(sender, announced)
        try:
            async with asyncio.timeout(BODY_DEADLINE_S):
                async for piece in request.stream():
                    size += len(piece)
                    _refuse_long_body(str(size), size_max)
                    metrics.BODY_BYTES.inc(len(piece))
                    if not announced:
                        self._charge(sender, len(piece))
                    pieces.append(gunzip.feed(piece) if gunzip else piece)
                    self.intake.hold(tenant, len(pieces[-1]))
                    if crowded := self.intake.crowded(tenant):
                        metrics.REQUESTS_CROWDED.labels(crowded).inc()
                        raise come_again("too many bytes are in work")
            if gunzip:
                gunzip.finish()
        except TimeoutError:
            raise Refused(408, f"the body did not come within {BODY_DEADLINE_S:g} s") from None
        except BodyTooLarge as large:
            raise Refused(413, str(large)) from None
        except BrokenBody as broken:
            raise Refused(400, str(broken)) from None
        finally:
            if announced:
                self._charge(sender, size - announced)

    def _charge(self, sender: Sender | None, count: int) -> None:
        if sender:
            self.limits.bytes_came(sender, count)


def answering(handle: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that answers as `handle` does, or with what it refuses."""

    async def endpoint(request: Request) -> Response:
        try:
            response = await handle(request)
        except Refused as refused:
            response = Response(encode(refused.answer), refused.status, refused.headers, "application/json")
        except ClientDisconnect:
            response = Response(encode({"error": "the sender went away"}), 400, None, "application/json")
        metrics.REQUESTS.labels(str(response.status_code)).inc()
        return response

    return endpoint


def come_again(error: str) -> Refused:
    """Return the refusal of events that may be sent again as they are."""
    return Refused(503, f"{error}: send the same events again", {"Retry-After": str(RETRY_AFTER_S)})


def _come_later(over: Over) -> Refused:
    seconds = -(-over.wait_ms // 1_000)
    return Refused(429, f"{over}: send the same events again in {seconds} s", {"Retry-After": str(seconds)})


def content_type_of(request: Request) -> str:
    """Return the content type without its parameters, in small letters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _gunzip(request: Request, bytes_max: int) -> Gunzip | None:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"gzip", "identity"}:
        raise Refused(415, f"send Content-Encoding gzip or none, got {encoding[:64]!r}")
    return Gunzip(bytes_max) if encoding == "gzip" else None


def _refuse_long_body(length: str, bytes_max: int) -> None:
    if len(length) > _LENGTH_DIGITS_MAX or (length.isdecimal() and int(length) > bytes_max):
        raise Refused(413, f"the body is over {bytes_max} bytes: send smaller batches")

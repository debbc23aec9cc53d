"""The gateway: `POST /v1/events`, the door through which every sender without Kafka brings events.

    200  each event has its answer: {"accepted": n, "rejected": m, "errors": [{index, id, reason, detail}]};
         sent once all accepted ones are durable in the log and all rejected ones in the dlq
    400  no events can be told apart in the body: it goes to the dlq as one
    401  no token that we know
    408  the body did not come in time                  413  over a bound of batch_body.py
    415  not JSON or NDJSON, or not gzip                503  + Retry-After: the log or this process is full

Whatever the answer, it is a JSON object; after 503 the sender repeats the same events with the same ids. Every answer
but 200 has `error`, a sentence. Content types are asked for because a foreign web page in a browser on this machine
can send others, without a token, to a gateway that listens on loopback.
"""

import asyncio
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from flowgauge.producers import metrics
from flowgauge.producers.batch_body import BODY_BYTES_MAX, BodyTooLarge, BrokenBody, Gunzip, split_events
from flowgauge.producers.pulse import pulses_if_due
from flowgauge.producers.tokens import TokenTable
from flowgauge.schemas.delivery import DEAD_LETTER_BYTES_MAX, DeadLetter, encode_dead_letter
from flowgauge.schemas.errors import InvalidEvent, Transient
from flowgauge.schemas.refusal import refusal
from flowgauge.schemas.topics import DLQ, EVENTS
from flowgauge.transport import wall_clock
from flowgauge.transport.event_record import event_record
from flowgauge.transport.health import Health
from flowgauge.transport.log import Log, Outgoing

BODY_DEADLINE_S = 30.0  # a body that takes longer holds memory for nobody
BYTES_HELD_MAX = 256 * 1_048_576  # bodies of all requests at work; a request above it is told to come again
ERRORS_MAX = 1_000  # per-event errors listed in one answer; the rest is in `errors_omitted`, and all are in the dlq
DETAIL_CHARS_MAX = 300  # of an error's detail: enough for any of our sentences
TURN_BYTES = 262_144  # about 10 ms of ordinary events; then the loop's other tasks have a turn
EVENT_COST_BYTES = 512  # what an event, however small, counts towards a turn: telling that it is bad costs as much
HERE_BYTES_MAX = 131_072  # a body to cut or an event to check above it may take seconds: it is done in a thread
APART_MAX = 2  # threads at such work, of all requests; the rest waits its turn, and bodies at work are bounded anyway
RETRY_AFTER_S = 1
_LENGTH_DIGITS_MAX = 18  # of a Content-Length header; Python refuses to read very long numbers

CONTENT_TYPES: Final = frozenset(
    {"application/json", "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}
)

_T = TypeVar("_T")
_encode = msgspec.json.Encoder().encode
_log = structlog.get_logger("flowgauge.gateway")


def gateway_routes(
    log: Log, *, tokens: TokenTable, health: Health, now_ms: Callable[[], int] = wall_clock.now_ms
) -> list[BaseRoute]:
    """Return the routes through which events come in over HTTP."""
    gateway = _Gateway(log, tokens, health, now_ms)
    return [Route("/v1/events", gateway.publish, methods=["POST"])]


class _Refused(Exception):
    """A request that gets another answer than 200."""

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


@dataclass(slots=True)
class _Sorted:
    """The events of one request, told apart."""

    accepted: list[Outgoing] = field(default_factory=list[Outgoing])
    letters: list[Outgoing] = field(default_factory=list[Outgoing])
    errors: list[dict[str, object]] = field(default_factory=list[dict[str, object]])  # the first ERRORS_MAX
    reasons: Counter[str] = field(default_factory=Counter[str])


class _Gateway:
    def __init__(self, log: Log, tokens: TokenTable, health: Health, now_ms: Callable[[], int]) -> None:
        self._log = log
        self._tokens = tokens
        self._health = health
        self._now_ms = now_ms
        self._bytes_held = 0
        self._apart = asyncio.Semaphore(APART_MAX)

    async def publish(self, request: Request) -> Response:
        try:
            status, answer, headers = 200, await self._publish(request), None
        except _Refused as refused:
            status, answer, headers = refused.status, refused.answer, refused.headers
        except ClientDisconnect:
            status, answer, headers = 400, {"error": "the sender went away"}, None
        metrics.REQUESTS.labels(str(status)).inc()
        return Response(_encode(answer), status, headers, "application/json")

    async def _publish(self, request: Request) -> dict[str, object]:
        tenant = self._tokens.tenant_of(request.headers.get("authorization"))
        if tenant is None:
            fault = "no tenant has this token: " if "authorization" in request.headers else ""
            said = f"{fault}send `Authorization: Bearer TOKEN` with one that [tenants] in the server's settings names"
            raise _Refused(401, said, {"WWW-Authenticate": "Bearer"})
        if self._health.loading:
            raise _come_again("history is being loaded")
        content_type = _content_type(request)
        pieces: list[bytes] = []
        try:
            await self._read(request, pieces)
            pieces[:] = [b"".join(pieces)]  # so that the body is held once
            return await self._store(tenant, pieces[0], content_type)
        finally:
            self._bytes_held -= sum(map(len, pieces))

    async def _read(self, request: Request, pieces: list[bytes]) -> None:
        """Add the body, decompressed, to `pieces`; each bound ends it with its own answer."""
        gunzip = _gunzip(request)
        _refuse_long_body(request.headers.get("content-length", "0"))
        size = 0
        try:
            async with asyncio.timeout(BODY_DEADLINE_S):
                async for piece in request.stream():
                    size += len(piece)
                    _refuse_long_body(str(size))
                    metrics.BODY_BYTES.inc(len(piece))
                    pieces.append(gunzip.feed(piece) if gunzip else piece)
                    self._bytes_held += len(pieces[-1])
                    if self._bytes_held > BYTES_HELD_MAX:
                        raise _come_again("too many bytes are in work")
            if gunzip:
                gunzip.finish()
        except TimeoutError:
            raise _Refused(408, f"the body did not come within {BODY_DEADLINE_S:g} s") from None
        except BodyTooLarge as large:
            raise _Refused(413, str(large)) from None
        except BrokenBody as broken:
            raise _Refused(400, str(broken)) from None

    async def _store(self, tenant: str, body: bytes, content_type: str) -> dict[str, object]:
        try:
            raws = await self._heavy(len(body), partial(split_events, body, content_type))
        except BodyTooLarge as large:
            raise _Refused(413, str(large)) from None
        except BrokenBody as broken:
            raise await self._broken(tenant, body, str(broken)) from None
        sorted_ = await self._sort(tenant, raws)
        await self._append(sorted_)
        return self._counted(tenant, sorted_)

    async def _broken(self, tenant: str, body: bytes, error: str) -> _Refused:
        """Keep a body without events in the dlq, as one bad event, and return what to answer."""
        sorted_ = _Sorted()
        self._sort_out(sorted_, tenant, body, InvalidEvent("not JSON", error), now_ms=self._now_ms())
        await self._append(sorted_)
        return _Refused(400, error, counts=self._counted(tenant, sorted_))

    async def _append(self, sorted_: _Sorted) -> None:
        try:
            if sorted_.accepted:
                await self._append_events(sorted_.accepted)
            if sorted_.letters:
                await self._log.append(DLQ, sorted_.letters)
        except Transient as transient:
            self._health.problems["gateway"] = f"the log takes no events: {transient}"
            _log.warning("log takes no events", reason=str(transient))
            raise _come_again("the log cannot take events now") from None
        self._health.problems.pop("gateway", None)

    async def _append_events(self, events: list[Outgoing]) -> None:
        sent_ms = self._now_ms()
        if pulses := pulses_if_due(self._log, self._health, sent_ms):
            await self._log.append(EVENTS, [*pulses, *events])
            self._health.pulse_ms = max(self._health.pulse_ms, sent_ms)
            metrics.PULSES.inc(len(pulses))
        else:
            await self._log.append(EVENTS, events)

    async def _sort(self, tenant: str, raws: Sequence[bytes]) -> _Sorted:
        sorted_ = _Sorted()
        now_ms = self._now_ms()
        partitions = self._log.partitions(EVENTS)
        turn = 0
        for raw in raws:
            turn += len(raw) + EVENT_COST_BYTES
            if turn > TURN_BYTES:
                turn = 0
                await asyncio.sleep(0)
            try:
                if len(raw) > HERE_BYTES_MAX:
                    heavy = partial(event_record, raw, tenant=tenant, append_ms=now_ms, partitions=partitions)
                    record = await self._heavy(len(raw), heavy)
                else:
                    record = event_record(raw, tenant=tenant, append_ms=now_ms, partitions=partitions)
            except InvalidEvent as invalid:
                self._sort_out(sorted_, tenant, raw, invalid, now_ms=now_ms)
            else:
                sorted_.accepted.append(record)
        return sorted_

    async def _heavy(self, size: int, work: Callable[[], _T]) -> _T:
        """Return what `work` on `size` bytes returns: apart, when it could keep the loop from other requests."""
        if size <= HERE_BYTES_MAX:
            return work()
        async with self._apart:
            return await asyncio.to_thread(work)

    def _sort_out(self, sorted_: _Sorted, tenant: str, raw: bytes, invalid: InvalidEvent, *, now_ms: int) -> None:
        if len(sorted_.errors) < ERRORS_MAX:
            invalid = InvalidEvent(invalid.reason, refusal(invalid, raw if len(raw) <= HERE_BYTES_MAX else b""))
            index = len(sorted_.accepted) + len(sorted_.letters)
            sorted_.errors.append(_error(index, raw, invalid))
        sorted_.reasons[invalid.reason] += 1
        sorted_.letters.append(self._letter(tenant, raw, invalid, now_ms))

    def _letter(self, tenant: str, raw: bytes, invalid: InvalidEvent, now_ms: int) -> Outgoing:
        letter = DeadLetter(
            tenant=tenant,
            reason=invalid.reason,
            detail=invalid.detail[:DETAIL_CHARS_MAX],
            origin="gateway",
            at_ms=now_ms,
            value=raw[:DEAD_LETTER_BYTES_MAX],
            size=len(raw),
        )
        return Outgoing(zlib.crc32(raw) % self._log.partitions(DLQ), tenant, encode_dead_letter(letter))

    def _counted(self, tenant: str, sorted_: _Sorted) -> dict[str, object]:
        accepted, rejected = len(sorted_.accepted), len(sorted_.letters)
        for health in (self._health, self._health.of(tenant)):
            health.accepted += accepted
            health.refused += rejected
        metrics.EVENTS_ACCEPTED.inc(accepted)
        for reason, count in sorted_.reasons.items():
            metrics.EVENTS_REFUSED.labels(reason).inc(count)
        answer: dict[str, object] = {"accepted": accepted, "rejected": rejected, "errors": sorted_.errors}
        if rejected > ERRORS_MAX:
            answer["errors_omitted"] = rejected - ERRORS_MAX
        return answer


def _content_type(request: Request) -> str:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in CONTENT_TYPES:
        raise _Refused(415, f"send Content-Type application/json or application/x-ndjson, got {content_type[:64]!r}")
    return content_type


def _gunzip(request: Request) -> Gunzip | None:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"gzip", "identity"}:
        raise _Refused(415, f"send Content-Encoding gzip or none, got {encoding[:64]!r}")
    return Gunzip() if encoding == "gzip" else None


def _refuse_long_body(length: str) -> None:
    if len(length) > _LENGTH_DIGITS_MAX or (length.isdecimal() and int(length) > BODY_BYTES_MAX):
        raise _Refused(413, f"the body is over {BODY_BYTES_MAX} bytes: send smaller batches")


def _come_again(error: str) -> _Refused:
    return _Refused(503, f"{error}: send the same events again", {"Retry-After": str(RETRY_AFTER_S)})


def _error(index: int, raw: bytes, invalid: InvalidEvent) -> dict[str, object]:
    return {"index": index, "id": _id_of(raw), "reason": invalid.reason, "detail": invalid.detail[:DETAIL_CHARS_MAX]}


class _WithId(msgspec.Struct):
    id: Any = None


_decode_id = msgspec.json.Decoder(_WithId).decode


def _id_of(raw: bytes) -> str | None:
    try:
        found: object = _decode_id(raw).id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found[:64] if isinstance(found, str) else None

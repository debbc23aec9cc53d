"""A receiver of signed webhooks: verifies, says what came, keeps nothing but the ids of the last messages.

It is for people who try flowgauge out, for the demo, and to read beside a receiver of one's own: answer 204 when
the signature holds, 401 when it does not, and expect the same id again, because delivery is at least once.
"""

import asyncio
import contextlib
import ipaddress
import socket
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from flowgauge.schemas.signing import HEADER_ID, SignatureInvalid, verify
from flowgauge.schemas.signing_keys import verifying_key
from flowgauge.transport import wall_clock

BODY_BYTES_MAX = 1024 * 1024  # A message is under 20 kB by the standard; this leaves room for others' senders.
BODY_MS_MAX = 30_000  # As long as a sender waits for its answer; a slower one has given up by then.
REMEMBERED_IDS_MAX = 10_000  # To say "duplicate"; an older id that comes again is told as new.
WORD_CHARS_MAX = 200  # An id or type longer than this is cut: it goes to a terminal.
SHUTDOWN_S_MAX = 2


@dataclass(frozen=True, slots=True)
class Received:
    """One message as it came; `type` is read only from a verified body, "" where there is none.

    `reason` says why it is not verified, and is "" when it is.
    """

    message_id: str
    type: str
    body: bytes
    verified: bool
    duplicate: bool
    reason: str


OnMessage = Callable[[Received], None]


def receiver_app(
    secrets: Sequence[str],
    *,
    on_message: OnMessage,
    now_ms: Callable[[], int],
    remembered_ids_max: int = REMEMBERED_IDS_MAX,
) -> Starlette:
    """Answer POST on every path: 204 valid, 401 not valid, 413 over 1 MiB.

    `on_message` is called for valid and invalid messages, before the answer. Without secrets every message is
    taken, as not verified. A secret is one of any kind. Raises ValueError for a malformed one.
    """
    for secret in secrets:
        verifying_key(secret)
    receiver = _Receiver(secrets, on_message, now_ms, remembered_ids_max)
    return Starlette(routes=[Route("/{path:path}", receiver.receive, methods=["POST"])])


async def listen(
    host: str,
    port: int,
    secrets: Sequence[str],
    on_message: OnMessage,
    *,
    on_ready: Callable[[str, int], None] | None = None,
) -> None:
    """Receive until cancelled; port 0 takes a free one, told to `on_ready` with the host.

    Raises ValueError for a host that is not loopback when there is no secret, and OSError when the port is taken.
    """
    if not secrets and not _is_loopback(host):
        raise ValueError(f"will not listen on {host} without a secret: give one, or listen on loopback (127.0.0.1)")
    app = receiver_app(secrets, on_message=on_message, now_ms=wall_clock.now_ms)
    server = _Server(
        uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=SHUTDOWN_S_MAX)
    )
    with socket.create_server((host, port), family=_family(host)) as listening:
        if on_ready is not None:
            on_ready(host, int(listening.getsockname()[1]))
        await _serve_until_cancelled(server, listening)


class _Receiver:
    def __init__(self, secrets: Sequence[str], on_message: OnMessage, now_ms: Callable[[], int], ids_max: int) -> None:
        self._secrets = tuple(secrets)
        self._on_message = on_message
        self._now_ms = now_ms
        self._ids_max = ids_max
        self._seen: OrderedDict[str, None] = OrderedDict()

    async def receive(self, request: Request) -> Response:
        try:
            async with asyncio.timeout(BODY_MS_MAX / 1000):
                body = await _read_body(request)
        except TimeoutError:
            return PlainTextResponse("the body took too long\n", status_code=408)
        except ClientDisconnect:
            return Response(status_code=400)
        if body is None:
            return PlainTextResponse(f"the body is over {BODY_BYTES_MAX} bytes\n", status_code=413)
        received = self._judge(request, body)
        self._on_message(received)
        if received.verified or not self._secrets:
            return Response(status_code=204)
        return PlainTextResponse(f"{received.reason}\n", status_code=401)

    def _judge(self, request: Request, body: bytes) -> Received:
        message_id = _word(request.headers.get(HEADER_ID, ""))
        if not self._secrets:
            return _unverified(message_id, body, "no secret to verify with")
        try:
            verify(self._secrets, request.headers, body, now_s=self._now_ms() // 1000)
        except SignatureInvalid as invalid:
            return _unverified(message_id, body, str(invalid))
        return Received(
            message_id=message_id,
            type=_type_of(body),
            body=body,
            verified=True,
            duplicate=self._is_duplicate(message_id),
            reason="",
        )

    def _is_duplicate(self, message_id: str) -> bool:
        """Only verified ids come here, so a stranger cannot push the others out."""
        is_duplicate = message_id in self._seen
        self._seen[message_id] = None
        self._seen.move_to_end(message_id)
        if len(self._seen) > self._ids_max:
            self._seen.popitem(last=False)
        return is_duplicate


class _Server(uvicorn.Server):
    """Leaves the signals to the command that runs it: `up` and `listen` end by cancelling."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class _Envelope(msgspec.Struct):
    type: str = ""


def _unverified(message_id: str, body: bytes, reason: str) -> Received:
    return Received(message_id=message_id, type="", body=body, verified=False, duplicate=False, reason=reason)


async def _read_body(request: Request) -> bytes | None:
    """Give the body, or None once it passes the bound; what follows is not read."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            return None
    return bytes(body)


def _type_of(body: bytes) -> str:
    try:
        return _word(msgspec.json.decode(body, type=_Envelope).type)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def _word(text: str) -> str:
    """Make a sender's word fit for a terminal: no control characters, bounded."""
    return "".join(char if char.isprintable() else "?" for char in text[:WORD_CHARS_MAX])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


async def _serve_until_cancelled(server: uvicorn.Server, listening: socket.socket) -> None:
    serving = asyncio.ensure_future(server.serve(sockets=[listening]))
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        await serving

"""`WS /api/events/in`: where Prefect's clients stream their events to, one a message.

    subprotocol `prefect`   {"type": "auth", "token": …} ─► {"type": "auth_success"}, then events
    none                    older clients, and those of Prefect Cloud: the token is in the header of the upgrade

Nothing answers an event. A client pings now and then, and forgets what it sent before once the pong is there; else it
connects again and sends it again. So a pong, and the echo of a close, leave only when what was read before is durable
(socket_port.py). A bad event never closes: it goes to the dlq, and sending it again would not make it better.

    1001  silent for idle_s                     1012  this process ends; all that was read is durable
    1008  no known token, or too slow           1013  the log, this process, the connections or a limit of the sender
    1009  a message over MESSAGE_BYTES_MAX            (limits.py) are full: connect again
"""

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import structlog
from starlette.datastructures import Headers
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import Receive, Scope, Send

from flowgauge.producers import metrics
from flowgauge.producers.gateway.door import Door, Refused
from flowgauge.producers.gateway.intake import BYTES_HELD_MAX, Unfit
from flowgauge.producers.gateway.prefect_events import mapped
from flowgauge.producers.gateway.prefect_tokens import AUTH_BYTES_MAX, readings_of, readings_of_message
from flowgauge.producers.gateway.socket_port import MESSAGE_BYTES_MAX, SOCKET, Ended, Socket
from flowgauge.producers.tokens import Sender

PATH = "/api/events/in"
SUBPROTOCOL = "prefect"
AGAIN_S = 0.25  # between tries to append
UNREAD_BYTES_MAX = (
    2 * MESSAGE_BYTES_MAX
)  # of a message in fragments: so it may have 32,000 of them, whatever its length

_TOO_MANY = (1013, "too many connections: connect again", "full")
_AUTH_SUCCESS = '{"type":"auth_success"}'
_log = structlog.get_logger("flowgauge.gateway")


@dataclass(frozen=True, slots=True)
class SocketBounds:
    """What connections may take. A ping waits for one append, for room and for its own append: 19 s of Prefect's 20."""

    sockets: int = 4_096  # of all tenants; each costs about 20 kB and a file descriptor
    strangers: int = 256  # besides, that have yet to say a token; of more, the one that has taken longest is closed
    tenant_sockets: int = 2_048  # Prefect has one a process that runs a flow
    auth_s: float = 10.0  # from the upgrade to the token
    idle_s: float = 120.0  # without even a ping; Prefect's clients ping every 20 s
    message_s: float = 30.0  # for one to come whole: until then it holds memory for nobody
    hold_s: float = 8.0  # for what was read to be durable
    room_s: float = 3.0  # for other senders' bytes to go


_BOUNDS = SocketBounds()


class _Parting(Exception):
    """Why this side closes: the code and the sentence for the peer, and a word for the measurement."""

    def __init__(self, code: int, said: str, why: str) -> None:
        super().__init__(said)
        self.code = code
        self.said = said
        self.why = why


def prefect_sockets(door: Door, bounds: SocketBounds = _BOUNDS) -> BaseRoute:
    """Return the route."""
    return WebSocketRoute(PATH, PrefectSockets(door, bounds))


class PrefectSockets:
    """The ASGI application of the path; it knows its open connections."""

    def __init__(self, door: Door, bounds: SocketBounds) -> None:
        self._door = door
        self._bounds = bounds
        self._of: Counter[str] = Counter()
        self._strangers: dict[asyncio.Timeout, None] = {}  # their deadlines, the oldest first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # Socket has both
        """Serve one connection to its end."""
        socket: Socket = scope["extensions"][SOCKET]
        with metrics.SOCKETS.track_inprogress():
            why = await self._serve(socket, scope)
        metrics.SOCKETS_ENDED.labels(why).inc()

    async def _serve(self, socket: Socket, scope: Scope) -> str:
        try:
            sender, messages = await self._let_in(socket, scope)
            self._enter(sender.tenant)
            try:
                await self._keep_all(socket, sender, messages)
            finally:
                self._leave(sender.tenant)
        except Ended as ended:
            if ended.why == "shutdown":
                socket.close(1012, "this gateway ends: connect again")
            else:
                socket.close(1000, "")
            return ended.why
        except _Parting as parting:
            socket.close(parting.code, parting.said)
            return parting.why

    async def _let_in(self, socket: Socket, scope: Scope) -> tuple[Sender, Sequence[bytes]]:
        """Return the sender, and what came right behind the token."""
        authorization = Headers(scope=scope).get("authorization")
        if SUBPROTOCOL not in scope["subprotocols"]:
            try:
                sender = self._sender(readings_of(authorization))
            except _Parting as parting:
                if parting.code == 1008:
                    socket.refuse(403, f"{parting.said}\n")
                else:
                    socket.accept(None)  # so that the peer is told as one that may come again
                raise
            socket.accept(None)
            return sender, []
        socket.accept(SUBPROTOCOL)
        message, *rest = await self._first_messages(socket)
        readings = readings_of_message(message, authorization)
        if readings is None:
            raise _Parting(1008, 'expected {"type": "auth", "token": …} first', "token")
        sender = self._sender(readings)
        socket.say(_AUTH_SUCCESS)
        return sender, rest

    async def _first_messages(self, socket: Socket) -> Sequence[bytes]:
        if len(self._strangers) >= self._bounds.strangers:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            if not oldest.expired():
                oldest.reschedule(asyncio.get_running_loop().time())
        deadline = asyncio.timeout(self._bounds.auth_s)
        try:
            async with deadline:
                self._strangers[deadline] = None
                while not (messages := await socket.receive()):  # a ping, with which clients try the connection
                    if socket.unread > AUTH_BYTES_MAX:
                        raise _Parting(1008, "the first message is too long", "token")
                return messages
        except TimeoutError:
            if deadline not in self._strangers:
                raise _Parting(*_TOO_MANY) from None
            raise _Parting(1008, f"no token came within {self._bounds.auth_s:g} s", "token") from None
        finally:
            self._strangers.pop(deadline, None)

    def _sender(self, readings: Sequence[str | None]) -> Sender:
        try:
            return self._door.sender_with(*readings)
        except Refused as refused:
            if refused.status == 401:
                raise _Parting(1008, "no tenant of this gateway has this token", "token") from None
            raise _Parting(1013, str(refused), "full") from None

    def _enter(self, tenant: str) -> None:
        if self._of[tenant] >= self._bounds.tenant_sockets or self._of.total() >= self._bounds.sockets:
            raise _Parting(*_TOO_MANY)
        self._of[tenant] += 1

    def _leave(self, tenant: str) -> None:
        self._of[tenant] -= 1
        if not self._of[tenant]:
            del self._of[tenant]

    async def _keep_all(self, socket: Socket, sender: Sender, messages: Sequence[bytes]) -> NoReturn:
        intake, loop = self._door.intake, asyncio.get_running_loop()
        held = charged = 0
        whole_by = idle_at = math.inf
        try:
            while True:
                came, charged = socket.came - charged, socket.came  # pings and what is no message yet, too
                metrics.BODY_BYTES.inc(came)
                self._door.limits.bytes_came(sender, came)
                if not self._door.knows(sender):
                    raise _Parting(1008, "this token is good no more", "token")
                if messages:
                    await self._keep(socket, sender, messages)
                if socket.unread > UNREAD_BYTES_MAX:
                    raise _Parting(1009, "a message in too many fragments", "protocol")
                await self._wait_for_room(sender)
                idle_at = loop.time() + self._bounds.idle_s
                if not socket.unread:
                    whole_by = math.inf
                elif messages or whole_by == math.inf:
                    whole_by = loop.time() + self._bounds.message_s
                async with asyncio.timeout_at(min(idle_at, whole_by)):
                    messages = await socket.receive()
                intake.bytes_held += socket.unread - held
                held = socket.unread
        except TimeoutError:
            if whole_by < idle_at:
                raise _Parting(1008, f"a message took more than {self._bounds.message_s:g} s", "slow") from None
            raise _Parting(1001, f"nothing came for {self._bounds.idle_s:g} s", "idle") from None
        finally:
            intake.bytes_held -= held

    async def _wait_for_room(self, sender: Sender) -> None:
        """Read no more while this process holds too much, or over a limit; the peer's own buffer waits meanwhile."""
        until = asyncio.get_running_loop().time() + self._bounds.room_s
        while (over := self._door.limits.over(sender)) or self._door.intake.bytes_held > BYTES_HELD_MAX:
            if asyncio.get_running_loop().time() > until:
                if over:
                    self._door.intake.count_limited(sender.tenant, over.limit)
                raise _Parting(1013, f"{over or 'too many bytes are in work'}: connect again", "full")
            await asyncio.sleep(AGAIN_S)

    async def _keep(self, socket: Socket, sender: Sender, messages: Sequence[bytes]) -> None:
        """Make all of it durable, or close; the log may have it all the same, later: the same ids come again."""
        size = sum(map(len, messages))
        self._door.intake.bytes_held += size
        try:
            keeping = asyncio.create_task(self._take(sender.tenant, await mapped(self._door.intake, messages)))
            try:
                if not (await asyncio.wait({keeping}, timeout=self._bounds.hold_s))[0]:
                    # What the log does not let go of stays counted, and so does the connection.
                    socket.close(1013, "the log does not take events now: connect again")
                    _log.warning("log takes no events", reason=f"an append took more than {self._bounds.hold_s:g} s")
                    await keeping
                    raise _Parting(1013, "", "log")
                await keeping
            finally:
                keeping.cancel()
        except Refused as refused:
            raise _Parting(1013, str(refused), "log") from None
        finally:
            self._door.intake.bytes_held -= size

    async def _take(self, tenant: str, events: Sequence[bytes | Unfit]) -> None:
        until = asyncio.get_running_loop().time() + self._bounds.hold_s - AGAIN_S
        while True:
            try:
                await self._door.take(tenant, events)
            except Refused:
                if asyncio.get_running_loop().time() > until:
                    raise
                await asyncio.sleep(AGAIN_S)
            else:
                return

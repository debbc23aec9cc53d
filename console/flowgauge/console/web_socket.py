"""WebSockets of the web server, as uvicorn asks for them: one object a connection.

The protocol itself is `websockets`, without its input and output. It answers pings and closes by itself, at once, into
a list; here that list is held until the application asks for more messages, and dropped when it closes
(producers/gateway/socket_port.py). One read of the socket is one batch, and nothing is read before the application is
done with it: what a connection holds is bounded, and the peer waits in its own TCP buffer.

    data_received ─► pause ─► receive: messages ─► application ─► receive: held answers leave ─► resume
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, cast
from urllib.parse import unquote

import structlog
import uvicorn
from starlette.types import ASGIApp, Message, Scope
from uvicorn.server import ServerState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from flowgauge.producers.gateway.socket_port import FRAGMENT_BYTES, MESSAGE_BYTES_MAX, SOCKET, Ended

LINGER_S = 2.0  # for the peer to read why it was closed; a socket closed with bytes unread would reset the connection
REASON_BYTES_MAX = 123  # what fits a close frame

_INTERNAL_ERROR = 1011
_FORBIDDEN = 403
_log = structlog.get_logger("flowgauge.web_socket")


class WebSocket(asyncio.Protocol):
    """A connection after its request to upgrade, and the `Socket` of the door that has it."""

    def __init__(self, config: uvicorn.Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        self._app = cast("ASGIApp", config.loaded_app)  # pyright: ignore[reportUnknownMemberType]  # uvicorn leaves it open
        self._app_state = app_state
        self._server = server_state
        self._subprotocol: Subprotocol | None = None
        # No extensions: compressed frames would cost us and the sender more CPU than they save, and a bound on each.
        self._conn = ServerProtocol(
            max_size=MESSAGE_BYTES_MAX, select_subprotocol=lambda _conn, _offered: self._subprotocol
        )
        self._transport: asyncio.Transport
        self._request: Request | None = None
        self._arrived: list[bytes] = []
        self._part = bytearray()  # of a message in fragments, and how many of them
        self._fragments = 0
        self._rest = 0  # bytes of a frame that has not come whole
        self.came = 0
        self._woken = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._is_lost = self._is_ending = self._is_closing = False
        self._linger: asyncio.TimerHandle | None = None
        self._status = _FORBIDDEN

    # What uvicorn and the event loop call.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self.client = transport.get_extra_info("peername")  # by which connections of one address are counted
        self._server.connections.add(cast("Any", self))  # uvicorn names its own classes there, and asks for `shutdown`

    def data_received(self, data: bytes) -> None:
        """Keep what came for the application, and read no more for now."""
        if self._is_closing:
            return
        self._transport.pause_reading()
        if self._request is None:
            self._begin(data)
        else:
            self._arrived.append(data)
            self._woken.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # the reason is nobody's here
        """End; what has arrived is still handed to the application."""
        self._server.connections.discard(cast("Any", self))
        if self._linger is not None:
            self._linger.cancel()
        self._is_lost = True
        self._woken.set()
        self._writable.set()

    def pause_writing(self) -> None:
        """Take no more from a peer that does not read our answers."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Go on."""
        self._writable.set()

    def shutdown(self) -> None:
        """Tell the application, once what has arrived is handed to it, that the process ends."""
        self._is_ending = True
        self._woken.set()
        if self._request is None:
            self._transport.close()

    # The Socket of the door.

    @property
    def unread(self) -> int:
        """How many bytes of a message have come that has not come whole, and FRAGMENT_BYTES for each fragment."""
        return self._rest + len(self._part) + FRAGMENT_BYTES * self._fragments

    def accept(self, subprotocol: str | None) -> None:
        """Let the peer in."""
        assert self._request is not None  # noqa: S101  # there is no application before a request
        self._subprotocol = None if subprotocol is None else Subprotocol(subprotocol)
        self._conn.send_response(self._conn.accept(self._request))
        self._release()

    def refuse(self, status: int, said: str) -> None:
        """Answer the upgrade over HTTP."""
        self._conn.send_response(self._conn.reject(status, said))
        self._release()

    async def receive(self) -> Sequence[bytes]:
        """Let the held answers leave, then return what has come since. Raises Ended."""
        self._release()
        await self._writable.wait()
        while not self._arrived:
            if self._is_lost or self._conn.state is not State.OPEN:
                raise Ended("client" if self._conn.parser_exc is None else "protocol")
            if self._is_ending:
                raise Ended("shutdown")
            self._woken.clear()
            self._transport.resume_reading()
            await self._woken.wait()
        data = b"".join(self._arrived)
        self._arrived.clear()
        self._conn.receive_data(data)
        frames = cast("list[Frame]", self._conn.events_received())
        self.came += len(data)
        # A head that came last, without its payload, is not seen; it is 14 bytes at most.
        self._rest = len(self._conn.reader.buffer) if frames else self._rest + len(data)
        return self._messages(frames)

    def say(self, text: str) -> None:
        """Send one text message, once what was received is done with."""
        if self._conn.state is State.OPEN:
            self._conn.send_text(text.encode())

    def close(self, code: int, said: str) -> None:
        """End the connection; what is held never leaves."""
        self._conn.data_to_send()
        if self._conn.state is State.OPEN:
            self._conn.send_close(code, said.encode()[:REASON_BYTES_MAX].decode(errors="ignore"))
        self._release()
        self._half_close()

    # How they come together.

    def _begin(self, data: bytes) -> None:
        self._conn.receive_data(data)
        events = self._conn.events_received()
        if not events:
            self._release()
            self._half_close()
            return
        self._request = cast("Request", events[0])
        task = asyncio.get_running_loop().create_task(self._run(self._request))
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)

    async def _run(self, request: Request) -> None:
        try:
            await self._app(self._scope(request), self._asgi_receive, self._asgi_send)
        except Exception:  # noqa: BLE001  # whatever it is, the peer is told, and the others are served
            _log.exception("a WebSocket's application failed")
            self.close(_INTERNAL_ERROR, "an error of this server")
        finally:
            if not self._is_closing:
                self._transport.abort()

    def _messages(self, frames: Iterable[Frame]) -> list[bytes]:
        messages: list[bytes] = []
        for frame in frames:
            if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                continue
            if frame.fin and not self._fragments:
                messages.append(bytes(frame.data))
                continue
            self._part += frame.data
            self._fragments += 1
            if frame.fin:
                messages.append(bytes(self._part))
                self._part.clear()
                self._fragments = 0
        return messages

    def _release(self) -> None:
        for piece in self._conn.data_to_send():
            if piece:
                self._transport.write(piece)
            else:
                self._half_close()

    def _half_close(self) -> None:
        """Say that no more comes, and read on without looking until the peer says so too, or LINGER_S have passed."""
        if self._is_closing or self._is_lost:
            return
        self._is_closing = True
        self._linger = asyncio.get_running_loop().call_later(LINGER_S, self._transport.abort)
        try:
            self._transport.write_eof()
        except OSError:  # the peer went while nothing was read, and answered our last bytes with a reset
            self._transport.abort()
        self._transport.resume_reading()

    def _scope(self, request: Request) -> Scope:
        path, _, query = request.path.partition("?")
        offered = ",".join(request.headers.get_all("sec-websocket-protocol"))
        return {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws",
            "server": self._transport.get_extra_info("sockname"),
            "client": self._transport.get_extra_info("peername"),
            "root_path": "",
            "path": unquote(path),
            "raw_path": path.encode("latin-1", "replace"),
            "query_string": query.encode("latin-1", "replace"),
            "headers": [
                (name.lower().encode("latin-1", "replace"), value.encode("latin-1", "replace"))
                for name, value in request.headers.raw_items()
            ],
            "subprotocols": [name for each in offered.split(",") if (name := each.strip())],
            "state": self._app_state.copy(),
            "extensions": {"websocket.http.response": {}, SOCKET: self},
        }

    # ASGI's own messages, for those who refuse before a door is reached: the guard, and the router of unknown paths.

    async def _asgi_receive(self) -> Message:
        return {"type": "websocket.connect"}

    async def _asgi_send(self, message: Message) -> None:
        match message["type"]:
            case "websocket.close":
                self.refuse(_FORBIDDEN, "no WebSocket is served here\n")
            case "websocket.http.response.start":
                self._status = message["status"]
            case "websocket.http.response.body":
                self.refuse(self._status, bytes(message.get("body", b"")).decode(errors="replace"))
            case other:
                raise RuntimeError(f"this server speaks through `Socket`, not {other!r}")

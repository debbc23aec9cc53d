"""The server's side of a WebSocket on real connections: frames that no library would send, and peers that go away."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest
from starlette.types import Receive, Scope, Send
from tests.integration.test_slow_senders import SOON, closed, dribble
from websockets.frames import Frame, Opcode

from flowgauge.console.bounded_http import BOUNDS, ConnectionBounds
from flowgauge.console.listening import Server, server_of
from flowgauge.producers.gateway.socket_port import SOCKET, Ended, Socket

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

PATIENT = 30.0  # what takes milliseconds on an idle machine
UPGRADE = (
    b"GET /in HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
PONG = b"\x8a\x00"


@contextlib.asynccontextmanager
async def serving(
    app: Callable[[Socket], Awaitable[None]], bounds: ConnectionBounds = BOUNDS
) -> AsyncGenerator[tuple[int, Server]]:
    """Serve WebSockets by `app` on loopback; yield the port, and the server."""

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:  # Socket has both
        await app(scope["extensions"][SOCKET])

    server = server_of(asgi, bounds)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[listening]))
            yield int(listening.getsockname()[1]), server
            server.should_exit = True


@contextlib.asynccontextmanager
async def upgraded(port: int, behind: bytes = b"") -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect; `behind` goes in one piece with the upgrade."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(UPGRADE + behind)
    async with asyncio.timeout(PATIENT):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        try:
            yield reader, writer
        finally:
            writer.close()


def frame(opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin=fin).serialize(mask=True)


async def keeping(connection: Socket) -> None:
    """Answer pings, and keep nothing."""
    connection.accept(None)
    try:
        while True:
            await connection.receive()
    except Ended:
        connection.close(1000, "")


async def test_a_peer_that_is_gone_when_we_close_leaves_no_connection() -> None:
    arrived, gone, over = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def app(connection: Socket) -> None:
        connection.accept(None)
        await connection.receive()  # the socket is read no further now, so nobody sees that the peer goes
        arrived.set()
        await gone.wait()
        try:
            connection.close(1013, "come again")
        finally:
            over.set()

    async with serving(app) as (port, server):
        async with upgraded(port) as (_, writer):
            writer.write(frame(Opcode.TEXT, b"event"))
            await arrived.wait()
            writer.close()
            await writer.wait_closed()
            gone.set()
            await over.wait()
        for _ in range(3):
            await asyncio.sleep(0)  # the loop tells a protocol that its connection is lost in a turn of its own
        left = len(server.server_state.connections)

    assert left == 0


async def test_a_websocket_outlives_the_deadlines_of_requests() -> None:
    before = closed("body")
    async with serving(keeping, SOON) as (port, _), upgraded(port) as (reader, writer):
        await dribble(port, b"GET / HTTP/1.1\r\n", lambda: b"")  # as long as a head, and a body, may take
        writer.write(frame(Opcode.PING))
        assert await reader.readexactly(2) == PONG

    assert closed("body") == before


async def test_frames_in_one_piece_with_the_upgrade_are_read() -> None:
    read: list[bytes] = []

    async def app(connection: Socket) -> None:
        connection.accept(None)
        with contextlib.suppress(Ended):
            while True:
                read.extend(await connection.receive())

    behind = frame(Opcode.TEXT, b"event") + frame(Opcode.PING)
    async with serving(app) as (port, _), upgraded(port, behind) as (reader, _):
        assert await reader.readexactly(2) == PONG

    assert read == [b"event"]

"""Receivers on loopback that behave as badly as told, and resolvers that answer as told."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

import trustme

from flowgauge.sinks.webhooks.egress import Resolver

DEADLINE_MS = 10_000
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Reply = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(
    handle: Reply, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[int]:
    """Serve on loopback and give the port; at the end every connection was handled to its end."""
    handled: list[asyncio.Task[None]] = []

    async def handle_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            await handle(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handled.append(asyncio.ensure_future(handle_one(reader, writer)))

    server = await asyncio.start_server(connected, host, port, ssl=tls)
    async with server:
        yield int(server.sockets[0].getsockname()[1])
    await asyncio.gather(*handled)


class Receiver:
    """A server that keeps each request and replies as told."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.requests: list[bytes] = []

    def running(
        self, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> contextlib.AbstractAsyncContextManager[int]:
        return serving(self._serve, host=host, port=port, tls=tls)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
        self.requests.append(head + await reader.readexactly(length))
        await self.reply(reader, writer)


def saying(data: bytes) -> Reply:
    async def reply(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return reply


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Hold the connection until the other side leaves."""
    await reader.read()


async def endless(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"x" * 4_096)
        await writer.drain()


async def dripping(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.01)


def resolving(*answers: Sequence[str]) -> Resolver:
    """Answer each question with the next list of addresses, and the last one for ever."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(f"{host}:{port}")
        return answers[min(len(asked), len(answers)) - 1]

    return resolve


def shown_by(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """Give what a server has that shows this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)  # pyright: ignore[reportUnknownMemberType]  # it knows contexts of pyOpenSSL too
    return context


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """Give what a client has that trusts nobody else."""
    context = ssl.create_default_context()
    authority.configure_trust(context)  # pyright: ignore[reportUnknownMemberType]  # as above
    return context


async def unresolvable(host: str, port: int) -> Sequence[str]:
    raise OSError("no such name")

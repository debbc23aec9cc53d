"""A service of somebody else on loopback: every request is answered as told, on its bad days as well."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

HTML_PAGE = b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass(frozen=True)
class Request:
    """One POST that came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def arguments(self) -> dict[str, Any]:
        """The JSON object that it carries."""
        return dict(json.loads(self.body))


Answer = Callable[[Request], bytes]
HANGS = b""  # an answer that never comes


def http(status: int, body: bytes | str | dict[str, object] = b"", **headers: str) -> bytes:
    """Return a whole answer: JSON for a dict; `retry_after="7"` is the header Retry-After."""
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    text = body.encode() if isinstance(body, str) else body
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} Told", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join([*lines, f"content-length: {len(text)}", "", ""]).encode() + text


@contextlib.asynccontextmanager
async def serving(answer: Answer) -> AsyncGenerator[int]:
    """Serve on loopback and give the port; at the end every connection was handled to its end."""
    handled: list[asyncio.Task[None]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:])}
            body = await reader.readexactly(int(headers["content-length"]))
            said = answer(Request(head[0].split(" ")[1], headers, body))
            if said == HANGS:
                await reader.read()  # until the other side leaves
            writer.write(said)
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handled.append(asyncio.ensure_future(handle(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield int(server.sockets[0].getsockname()[1])
    await asyncio.gather(*handled)

"""Services that take alerts, on loopback: they refuse what the real ones refuse, and have bad days as told."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.integration.egress_servers import Reply, serving

from flowgauge.sinks.webhooks.addresses import EgressPolicy
from flowgauge.sinks.webhooks.channels import Channel, parse_channels
from flowgauge.sinks.webhooks.egress import Egress
from flowgauge.sinks.webhooks.kinds.kind import ChannelKind, Means

NOW_MS = 1_800_000_000_000


@dataclass(frozen=True)
class Request:
    """What came."""

    path: str
    headers: Mapping[str, str]
    body: Any  # decoded


@dataclass
class Service:
    """Answers with what `judge` says, unless a bad day's reply stands in line."""

    judge: Callable[[Request], tuple[int, object]]
    bad_days: list[Reply] = field(default_factory=list[Reply])
    requests: list[Request] = field(default_factory=list[Request])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        request = Request(line.split(" ")[1], headers, json.loads(body))
        self.requests.append(request)
        if self.bad_days:
            await self.bad_days.pop(0)(reader, writer)
            return
        status, answer = self.judge(request)
        text = b"" if answer is None else json.dumps(answer).encode()
        writer.write(
            b"HTTP/1.1 %d So\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % (status, len(text))
        )
        writer.write(b"Connection: close\r\n\r\n" + text)
        await writer.drain()


@contextlib.asynccontextmanager
async def running(service: Service) -> AsyncGenerator[int]:
    async with serving(service.serve) as port:
        yield port


def channel_of(yaml: str, *, name: str = "oncall") -> Channel:
    """Return a channel whose kind is written in flow style, such as `webhook: {…}`."""
    (channel,) = parse_channels("c.yaml", f"channels:\n- name: {name}\n  {yaml}").channels
    return channel


def kind_of(yaml: str) -> ChannelKind:
    """Return the kind of a channel, written in flow style."""
    return channel_of(yaml).kind


def means_for(kind: ChannelKind, **secrets: str) -> Means:
    """Return what an attempt may use: loopback, and the secrets by their fields."""
    egress = Egress(EgressPolicy(allow=("127.0.0.1",)))
    return Means(egress, lambda: NOW_MS, {kind.references[name]: secret for name, secret in secrets.items()})


def unavailable(status: int, *headers: bytes) -> Reply:
    """Answer with `status` and nothing else."""
    head = b"\r\n".join([b"HTTP/1.1 %d Bad Day" % status, *headers, b"Content-Length: 0", b"Connection: close"])

    async def reply(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head + b"\r\n\r\n")
        await writer.drain()

    return reply

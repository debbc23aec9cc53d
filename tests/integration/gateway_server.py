"""A real gateway over a real log on loopback, for the tests of both ends."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware

from flowgauge.console.listening import server_of
from flowgauge.console.web.guard import Guard
from flowgauge.producers.gateway import gateway_routes
from flowgauge.producers.gateway.door import Door
from flowgauge.producers.gateway.hooks import HookOf
from flowgauge.producers.gateway.intake import Intake
from flowgauge.producers.gateway.limits import Limits, no_limits
from flowgauge.producers.gateway.prefect_sockets import SocketBounds, prefect_sockets
from flowgauge.producers.tokens import TokenTable
from flowgauge.schemas.delivery import DeadLetter, decode_dead_letter
from flowgauge.schemas.event import Event, decode_event
from flowgauge.schemas.topics import DLQ, EVENTS, RecordKind
from flowgauge.transport import wall_clock
from flowgauge.transport.health import Health
from flowgauge.transport.local import LocalLog, open_local_log

READ_MAX = 100_000  # more records than any of these tests writes


@dataclass(frozen=True)
class Running:
    """Where the gateway listens, and what it wrote."""

    url: str
    log: LocalLog
    health: Health
    tokens: TokenTable

    async def events(self) -> list[Event]:
        """Return the events of all partitions."""
        return [decode_event(value) for value in await self._values(EVENTS)]

    async def letters(self) -> list[DeadLetter]:
        """Return the dead letters of all partitions."""
        return [decode_dead_letter(value) for value in await self._values(DLQ)]

    async def _values(self, topic: str) -> list[bytes]:
        values: list[bytes] = []
        for partition in range(self.log.partitions(topic)):
            offset = 0
            while records := await self.log.read(topic, partition, offset, READ_MAX):  # a read is bounded by bytes too
                values += [r.value for r in records if r.value is not None and r.kind is RecordKind.EVENT]
                offset = records[-1].offset + 1
        return values


@contextlib.asynccontextmanager
async def running_gateway(
    folder: Path,
    *,
    tokens: Mapping[str, str] | None = None,
    partitions: int = 1,
    page_count_max: int | None = None,
    port: int = 0,
    hook_of: HookOf = lambda _name: None,
    limits: Limits | None = None,
    now_ms: Callable[[], int] = wall_clock.now_ms,
    sockets: SocketBounds | None = None,
) -> AsyncGenerator[Running, None]:
    """Serve on a free port of loopback (or on `port`); connections that come at once wait in the backlog.

    `sockets` are the bounds of Prefect's WebSockets, where a test cannot wait for the usual ones.
    """
    log = await open_local_log(
        folder, partitions={EVENTS: partitions, DLQ: 1}, page_count_max=page_count_max, now_ms=now_ms
    )
    health = Health()
    table = TokenTable(tokens)
    door = Door(Intake(log, health, now_ms), table, limits or no_limits())
    bounded = [prefect_sockets(door, sockets)] if sockets else []
    app = Starlette(
        routes=[
            *bounded,
            *gateway_routes(log, tokens=table, health=health, limits=limits, hook_of=hook_of, now_ms=now_ms),
        ],
        middleware=[Middleware(Guard, only_loopback=True)],
    )
    listener = socket.create_server(("127.0.0.1", port))
    server = server_of(app)
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[listener]))
        try:
            yield Running(f"http://127.0.0.1:{listener.getsockname()[1]}", log, health, table)
        finally:
            server.should_exit = True
    await log.close()


encode = msgspec.json.Encoder().encode

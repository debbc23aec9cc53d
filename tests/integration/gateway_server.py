"""A real gateway over a real log on loopback, for the tests of both ends."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import uvicorn
from starlette.applications import Starlette

from flowgauge.producers.gateway import gateway_routes
from flowgauge.producers.gateway.limits import Limits
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

    async def events(self) -> list[Event]:
        """Return the events of all partitions."""
        return [decode_event(value) for value in await self._values(EVENTS)]

    async def letters(self) -> list[DeadLetter]:
        """Return the dead letters of all partitions."""
        return [decode_dead_letter(value) for value in await self._values(DLQ)]

    async def _values(self, topic: str) -> list[bytes]:
        values: list[bytes] = []
        for partition in range(self.log.partitions(topic)):
            records = await self.log.read(topic, partition, 0, READ_MAX)
            values += [r.value for r in records if r.value is not None and r.kind is RecordKind.EVENT]
        return values


@contextlib.asynccontextmanager
async def running_gateway(
    folder: Path,
    *,
    tokens: Mapping[str, str] | None = None,
    partitions: int = 1,
    page_count_max: int | None = None,
    port: int = 0,
    limits: Limits | None = None,
    now_ms: Callable[[], int] = wall_clock.now_ms,
) -> AsyncGenerator[Running, None]:
    """Serve on a free port of loopback (or on `port`); connections that come at once wait in the backlog."""
    log = await open_local_log(
        folder, partitions={EVENTS: partitions, DLQ: 1}, page_count_max=page_count_max, now_ms=now_ms
    )
    health = Health()
    routes = gateway_routes(log, tokens=TokenTable(tokens), health=health, limits=limits, now_ms=now_ms)
    app = Starlette(routes=routes)
    listener = socket.create_server(("127.0.0.1", port))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[listener]))
        try:
            yield Running(f"http://127.0.0.1:{listener.getsockname()[1]}", log, health)
        finally:
            server.should_exit = True
    await log.close()


encode = msgspec.json.Encoder().encode

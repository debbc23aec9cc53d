"""A gateway on a log and nothing else: its CPU time at `/cpu`, how many distinct events it holds at `/distinct`.

`python -m benchmarks.server FOLDER` has its log there, `python -m benchmarks.server FOLDER BOOTSTRAP PREFIX` in Kafka.
Prints its address in a line, and ends when its standard input does.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.sockets import address_of, listening
from flowgauge.console.ending import run_as_process
from flowgauge.console.listening import server_of
from flowgauge.producers.gateway import gateway_routes
from flowgauge.producers.tokens import TokenTable
from flowgauge.schemas.event import decode_event
from flowgauge.schemas.topics import DLQ, EVENTS, RecordKind
from flowgauge.transport.health import Health
from flowgauge.transport.kafka import open_kafka_log
from flowgauge.transport.kafka_client import Connection
from flowgauge.transport.local import open_local_log
from flowgauge.transport.log import Log

READ_RECORDS: Final = 10_000  # at once


async def serve(folder: Path, *kafka: str) -> None:
    """Serve until standard input ends."""
    log = await _log(folder, *kafka)
    routes = gateway_routes(log, tokens=TokenTable(), health=Health())
    app = Starlette(routes=[*routes, Route("/cpu", _cpu), Route("/distinct", _distinct(log))])
    server = server_of(app)
    with listening() as socket:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(sockets=[socket]))
            print(address_of(socket), flush=True)
            await asyncio.to_thread(sys.stdin.read)
            server.should_exit = True
    await log.close()


async def _log(folder: Path, bootstrap: str = "", prefix: str = "") -> Log:
    if bootstrap:
        return await open_kafka_log(Connection(bootstrap=bootstrap, prefix=prefix))
    return await open_local_log(folder, partitions={EVENTS: 1, DLQ: 1})


async def _cpu(_request: Request) -> Response:
    return Response(msgspec.json.encode(time.process_time()), media_type="application/json")


def _distinct(log: Log) -> Callable[[Request], Awaitable[Response]]:
    async def distinct(_request: Request) -> Response:
        ids: set[UUID] = set()
        for partition in range(log.partitions(EVENTS)):
            offset = 0
            while records := await log.read(EVENTS, partition, offset, READ_RECORDS):
                offset = records[-1].offset + 1
                ids.update(decode_event(r.value).id for r in records if r.value and r.kind is RecordKind.EVENT)
        return Response(msgspec.json.encode(len(ids)), media_type="application/json")

    return distinct


if __name__ == "__main__":
    asyncio.run(run_as_process(serve(Path(sys.argv[1]), *sys.argv[2:])))

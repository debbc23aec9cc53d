"""Connections that dribble, stall or are too many, on real sockets: they end, and others are served meanwhile."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from tests.integration.gateway_server import encode
from tests.integration.test_gateway import JSON, event

from flowgauge.console.bounded_http import ConnectionBounds, bounds_of
from flowgauge.console.listening import server_of
from flowgauge.console.metrics import CLOSED_CONNECTIONS
from flowgauge.producers.gateway import gateway_routes
from flowgauge.producers.tokens import TokenTable
from flowgauge.schemas.setting_parts import LimitSettings
from flowgauge.schemas.topics import DLQ, EVENTS
from flowgauge.transport.health import Health
from flowgauge.transport.local import open_local_log

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

SOON = ConnectionBounds(head_s=0.2, body_s=0.2, reader_s=0.2)
LONG = 60.0  # as a deadline: never, in a test
HEAD = b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
LARGE = 64 * 1_048_576  # more than the buffers of both sockets


async def large(request: Request) -> Response:  # the same for all
    return PlainTextResponse(b"x" * LARGE)


@contextlib.asynccontextmanager
async def serving(folder: Path, bounds: ConnectionBounds) -> AsyncGenerator[int]:
    """Serve a gateway within `bounds` on loopback; return its port."""
    log = await open_local_log(folder, partitions={EVENTS: 1, DLQ: 1})
    routes = gateway_routes(log, tokens=TokenTable(), health=Health())
    server = server_of(Starlette(routes=[*routes, Route("/large", large)]), bounds)
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[listening]))
            yield int(listening.getsockname()[1])
            server.should_exit = True
    await log.close()


async def is_served(port: int) -> bool:
    async with httpx2.AsyncClient(timeout=30, trust_env=False) as client:
        answer = await client.post(f"http://127.0.0.1:{port}/v1/events", content=encode([event(1)]), headers=JSON)
    return answer.status_code == 200


async def dribble(port: int, first: bytes, then: Callable[[], bytes]) -> bytes:
    """Send `first`, then a little now and then, until the server ends it; return what it answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(first)
    answer = asyncio.create_task(reader.read())
    with contextlib.suppress(ConnectionError):
        while not (await asyncio.wait({answer}, timeout=0.02))[0]:
            writer.write(then())
            await writer.drain()
    with contextlib.suppress(ConnectionError):
        writer.close()
        await writer.wait_closed()
    try:
        return await answer
    except ConnectionError:
        return b""


def closed(reason: str) -> float:
    (found,) = CLOSED_CONNECTIONS.labels(reason).collect()
    return next(each.value for each in found.samples if each.name.endswith("_total"))


@pytest.mark.parametrize(
    ("reason", "first", "then"),
    [
        ("head", b"", b""),
        ("head", HEAD, b"x-a: b\r\n"),
        ("head", b"G", b""),
        ("body", HEAD + b"content-length: 1000000\r\n\r\n", b"["),
        ("body", HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        ("body", HEAD + b"content-length: 99999999\r\n\r\n", b"["),  # refused with 413 at once, and goes on sending
    ],
    ids=["silence", "headers for ever", "one byte", "body", "chunks for ever", "refused body"],
)
async def test_who_sends_slowly_is_ended_and_others_are_served_meanwhile(
    tmp_path: Path, reason: str, first: bytes, then: bytes
) -> None:
    before = closed(reason)
    async with serving(tmp_path, SOON) as port:
        slow = [asyncio.create_task(dribble(port, first, lambda: then)) for _ in range(50)]
        served = [await is_served(port) for _ in range(5)]
        answers = await asyncio.gather(*slow)

    assert served == [True] * 5
    assert closed(reason) - before == 50
    assert {answer.partition(b"\r\n")[0] for answer in answers} <= {b"", b"HTTP/1.1 413 "} | {
        b"HTTP/1.1 413 Content Too Large",
        b"HTTP/1.1 413 Request Entity Too Large",
    }


async def test_a_second_request_of_a_connection_has_its_deadline_from_its_first_byte(tmp_path: Path) -> None:
    body = encode([event(1)])
    whole = HEAD + b"content-length: %d\r\n\r\n%b" % (len(body), body)
    async with serving(tmp_path, SOON) as port:
        answer = await dribble(port, whole + HEAD, lambda: b"x-a: b\r\n")

    assert answer.count(b"HTTP/1.1 200 OK") == 1


@pytest.mark.parametrize(
    ("reason", "behind"),
    [("body", b"content-length: 10\r\n\r\n["), ("head", b"")],
    ids=["body", "head"],
)
async def test_a_request_sent_ahead_that_stalls_has_its_deadline_once_its_turn_comes(
    tmp_path: Path, reason: str, behind: bytes
) -> None:
    body = encode([event(1)])
    whole = HEAD + b"content-length: %d\r\n\r\n%b" % (len(body), body)
    before = closed(reason)
    async with serving(tmp_path, SOON) as port:
        answer = await dribble(port, whole + HEAD + behind, lambda: b"")

    assert (answer.count(b"HTTP/1.1 200 OK"), closed(reason) - before) == (1, 1)


async def test_who_takes_nothing_of_an_answer_is_ended(tmp_path: Path) -> None:
    before = closed("reader")
    async with serving(tmp_path, replace(SOON, head_s=LONG)) as port:
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.sendall(b"GET /large HTTP/1.1\r\nhost: localhost\r\n\r\n")
            while closed("reader") == before:
                assert await is_served(port)


async def test_an_idle_connection_between_two_requests_is_no_slow_sender(tmp_path: Path) -> None:
    body = encode([event(1)])
    whole = HEAD + b"content-length: %d\r\n\r\n%b" % (len(body), body)
    async with serving(tmp_path, replace(SOON, body_s=LONG)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(whole)
        assert b"200 OK" in await reader.readuntil(b"\r\n")
        await dribble(port, b"", lambda: b"")  # as long as a head may take
        writer.write(whole)
        assert b"200 OK" in (await reader.readuntil(b"HTTP/1.1 200 OK\r\n"))[-30:]
        writer.close()


@pytest.mark.parametrize(
    ("reason", "bounds"),
    [("full", {"connections": 3}), ("address", {"of_address": 3})],
)
async def test_one_connection_too_many_is_told_to_come_again_and_room_comes_back(
    tmp_path: Path, reason: str, bounds: dict[str, int]
) -> None:
    before = closed(reason)
    async with serving(tmp_path, replace(ConnectionBounds(head_s=LONG), **bounds)) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head, _, said = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        for _, each in held:
            each.close()
            await each.wait_closed()
        served = await is_served(port)

    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n")
    assert json.loads(said) == {"error": "too many connections are open: come again"}
    assert (served, closed(reason) - before) == (True, 1)


async def test_a_head_without_end_is_refused_by_its_size(tmp_path: Path) -> None:
    async with serving(tmp_path, ConnectionBounds()) as port:
        answer = await dribble(port, HEAD, lambda: b"x-a: " + b"b" * 4_000 + b"\r\n")

    assert answer.startswith(b"HTTP/1.1 400 ")


def test_the_settings_bound_connections_and_else_what_the_system_lets_a_process_hold() -> None:
    assert bounds_of(LimitSettings(connections=7)).of_address == 3
    assert bounds_of(LimitSettings(connections=7, address_connections=7)).of_address == 7
    assert 1 <= bounds_of(LimitSettings()).connections <= 10_000

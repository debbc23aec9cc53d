"""Receivers that behave as badly as they can: each attempt ends, in bounded time and memory, with the right verdict."""

import asyncio
import gzip
import socket
import struct
from collections.abc import Callable

import pytest
from tests.integration.egress_servers import DEADLINE_MS, OK, Receiver, resolving, saying

from flowgauge.sinks.webhooks.addresses import EgressPolicy
from flowgauge.sinks.webhooks.egress import ANSWER_BYTES_MAX, Answer, Egress, EgressFailed, Failure

pytestmark = pytest.mark.integration

# What may be under way when we have left: ours to read, and the buffers of both sockets on loopback.
UNDER_WAY_BYTES_MAX = 16 * 1024 * 1024


class Flood:
    """Sends a beginning, then a piece again and again for as long as somebody takes it."""

    def __init__(self, beginning: bytes, piece: bytes) -> None:
        self.beginning = beginning
        self.piece = piece * (1 + 8_192 // len(piece))
        self.sent_bytes = 0

    async def __call__(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.beginning)
        while not writer.is_closing():
            writer.write(self.piece)
            await writer.drain()
            self.sent_bytes += len(self.piece)
            await asyncio.sleep(0)


def trickle(data: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], asyncio.Future[None]]:
    async def reply(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in data:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.01)

    return lambda reader, writer: asyncio.ensure_future(reply(reader, writer))


async def post(port: int, *, deadline_ms: int = DEADLINE_MS) -> Answer:
    egress = Egress(EgressPolicy(allow=(f"127.0.0.1:{port}",)))
    return await egress.post(f"http://127.0.0.1:{port}/", b"{}", {}, deadline_ms=deadline_ms)


@pytest.mark.parametrize(
    "flood",
    [
        Flood(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        Flood(b"HTTP/1.1 200 OK\r\nX: ", b"y"),
        Flood(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;", b"x"),
        Flood(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0" * 100),
        Flood(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
        Flood(b"HTTP/1.1 ", b"2"),
        Flood(b"", b"\x00"),
    ],
    ids=["headers", "header", "chunk extension", "chunk size", "trailers", "status", "nulls"],
)
async def test_an_answer_that_never_ends_before_its_body_is_no_http(flood: Flood) -> None:
    async with Receiver(flood).running() as port:
        with pytest.raises(EgressFailed) as caught:
            await post(port)

    assert caught.value.reason is Failure.PROTOCOL
    assert flood.sent_bytes < UNDER_WAY_BYTES_MAX


@pytest.mark.parametrize(
    "beginning",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 500 No\r\nContent-Encoding: gzip\r\n\r\n",
    ],
    ids=["until it closes", "as long as it says", "compressed"],
)
async def test_a_body_that_never_ends_is_cut_and_left(beginning: bytes) -> None:
    flood = Flood(beginning, b"x")
    async with Receiver(flood).running() as port:
        answer = await post(port)

    assert answer.body == b"x" * ANSWER_BYTES_MAX
    assert flood.sent_bytes < UNDER_WAY_BYTES_MAX


async def test_a_receiver_that_says_go_on_for_ever_is_left_at_the_deadline() -> None:
    async with Receiver(Flood(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n")).running() as port:
        with pytest.raises(EgressFailed) as caught:
            await post(port, deadline_ms=300)

    assert (caught.value.reason, caught.value.retryable) == (Failure.TIMEOUT, True)


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000, OK.replace(b"Length: 2", b"Length: 999") + b"k" * 997]
)
async def test_a_receiver_that_drips_bytes_is_left_at_the_deadline(data: bytes) -> None:
    async with Receiver(trickle(data)).running() as port:
        with pytest.raises(EgressFailed) as caught:
            await post(port, deadline_ms=300)

    assert (caught.value.reason, caught.value.retryable) == (Failure.TIMEOUT, True)


async def test_a_bomb_of_zeros_stays_as_small_as_it_came() -> None:
    bomb = gzip.compress(bytes(100 * 1024 * 1024), compresslevel=1)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    async with Receiver(saying(head + bomb)).running() as port:
        answer = await post(port)

    assert answer.body == bomb[:ANSWER_BYTES_MAX]


@pytest.mark.parametrize("answer", [b"", OK[:30]], ids=["silently", "half-way through its answer"])
async def test_a_receiver_that_resets_after_it_took_the_request_may_have_seen_it_and_is_told_again(
    answer: bytes,
) -> None:
    async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    receiver = Receiver(reset)
    async with receiver.running() as port:
        with pytest.raises(EgressFailed) as caught:
            await post(port)

    assert (caught.value.reason, caught.value.retryable) == (Failure.CUT_SHORT, True)
    assert len(receiver.requests) == 1


async def test_a_second_answer_sent_ahead_is_nobodys_and_the_connection_is_closed() -> None:
    left: list[bytes] = []

    async def ahead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kept = OK.replace(b"\r\n", b"\r\nConnection: keep-alive\r\n", 1)
        writer.write(kept + kept.replace(b"200 OK", b"410 Gone"))
        await writer.drain()
        left.append(await reader.read())

    receiver = Receiver(ahead)
    async with receiver.running() as port:
        egress = Egress(EgressPolicy(allow=(f"127.0.0.1:{port}",)), resolve=resolving(["127.0.0.1"]))
        answers = [
            await egress.post(f"http://{tenant}.example:{port}/", b"{}", {}, deadline_ms=DEADLINE_MS)
            for tenant in ("acme", "other", "acme")
        ]

    assert [answer.status for answer in answers] == [200, 200, 200]
    assert left == [b"", b"", b""]


async def test_a_redirect_to_the_metadata_service_reaches_nobody_there() -> None:
    elsewhere = Receiver(saying(OK))
    async with elsewhere.running(host="127.0.0.2") as there:
        away = b"HTTP/1.1 307 No\r\nLocation: http://127.0.0.2:%d/\r\nRefresh: 0; url=http://127.0.0.2:%d/\r\n"
        receiver = Receiver(saying(away % (there, there) + b"Content-Length: 0\r\n\r\n"))
        async with receiver.running() as port:
            answer = await post(port)

    assert answer.status == 307
    assert (len(receiver.requests), elsewhere.requests) == (1, [])

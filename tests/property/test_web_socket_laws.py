"""Laws of a WebSocket whose answers are held, however the bytes are cut, and wherever the application gives up.

sent      m  m  P2  m  P3  …        Pn: a ping that says how many messages came before it
law 1     messages arrive whole, once, in order
law 2     when Pn is answered, n messages are durable
law 3     every ping is answered when all goes well
law 4     nothing is delivered while reading is paused
law 5     `unread` is what came since a message ended, in whatever form frames say their length, with no more besides
          than FRAGMENT_BYTES for each fragment
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.server import ServerState
from websockets.frames import Frame, Opcode

from flowgauge.console.web_socket import WebSocket
from flowgauge.producers.gateway.socket_port import FRAGMENT_BYTES, SOCKET, Ended, Socket

HEAD = (
    b"GET /in HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
HEAD_BYTES_MAX = 14  # of a frame
PONG = 0x8A  # the first byte of one

message = st.binary(max_size=300).map(lambda payload: [payload])
FRAGMENTS_MAX = 3
fragmented = st.lists(st.binary(max_size=40), min_size=2, max_size=FRAGMENTS_MAX)
ping = st.none()


class Line(asyncio.Transport):
    """A transport that brings `chunks`, one at a time and never while reading is paused, and keeps what is written."""

    def __init__(self, chunks: Sequence[bytes], durable: Sequence[bytes]) -> None:
        super().__init__()
        self.protocol: WebSocket
        self.answered: list[tuple[int, int]] = []  # for each pong: what it says, and how many were durable then
        self._chunks = list(chunks)
        self._durable = durable
        self._is_paused = False
        self._is_over = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ARG002  # asyncio's signature
        return None

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        asyncio.get_running_loop().call_soon(self._bring)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if data[0] == PONG:
            self.answered.append((int(bytes(data[2:])), len(self._durable)))

    def write_eof(self) -> None:
        """Take it."""

    def abort(self) -> None:
        if not self._is_over:
            self._is_over = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    close = abort

    def _bring(self) -> None:
        if self._is_paused or self._is_over:
            return
        if self._chunks:
            self.protocol.data_received(self._chunks.pop(0))
            self._bring()
        else:
            self.abort()


@dataclass
class Keeper:
    """An application that makes batches durable after a while, and closes instead at the batch `gives_up_at`."""

    gives_up_at: int | None
    durable: list[bytes] = field(default_factory=list[bytes])
    unread: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])  # after so many bytes, so many

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002  # Socket has both
        socket: Socket = scope["extensions"][SOCKET]
        socket.accept(None)
        batches = 0
        try:
            while True:
                messages = await socket.receive()
                self.unread.append((socket.came, socket.unread))
                if messages and batches == self.gives_up_at:
                    socket.close(1013, "come again")
                    return
                batches += bool(messages)
                for _ in range(batches % 3):
                    await asyncio.sleep(0)
                self.durable += messages
        except Ended:
            socket.close(1000, "")


def frame(opcode: Opcode, data: bytes, form: int, *, fin: bool = True) -> bytes:
    """Return a frame that says its length in `form` bytes, more than it takes; 0: in the shortest form."""
    if not form:
        return Frame(opcode, data, fin=fin).serialize(mask=True)
    head = bytes([fin << 7 | opcode, 0x80 | (126 if form == 2 else 127)])
    return head + len(data).to_bytes(form, "big") + bytes(4) + data


@dataclass
class Written:
    """Messages and pings as bytes, the messages, how many of them are before each ping, and where the items end."""

    wire: bytes = b""
    messages: list[bytes] = field(default_factory=list[bytes])
    pings: list[int] = field(default_factory=list[int])
    ends: list[int] = field(default_factory=lambda: [0])

    def end_before(self, at: int) -> int:
        return max(end for end in self.ends if end <= at)


def written(items: Sequence[list[bytes] | None], forms: Sequence[int]) -> Written:
    done, form = Written(), cycle(forms)
    for item in items:
        if item is None:
            done.pings.append(len(done.messages))
            done.wire += frame(Opcode.PING, b"%d" % len(done.messages), next(form))
        else:
            done.messages.append(b"".join(item))
            for place, part in enumerate(item):
                opcode = Opcode.CONT if place else Opcode.TEXT
                done.wire += frame(opcode, part, next(form), fin=place == len(item) - 1)
        done.ends.append(len(done.wire))
    return done


def cut(wire: bytes, sizes: Sequence[int]) -> list[bytes]:
    """Return the bytes in pieces of these sizes, again and again."""
    pieces, at = list[bytes](), 0
    for size in cycle(sizes):
        if at >= len(wire):
            return pieces
        pieces.append(wire[at : at + size])
        at += size
    return pieces


async def carried(chunks: Sequence[bytes], gives_up_at: int | None) -> tuple[Keeper, Line]:
    keeper, state = Keeper(gives_up_at), ServerState()
    config = uvicorn.Config(keeper, lifespan="off", log_config=None)
    config.load()
    line = Line(chunks, keeper.durable)
    line.protocol = WebSocket(config, state, {})
    line.protocol.connection_made(line)
    line.protocol.data_received(HEAD)
    await asyncio.gather(*state.tasks)
    line.abort()
    await asyncio.sleep(0)
    assert state.connections == set()
    return keeper, line


@given(
    st.lists(message | fragmented | ping, max_size=12),
    st.lists(st.integers(1, 200), min_size=1, max_size=5),
    st.none() | st.integers(0, 3),
    st.lists(st.sampled_from([0, 2, 8]), min_size=1, max_size=5),
)
def test_a_pong_never_leaves_before_what_came_before_its_ping_is_durable(
    items: list[list[bytes] | None], sizes: list[int], gives_up_at: int | None, forms: list[int]
) -> None:
    sent = written(items, forms)

    keeper, line = asyncio.run(carried(cut(sent.wire, sizes), gives_up_at))

    assert keeper.durable == sent.messages[: len(keeper.durable)]
    assert all(durable >= said for said, durable in line.answered)
    assert [said for said, _ in line.answered] == sent.pings[: len(line.answered)]
    for came, unread in keeper.unread:
        since = came - sent.end_before(came)
        assert since - HEAD_BYTES_MAX <= unread <= since + FRAGMENTS_MAX * FRAGMENT_BYTES * bool(since)
    if gives_up_at is None:
        assert keeper.durable == sent.messages
        assert len(line.answered) == len(sent.pings)

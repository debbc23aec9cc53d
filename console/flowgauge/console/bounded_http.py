"""HTTP connections within bounds: who sends or reads too slowly, or opens too many, does not keep others out.

    head      a request's first line and headers, from the connection's first moment or the request's first byte
    body      its body, from the end of the head; the gateway's own bound is shorter and has an answer
    reader    an answer of which nothing is taken
    full      connections open at a time            } one more is answered 503 and closed
    address   of them from one address              }

Each deadline is one timer that bytes do not move on: a byte now and then gains nothing. uvicorn has none of its own but
that between two requests. A head is bounded in size too, by h11, and so are requests sent ahead: reading pauses.
"""

import asyncio
import resource
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from flowgauge.console.metrics import CLOSED_CONNECTIONS
from flowgauge.schemas.setting_parts import LimitSettings

CONNECTIONS_MAX = 10_000  # where no setting says more
HEAD_BYTES_MAX = 16_384  # of a request's first line and headers; h11 answers 400 above it
_SAID: Final = b'{"error":"too many connections are open: come again"}'
BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(_SAID), _SAID)
)

Reason: TypeAlias = Literal["head", "body", "reader", "full", "address"]


@dataclass(frozen=True, slots=True)
class ConnectionBounds:
    """How long a connection may take for what, and how many there may be."""

    head_s: float = 10.0
    body_s: float = 40.0
    reader_s: float = 30.0
    connections: int = CONNECTIONS_MAX
    of_address: int = CONNECTIONS_MAX


BOUNDS: Final = ConnectionBounds()


def bounds_of(limits: LimitSettings) -> ConnectionBounds:
    """Return the bounds that the settings ask for; where they leave it open, half of what the system lets us hold."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    some = CONNECTIONS_MAX if files == resource.RLIM_INFINITY else min(max(files // 2, 1), CONNECTIONS_MAX)
    connections = limits.connections or some
    return ConnectionBounds(connections=connections, of_address=limits.address_connections or max(connections // 2, 1))


def bounded_http(bounds: ConnectionBounds) -> type[asyncio.Protocol]:
    """Return the class of connections within `bounds`, for uvicorn."""
    return type("BoundedHttp", (_BoundedHttp,), {"bounds": bounds})


class _BoundedHttp(H11Protocol):
    bounds: ConnectionBounds

    _due: asyncio.TimerHandle | None = None
    _due_for: Reason | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, or refuse one too many."""
        super().connection_made(transport)
        if reason := self._one_too_many():
            CLOSED_CONNECTIONS.labels(reason).inc()
            transport.write(BUSY)
            transport.close()
        else:
            self._expect("head")

    def data_received(self, data: bytes) -> None:
        """Take bytes; what is still to come has its deadline."""
        super().data_received(data)
        self._expect_rest()

    def on_response_complete(self) -> None:
        """End a request. Until the next one begins, if it has not been sent ahead, uvicorn's own deadline holds."""
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self._expect(None)
        else:
            self._expect_rest()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Leave the connection, and what came in one piece with the upgrade, to the other protocol."""
        self._expect(None)
        self._unset_stalled()
        super().handle_websocket_upgrade(event)
        if behind := self.conn.trailing_data[0]:
            cast("asyncio.Protocol", self.transport.get_protocol()).data_received(behind)

    def pause_writing(self) -> None:
        """Wait for the reader, for a while."""
        super().pause_writing()
        self._stalled = self._stalled or self.loop.call_later(self.bounds.reader_s, self._end, "reader")

    def resume_writing(self) -> None:
        """Go on: something was taken."""
        super().resume_writing()
        self._unset_stalled()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines."""
        self._expect(None)
        self._unset_stalled()
        super().connection_lost(exc)

    def _one_too_many(self) -> Reason | None:
        if len(self.connections) > self.bounds.connections:
            return "full"
        if len(self.connections) <= self.bounds.of_address or self.client is None:
            return None
        of_address = sum((getattr(each, "client", None) or ("",))[0] == self.client[0] for each in self.connections)
        return "address" if of_address > self.bounds.of_address else None

    def _expect_rest(self) -> None:
        state = self.conn.their_state
        if self.transport.get_protocol() is not self:  # a WebSocket now, of which h11 would still have a body
            self._expect(None)
        else:
            self._expect("head" if state is h11.IDLE else "body" if state is h11.SEND_BODY else None)

    def _expect(self, what: Literal["head", "body"] | None) -> None:
        """Set the deadline of what is to come, unless it is set."""
        if what == self._due_for:
            return
        if self._due is not None:
            self._due.cancel()
        self._due_for, self._due = what, None
        if what is not None and not self.transport.is_closing():
            after_s = self.bounds.head_s if what == "head" else self.bounds.body_s
            self._due = self.loop.call_later(after_s, self._end, what)

    def _end(self, reason: Reason) -> None:
        if reason == "reader" or not self.transport.is_closing():  # it may have been told to close, and read nothing
            CLOSED_CONNECTIONS.labels(reason).inc()
            self.transport.abort()

    def _unset_stalled(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

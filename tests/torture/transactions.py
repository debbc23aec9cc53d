"""Which transactions are open, as the broker's coordinator says: ListTransactions of Kafka's protocol (KIP-664).

aiokafka 0.14 has no request for it, so its few bytes are made here. A transaction that a killed process left open stays
Ongoing until its successor begins or its timeout ends it, so asking right after a kill tells what the kill hit.
"""

import contextlib
import io
import socket
import struct

API_KEY, API_VERSION = 66, 0
CLIENT = b"torture"
ONGOING = b"Ongoing"
ANSWER_S_MAX = 5.0
# No tags; one state; no producer ids; no tags. Lengths are told plus one.
BODY = b"\0" + bytes([2, len(ONGOING) + 1]) + ONGOING + b"\1" + b"\0"


class Transactions:
    """A connection to a broker that stands alone; made again when it broke."""

    def __init__(self, bootstrap: str) -> None:
        host, _, port = bootstrap.rpartition(":")
        self._address = (host, int(port))
        self._socket: socket.socket | None = None

    def open(self) -> set[str]:
        """Return the ids of the transactions that are open now; none while the broker is away."""
        try:
            return names_in(self._ask())
        except OSError:
            self.close()
            return set()

    def close(self) -> None:
        """Let go."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None

    def _ask(self) -> bytes:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=ANSWER_S_MAX)
        request = struct.pack(">hhih", API_KEY, API_VERSION, 1, len(CLIENT)) + CLIENT + BODY
        self._socket.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", self._read(4))
        return self._read(size)

    def _read(self, size: int) -> bytes:
        assert self._socket is not None
        read = b""
        while len(read) < size:
            piece = self._socket.recv(size - len(read))
            if not piece:
                raise ConnectionResetError
            read += piece
        return read


def names_in(answer: bytes) -> set[str]:
    """Return the transactional ids in an answer: correlation, tags, throttle, error, unknown filters, then states."""
    data = io.BytesIO(answer)
    data.read(4)
    _skip_tags(data)
    (error,) = struct.unpack(">4xh", data.read(6))
    assert error in (0, 14, 15, 16), f"ListTransactions is answered with error {error}"  # or it is loading
    for _ in range(_varint(data) - 1):
        data.read(_varint(data) - 1)
    found: set[str] = set()
    for _ in range(_varint(data) - 1):
        found.add(data.read(_varint(data) - 1).decode())
        data.read(8)
        data.read(_varint(data) - 1)
        _skip_tags(data)
    return found


def _skip_tags(data: io.BytesIO) -> None:
    for _ in range(_varint(data)):
        _varint(data)
        data.read(_varint(data))


def _varint(data: io.BytesIO) -> int:
    value = shift = 0
    while True:
        (byte,) = data.read(1)
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value
        shift += 7

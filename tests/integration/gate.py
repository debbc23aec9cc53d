"""A relay in front of a server on loopback that can be closed: what clients send then waits, and none is told why."""

import contextlib
import socket
import socketserver
import subprocess
import threading
from collections.abc import Generator
from urllib.parse import urlsplit

ENDING_S = 0.7  # a server that does not wait for its flush ends in 0.3 s; one that does gives up after 2 s
HELD_S_MAX = 30.0  # a gate that a failed test left closed opens by itself
PIECE_BYTES = 65_536


class Gate:
    """Open at first. `url` is where clients go, `server_url` where their bytes go on to."""

    def __init__(self, server_url: str) -> None:
        self._open = threading.Event()
        self._open.set()
        self._server = _server_at(server_url, self._open)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Hold what clients send from now on until `open`."""
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    def open_late(self, ending: subprocess.Popen[bytes]) -> None:
        """Let nothing through before a server that is `ending`, and did not wait for its flush, would have ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            ending.wait(ENDING_S)
        self.open()

    @contextlib.contextmanager
    def serving(self) -> Generator["Gate"]:
        """Relay until the block ends; clients must have gone by then."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.1,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


def _server_at(server_url: str, is_open: threading.Event) -> socketserver.ThreadingTCPServer:
    there = urlsplit(server_url)
    always = threading.Event()
    always.set()

    class Relay(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection((there.hostname or "", there.port or 0)) as server:
                back = threading.Thread(target=_pump, args=(server, self.request, always))
                back.start()
                _pump(self.request, server, is_open)
                back.join()

    return socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay)


def _pump(source: socket.socket, target: socket.socket, is_open: threading.Event) -> None:
    """Pass on what comes until the source ends, each piece only through an open gate."""
    with contextlib.suppress(OSError):  # Either side may hang up at any time.
        while piece := source.recv(PIECE_BYTES):
            is_open.wait(HELD_S_MAX)
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)

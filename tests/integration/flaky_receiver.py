"""A service that people are told by, on its bad days: it takes every request, answers some as it should not.

    /hook    a webhook: 500, 429 with Retry-After, hangs up, cuts its answer short
    /chat    an incoming webhook of Slack: 429, and 400, which nobody tries again
    /once    a robot: 500 after what it did
    /again   another one, that does nothing twice

`kills` is called before the answer to the next request for a path: what was taken is never answered.
"""

import json
import random
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_Said = tuple[int, dict[str, str], bytes]  # status, headers, body
OK: _Said = (200, {}, b"ok")
BUSY: _Said = (429, {"retry-after": "30"}, b"")
HANGS_UP: _Said = (0, {}, b"")
CUT_SHORT: _Said = (200, {"content-length": "100"}, b"half")
BAD_DAYS: dict[str, list[_Said]] = {
    "/hook": [(500, {}, b""), BUSY, HANGS_UP, CUT_SHORT],
    "/chat": [BUSY, (400, {}, b"invalid_blocks")],
    "/once": [(500, {}, b"")],
    "/again": [(500, {}, b""), HANGS_UP],
}
SHARE_BAD = 0.2


@dataclass(frozen=True)
class Taken:
    """One request, in the order of coming over all paths."""

    path: str
    id: str  # of the delivery; "" at /chat
    body: dict[str, Any]
    is_accepted: bool


@dataclass
class FlakyReceiver:
    """What came, and what is to happen next."""

    chance: random.Random
    taken: list[Taken] = field(default_factory=list[Taken])
    is_calm: bool = False
    kills: dict[str, Callable[[], None]] = field(default_factory=dict[str, Callable[[], None]])
    port: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def at(self, path: str, *, accepted: bool = False) -> list[Taken]:
        """Return what came to a path: all, or what was answered well."""
        with self._lock:
            return [each for each in self.taken if each.path == path and (each.is_accepted or not accepted)]

    def answer(self, path: str, delivery: str, body: dict[str, Any]) -> _Said:
        """Take a request; return status, headers and body of the answer."""
        with self._lock:
            kill = self.kills.pop(path, None)
            is_bad = not self.is_calm and self.chance.random() < SHARE_BAD
            said = HANGS_UP if kill else self.chance.choice(BAD_DAYS[path]) if is_bad else OK
            self.taken.append(Taken(path, delivery, body, said == OK))
        if kill:
            kill()
        return said

    @contextmanager
    def serving(self) -> Generator[None]:
        """Serve on loopback."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                read = self.rfile.read(int(self.headers["content-length"]))
                if len(read) < int(self.headers["content-length"]):
                    return  # who asked was killed half-way
                body = json.loads(read)
                delivery = self.headers["webhook-id"] or self.headers["idempotency-key"] or ""
                status, headers, text = receiver.answer(self.path, delivery, body)
                with suppress(ConnectionError):  # who asked may be dead
                    self.say(status, {"content-length": str(len(text)), **headers}, text)

            def say(self, status: int, headers: dict[str, str], text: bytes) -> None:
                if not status:
                    return
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join(10)

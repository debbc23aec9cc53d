"""A webhook endpoint that answers 500 now and then, and remembers every request in the order of its arrival."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import NamedTuple

FAIL_EACH = 6  # requests


class Told(NamedTuple):
    """One request."""

    message_id: str
    type: str
    incident_id: str
    transition_id: str
    accepted: bool


class Hook:
    """Listens on a free port of loopback."""

    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

    def __init__(self) -> None:
        self.told: list[Told] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.address = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Hook":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, message_id: str, body: bytes) -> bool:
        """Remember a request; tell whether it is accepted."""
        message = json.loads(body)
        data = message["data"]
        with self._lock:
            accepted = len(self.told) % FAIL_EACH != FAIL_EACH - 1
            told = Told(message_id, message["type"], data["incident_id"], data["transition_id"], accepted)
            self.told.append(told)
        return accepted


def _handler(hook: Hook) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(204 if hook.take(self.headers["webhook-id"], body) else 500)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
            """Say nothing."""

    return Handler

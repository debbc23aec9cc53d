"""A server that answers as Slack does: an incoming webhook at /hook, and the two methods of the API that a bot uses."""

import contextlib
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from tests.integration.http_service import Request, http, serving
from tests.slack_models import block_fault

TOKEN = "xoxb-1-2-abcDEF"
CHANNEL = "C0123456789"
CHARS_MAX = 13_200


@dataclass
class SlackServer:
    """Keeps what was posted; `replies` stand in line before what Slack would answer."""

    replies: list[bytes] = field(default_factory=list[bytes])
    requests: list[Request] = field(default_factory=list[Request])
    messages: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])  # by ts, as they stand now
    error: str = ""  # what every method of the API answers
    is_locked: bool = False  # a thread takes no replies
    port: int = 0

    @property
    def root(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def methods(self) -> list[str]:
        """The methods that were called, in order."""
        return [request.path.rpartition("/")[2] for request in self.requests]

    def answer(self, request: Request) -> bytes:
        """Answer as Slack does, or as the next reply in line says."""
        self.requests.append(request)
        if self.replies:
            return self.replies.pop(0)
        if request.path == "/hook":
            return self._hook(request)
        return http(200, self._api(request), content_type="application/json; charset=utf-8")

    def _hook(self, request: Request) -> bytes:
        fault = fault_of(request.arguments)
        if fault:
            return http(400, "invalid_blocks")
        self._keep(request.arguments)
        return http(200, "ok")

    def _api(self, request: Request) -> dict[str, object]:
        arguments = request.arguments
        error = self.error or self._error(request, arguments)
        if error:
            return {"ok": False, "error": error}
        if request.path.endswith("/chat.update"):
            ts = str(arguments["ts"])
            self.messages[ts] = arguments
        else:
            ts = self._keep(arguments)
        return {"ok": True, "channel": CHANNEL, "ts": ts, "message": {"type": "message", "ts": ts, **arguments}}

    def _error(self, request: Request, arguments: dict[str, Any]) -> str:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return "invalid_auth"
        if arguments["channel"] not in {CHANNEL, "#alerts"}:
            return "channel_not_found"
        if request.path.endswith("/chat.update") and arguments["ts"] not in self.messages:
            return "message_not_found"
        if "thread_ts" in arguments and self.is_locked:
            return "restricted_action_thread_locked"
        return fault_of(arguments)

    def _keep(self, arguments: dict[str, Any]) -> str:
        ts = f"1795427470.{len(self.messages):06}"
        self.messages[ts] = arguments
        return ts


@contextlib.asynccontextmanager
async def slack(*replies: bytes, error: str = "", is_locked: bool = False) -> AsyncGenerator[SlackServer]:
    """Run one on loopback."""
    server = SlackServer(list(replies), error=error, is_locked=is_locked)
    async with serving(server.answer) as server.port:
        yield server


def fault_of(arguments: dict[str, Any]) -> str:
    """Return the error of a message that Slack would not take."""
    blocks = arguments.get("blocks", [])
    if len(json.dumps(blocks, ensure_ascii=False)) > CHARS_MAX:
        return "msg_blocks_too_long"
    if block_fault(blocks):
        return "invalid_blocks"
    return "" if arguments.get("text") else "no_text"

"""A receiver of signed webhooks in a thread of the test: what came, in order."""

import asyncio
import contextlib
import json
import threading
from types import TracebackType
from typing import Any

from flowgauge.sinks.webhooks.receiver import Received, listen
from flowgauge.transport.wall_clock import now_ms

HOST = "127.0.0.1"
START_S_MAX = 30.0


class WebhookReceiver:
    """Answers 204 to what `secret` signed; `received` holds all of it."""

    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.came_ms: dict[str, int] = {}  # message id → when it came first
        self.address = ""  # host:port
        self._ready = threading.Event()
        self._stop: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> "WebhookReceiver":
        self._thread.start()
        assert self._ready.wait(START_S_MAX), "the receiver did not start"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(START_S_MAX)

    def bodies(self) -> list[dict[str, Any]]:
        """Return the verified messages' data, each once, in the order they came."""
        once = {each.message_id: each for each in self.received if each.verified}
        return [json.loads(each.body)["data"] for each in once.values()]

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        listening = asyncio.ensure_future(listen(HOST, 0, [self.secret], self._take, on_ready=self._on_ready))
        await asyncio.wait([listening, asyncio.ensure_future(self._stop.wait())], return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening

    def _take(self, message: Received) -> None:
        self.came_ms.setdefault(message.message_id, now_ms())
        self.received.append(message)

    def _on_ready(self, host: str, port: int) -> None:
        self.address = f"{host}:{port}"
        self._ready.set()

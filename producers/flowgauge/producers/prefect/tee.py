"""What a Prefect server publishes, told to flowgauge as well, at no risk to Prefect.

`Tee.take` maps one published message and hands it to flowgauge's publisher, which never blocks. Nothing
that goes wrong here reaches Prefect: it is counted by cause, and logged at the first, tenth, hundredth …
of a cause. Logging is the standard library's, as everything that runs inside someone else's server is.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, Protocol, cast

import msgspec

from flowgauge.producers.connector_event import EventJson
from flowgauge.producers.prefect.flow_cache import FlowCache
from flowgauge.producers.prefect.mapping import (
    Unmappable,
    map_event,
    map_log,
    run_of_log,
    seen_in,
)

TOPICS: Final = frozenset({"events", "logs"})

_log = logging.getLogger("flowgauge.prefect")


class Emitter(Protocol):
    """The part of flowgauge's publisher that a tee needs."""

    @property
    def waiting(self) -> int:
        """How many events were taken and have no answer yet."""
        ...

    def emit(self, event: Mapping[str, object]) -> bool:
        """Take the event, or return False when its buffer is full."""
        ...

    def flush(self, timeout_ms: int) -> bool:
        """Send what was taken; return whether all of it is with flowgauge in time."""
        ...


class Tee:
    """Takes what Prefect publishes, from any thread; its emitter is made at the first message.

    `counts` has a number for each of: events, logs, logs without flow (told without one), unmappable,
    refused (the buffer was full, or the event over its size), unsent (what waited when the last flush ended) and
    failed (anything else, such as an emitter that cannot be made).
    """

    def __init__(self, make_emitter: Callable[[], Emitter]) -> None:
        self.counts: Counter[str] = Counter()
        self._make_emitter = make_emitter
        self._emitter: Emitter | None = None
        self._cache = FlowCache()
        self._lock = threading.Lock()
        self._decode = msgspec.json.Decoder().decode

    def take(self, topic: str, message: bytes | str) -> None:
        """Tell flowgauge one message of a topic; other topics than TOPICS are passed over. Never raises."""
        if topic not in TOPICS:
            return
        try:
            with self._lock:
                self._take(topic, message)
        except Exception as error:  # noqa: BLE001  # Prefect's own publishing must go on, whatever happened
            self._count_and_warn("failed", f"{type(error).__name__}: {error}")

    def flush(self, timeout_ms: int) -> None:
        """Wait until what was taken is with flowgauge, at most `timeout_ms`. Never raises; it blocks."""
        try:
            if self._emitter is not None:
                self._note_unsent(0 if self._emitter.flush(timeout_ms) else self._emitter.waiting, timeout_ms)
        except Exception as error:  # noqa: BLE001  # Prefect's shutdown must go on, whatever happened
            self._count_and_warn("failed", f"{type(error).__name__}: {error}")

    def _note_unsent(self, waiting: int, timeout_ms: int) -> None:
        """Several flushes end a server: what one of them counted is not counted by the next again."""
        before, self.counts["unsent"] = self.counts["unsent"], waiting
        if waiting > before:
            said = "not told to flowgauge: unsent, %d so far, flowgauge did not answer within %d ms"
            _log.warning(said, waiting, timeout_ms)

    def _take(self, topic: str, message: bytes | str) -> None:
        data = cast("object", self._decode(message))
        mapped = self._event(data) if topic == "events" else self._log_record(data)
        if isinstance(mapped, Unmappable):
            self._count_and_warn("unmappable", mapped.reason)
            return
        if self._emitter is None:
            self._emitter = self._make_emitter()
        if self._emitter.emit(mapped):
            self.counts[topic] += 1
        else:
            self._count_and_warn("refused", "the publisher's buffer is full, or the event is over its size")

    def _event(self, data: object) -> EventJson | Unmappable:
        mapped = map_event(data)
        told = None if isinstance(mapped, Unmappable) else seen_in(mapped)
        if told is not None:
            self._cache.learn(*told)
        return mapped

    def _log_record(self, data: object) -> EventJson | Unmappable:
        seen = self._cache.find(run_of_log(data))
        self.counts["logs without flow"] += seen is None
        return map_log(data, seen)

    def _count_and_warn(self, cause: str, reason: str) -> None:
        self.counts[cause] += 1
        times = self.counts[cause]
        if str(times).rstrip("0") == "1":
            _log.warning("not told to flowgauge: %s, %d so far, the last: %s", cause, times, reason)

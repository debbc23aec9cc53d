"""The inbox of a bridge: what threads found, in order, for the one that sends. Bounded by count and by bytes.

At a bound `offer` refuses, since what happens now is found again later; `put` waits, since it reads what is stored.
"""

import threading
from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import Literal, NamedTuple

from flowgauge.producers.sender import BATCH_BYTES_MAX, BATCH_EVENTS_MAX

WAITING_MAX = 50_000  # a minute of a busy Prefect
BYTES_MAX = 64 * 1_048_576
LINGER_S = 0.2  # how long the first of a batch waits for others
WAIT_S = 0.5  # how long a wait lasts before it is looked whether to stop

What = Literal["events", "logs"]


class Told(NamedTuple):
    """An event or a log as Prefect wrote it: `live`, a frame of its stream; else read from its API."""

    what: What
    json: str | bytes
    live: bool = False


class Compared(NamedTuple):
    """All of an interval that ends at `until_us` was told before this; or what was not `is_gone` from Prefect."""

    what: What
    until_us: int
    is_gone: bool = False


class Inbox:
    """Told and Compared, first in, first out."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._items: deque[Told | Compared] = deque()
        self._bytes = 0
        self._changed = threading.Condition()

    def offer(self, told: Told) -> bool:
        """Add it, or return False at a bound."""
        with self._changed:
            if self._is_full():
                return False
            self._add(told)
            return True

    def put(self, item: Told | Compared) -> None:
        """Add it, when there is room. Nothing is added once the bridge stops, so nothing after what was left out."""
        with self._changed:
            while self._is_full() and not self._stop.is_set():
                self._changed.wait(WAIT_S)
            if not self._stop.is_set():
                self._add(item)

    def take(self) -> tuple[Sequence[Told], Compared | None]:
        """Return the next batch, and the comparison that ends it if one does; nothing where nothing came a while."""
        with self._changed:
            if not self._items:
                self._changed.wait(WAIT_S)
            deadline_s = monotonic() + LINGER_S
            while self._items and not self._is_a_batch() and (left_s := deadline_s - monotonic()) > 0:
                self._changed.wait(left_s)
            batch: list[Told] = []
            size = 0
            while self._items and len(batch) < BATCH_EVENTS_MAX and size < BATCH_BYTES_MAX:
                item = self._items.popleft()
                self._changed.notify_all()
                if isinstance(item, Compared):
                    return batch, item
                batch.append(item)
                size += len(item.json)
                self._bytes -= len(item.json)
            return batch, None

    def _is_full(self) -> bool:
        return len(self._items) >= WAITING_MAX or self._bytes >= BYTES_MAX

    def _is_a_batch(self) -> bool:
        return len(self._items) >= BATCH_EVENTS_MAX or self._bytes >= BATCH_BYTES_MAX or self._stop.is_set()

    def _add(self, item: Told | Compared) -> None:
        self._items.append(item)
        if isinstance(item, Told):
            self._bytes += len(item.json)
        if len(self._items) == 1 or self._is_a_batch():
            self._changed.notify_all()

"""The buffer between the work and the sender: bounded by count and by bytes, shared by threads. Does no I/O.

    put ──►  [ oldest … newest ]  ──► peek, then discard once the server has answered

What is being sent stays in the buffer until it is discarded, so the bounds hold for everything that is not yet safe.
At a bound the newest event is dropped and counted: what led to a trouble says more than what came of it.
"""

import threading
from collections import deque
from collections.abc import Sequence
from itertools import islice


class EventBuffer:
    """Encoded events in the order they were put."""

    is_kept = False  # whether what is left at the end is known to wait elsewhere for the next process

    def __init__(self, *, events_max: int, bytes_max: int) -> None:
        self.dropped = 0  # events that found the buffer full
        self._events_max = events_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._forgotten = 0  # events that were discarded
        self._events: deque[bytes] = deque()
        self._lock = threading.RLock()  # a signal handler or a destructor may publish while its own thread does

    def __len__(self) -> int:
        """Return how many events wait or are being sent."""
        return len(self._events)

    def put(self, event: bytes) -> int:
        """Add `event` and return how many there are now; 0 when it was dropped."""
        with self._lock:
            if len(self._events) >= self._events_max or self._bytes + len(event) > self._bytes_max:
                self.dropped += 1
                return 0
            self._events.append(event)
            self._bytes += len(event)
            return len(self._events)

    def peek(self, *, events_max: int, bytes_max: int) -> Sequence[bytes]:
        """Return the oldest events, at least one if there is any, else as many as the bounds allow."""
        with self._lock:
            oldest = list(islice(self._events, events_max))
        size = 0
        for count, event in enumerate(oldest):
            size += len(event)
            if size > bytes_max and count:
                return oldest[:count]
        return oldest

    def discard(self, count: int) -> None:
        """Forget the `count` oldest events."""
        with self._lock:
            count = min(count, len(self._events))
            for _ in range(count):
                self._bytes -= len(self._events.popleft())
            self._forgotten += count

    def close(self) -> None:
        """Drop what is left, and whatever is put from now on."""
        with self._lock:
            self.dropped += len(self._events)
            self._events.clear()
            self._bytes = self._events_max = 0

"""Heartbeats: a run that lasts says now and then that its process still lives. One daemon thread of a publisher.

A run's heartbeat comes after its beginning and before its end, never after; a child after a fork beats for no run of
its parent. Beginning and ending a run wait for nothing.
"""

import queue
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import Final

HEARTBEAT_MS = 60_000
HEARTBEAT_MS_MIN = 100  # more often tells nothing more
BEATING_MAX = 10_000  # runs at once in one process; those beyond it go without
LOCKED_S_MAX = 1.0  # a signal handler may end a run whose heartbeat waits for what the handler interrupted
THREAD_NAME: Final = "flowgauge-heartbeats"


@dataclass(slots=True, eq=False)
class _Beat:
    say: Callable[[], object]
    every_s: float
    due_s: float
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_over: bool = False

    def tell(self, now_s: float) -> None:
        with self.lock:
            if not self.is_over:
                self.say()
        self.due_s = now_s + self.every_s

    def end(self) -> None:
        is_ours = self.lock.acquire(timeout=LOCKED_S_MAX)
        self.is_over = True
        if is_ours:
            self.lock.release()


class Heartbeats:
    """Whose heartbeats are due, and the thread that says them."""

    def __init__(self) -> None:
        self._beats: dict[int, _Beat] = {}
        self._until_s = inf  # for how long the thread sleeps
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
        self._is_started = False
        self._is_over = False

    @contextmanager
    def beating(self, say: Callable[[], object], every_ms: int) -> Generator[None, None, None]:
        """Call `say` each `every_ms` until the block ends; not at all where that is 0 or less."""
        if every_ms <= 0 or self._is_over or len(self._beats) >= BEATING_MAX:
            yield
            return
        every_s = max(every_ms, HEARTBEAT_MS_MIN) / 1000
        beat = _Beat(say, every_s, monotonic() + every_s)
        self._beats[id(beat)] = beat
        self._start()
        if beat.due_s < self._until_s:
            self._wake.put(None)
        try:
            yield
        finally:
            self._beats.pop(id(beat), None)
            beat.end()

    def end(self) -> None:
        """Beat no more, and end the thread."""
        self._is_over = True
        self._wake.put(None)

    def _start(self) -> None:
        if not self._is_started:
            self._is_started = True
            with suppress(RuntimeError):  # the interpreter ends: so does the run
                self._thread.start()

    def _run(self) -> None:
        while not self._is_over:
            self._until_s = inf  # who begins now wakes us
            now_s = monotonic()
            beats = list(self._beats.values())
            for beat in beats:
                if beat.due_s <= now_s:
                    beat.tell(now_s)
            self._until_s = min((beat.due_s for beat in beats), default=inf)
            with suppress(queue.Empty):
                self._wake.get(timeout=None if self._until_s == inf else max(self._until_s - monotonic(), 0))

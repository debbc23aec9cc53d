"""A buffer with a spool below it: what the server has not answered within moments is safe from the end of the process.

    put ──►  [ memory ] ──► peek, discard            while the server answers: no disk
                 │ nothing answered for SPOOL_AFTER_S, or half full
                 ▼ a thread of its own
             [ spool, then memory ] ──► peek, discard

The order stays: what is on disk is older than what is in memory. What is being sent may move to disk meanwhile, so a
request that hangs keeps nothing from being safe. The spool's bound reached, events wait in memory; then the buffer's
bound drops the newest. A disk that is full or not ours is said once, and events wait in memory too.
Who puts never waits for the disk: only the sender's thread and the spooling one hold `_disk`.
"""

import queue
import threading
from collections.abc import Sequence
from time import monotonic
from typing import Final

from flowgauge.producers.event_buffer import EventBuffer
from flowgauge.producers.sender import Said
from flowgauge.producers.spool import SEGMENT_BYTES, Spool

SPOOL_AFTER_S = 0.5  # longer than a server takes to answer, mostly
TRY_AGAIN_S = 1.0  # after trouble with the disk
FINISH_S = 2.0  # at the end: a disk that hangs holds no worker
THREAD_NAME: Final = "flowgauge-spool"
_EVENTS_AT_ONCE = 2_000  # the lock on memory is held for as long as it takes to forget so many


class SpooledBuffer(EventBuffer):
    """Encoded events in the order they were put, the oldest on disk while the server is away."""

    def __init__(self, *, events_max: int, bytes_max: int, spool: Spool, said: Said) -> None:
        super().__init__(events_max=events_max, bytes_max=bytes_max)
        self._spool = spool
        self._said = said
        self._crowd_events = events_max // 2
        self._crowd_bytes = bytes_max // 2
        self._hurried = False
        self._disk = threading.Lock()
        self._is_closed = False
        self._ending = threading.Event()
        # True: now. A SimpleQueue, for a signal handler may put while its own thread does.
        self._wake: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)

    def __len__(self) -> int:
        """Return how many events wait or are being sent, in memory and on disk."""
        return super().__len__() + len(self._spool)

    @property
    def spooled(self) -> int:
        """How many events went to disk."""
        return self._spool.spooled

    @property
    def drained(self) -> int:
        """How many events left the disk, answered; with those that other processes had left."""
        return self._spool.drained

    @property
    def torn(self) -> int:
        """How many lines a crash had cut, of events that other processes had left."""
        return self._spool.torn

    @property
    def on_disk(self) -> int:
        """How many events are on disk, as far as this process knows."""
        return len(self._spool)

    def start(self) -> None:
        """Start the thread. Raises RuntimeError while the interpreter ends."""
        self._thread.start()

    def put(self, event: bytes) -> int:
        """Add `event` and return how many are in memory now; 0 when it was dropped."""
        waiting = super().put(event)
        if waiting == 1:
            self._wake.put(False)
        elif not self._hurried and (waiting > self._crowd_events or self._bytes > self._crowd_bytes):
            self._hurried = True
            self._wake.put(True)
        return waiting

    def peek(self, *, events_max: int, bytes_max: int) -> Sequence[bytes]:
        """Return the oldest events, those on disk first. For the sender's thread only: this reads files."""
        while True:
            try:
                with self._disk:
                    if not self._is_closed and (
                        spooled := self._spool.peek(events_max=events_max, bytes_max=bytes_max)
                    ):
                        return spooled
                    return super().peek(events_max=events_max, bytes_max=bytes_max)
            except OSError as error:
                self._said.once("spool read", "cannot read the spool %s: %s", self._spool.folder, error)
            if self._ending.wait(TRY_AGAIN_S):
                return []

    def discard(self, count: int) -> None:
        """Forget the `count` oldest events, wherever they are by now."""
        with self._disk:
            if self._is_closed:
                return  # the next process has them
            try:
                count -= self._spool.discard(count)
            except OSError as error:  # they come out again, under the same ids
                self._said.once("spool read", "cannot read the spool %s: %s", self._spool.folder, error)
            else:
                super().discard(count)

    def finish(self) -> None:
        """Bring what is left in memory to disk, within FINISH_S."""
        self._ending.set()
        self._wake.put(True)
        if self._thread.ident is not None:
            self._thread.join(FINISH_S)

    def close(self) -> None:
        """Drop what is left in memory and what is put from now on; leave what is on disk to the next process."""
        super().close()
        self._ending.set()
        if self._disk.acquire(timeout=FINISH_S):  # else the disk hangs, and so would we
            try:
                self._is_closed = True
                self._spool.close()
            except OSError as error:
                self._said.once("spool write", "cannot tidy the spool %s: %s", self._spool.folder, error)
            finally:
                self._disk.release()

    def leave(self) -> None:
        """Close what is open and touch nothing: in a child after a fork it is the parent's."""
        self._spool.leave()

    def _run(self) -> None:
        try:
            self._loop()
        except Exception as error:  # noqa: BLE001  # the last thing to say before events only wait in memory
            self._said.once("spool ended", "events are spooled no more: %r", error)

    def _loop(self) -> None:
        while not self._ending.is_set():
            self._wake.get()
            while super().__len__() and not self._ending.is_set():
                oldest = self._forgotten
                self._pause()
                if (self._forgotten == oldest or self._hurried) and not self._to_disk():
                    self._ending.wait(TRY_AGAIN_S)
                self._hurried = False
        self._to_disk()

    def _pause(self) -> None:
        """Wait for SPOOL_AFTER_S, or until the buffer is half full or to finish."""
        deadline = monotonic() + SPOOL_AFTER_S
        while (left_s := deadline - monotonic()) > 0:
            try:
                if self._wake.get(timeout=left_s):
                    return
            except queue.Empty:
                return

    def _to_disk(self) -> bool:
        """Bring what is in memory to disk; return whether all of it is there."""
        while True:
            with self._disk:
                if self._is_closed:
                    return False
                events = super().peek(events_max=_EVENTS_AT_ONCE, bytes_max=SEGMENT_BYTES)
                if not events:
                    return True
                written = self._append(events)
                super().discard(written)
            if not written:
                return False

    def _append(self, events: Sequence[bytes]) -> int:
        try:
            written = self._spool.append(events)
        except OSError as error:
            self.is_kept = False
            trouble = f"cannot write the spool {self._spool.folder}: {error}"
            self._said.once("spool write", "%s; events wait in memory only", trouble)
            return 0
        self.is_kept = written > 0
        if not written:
            self._said.once("spool full", "the spool %s is full; events wait in memory", self._spool.folder)
        return written

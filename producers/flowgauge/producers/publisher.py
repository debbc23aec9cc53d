"""The publisher: what a worker's code calls to say what happens. Light: the standard library, msgspec and httpx2.

    emit ──► EventBuffer ─┬► Sender, one daemon thread ──► POST /v1/events (NDJSON, gzip)
     µs       bounded     └► KafkaSender, likewise ──────► the events topic (flowgauge[kafka])
              ▼ ▲             batches, retries with the same ids
              Spool, if asked for: a folder, while the server is away

Promises to the work it runs in: `emit` does no I/O, never waits for the server and never raises. What cannot be kept
is counted (`dropped`: the buffer was full; `refused`: the event or the server's answer) and said in the log: each
trouble once, what is dropped once a minute at most, and what was lost in the end.
At exit, and at the end of a multiprocessing child, what is buffered is sent within a deadline. After a fork the child
starts with an empty buffer and a thread of its own: the parent sends what was said before.
"""

import atexit
import os
import sys
import threading
import weakref
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import msgspec

from flowgauge.producers.current_run import as_current
from flowgauge.producers.event_buffer import EventBuffer
from flowgauge.producers.heartbeats import HEARTBEAT_MS, Heartbeats
from flowgauge.producers.kafka_target import KafkaTarget, target_from
from flowgauge.producers.run_scope import RunScope
from flowgauge.producers.sender import LINGER_MS, Said, Sender, preparing
from flowgauge.producers.spool import SPOOL_BYTES_MAX, Spool, folder_for
from flowgauge.producers.spooled_buffer import SpooledBuffer
from flowgauge.schemas.event import EVENT_BYTES_MAX
from flowgauge.schemas.times import EPOCH
from flowgauge.transport import wall_clock

if TYPE_CHECKING:
    from flowgauge.producers.kafka_sender import KafkaSender

URL_DEFAULT: Final = "http://127.0.0.1:4280"
EVENTS_BUFFERED_MAX = 50_000  # half a minute of a busy worker; beyond it the server is really away
BYTES_BUFFERED_MAX = 32 * 1_048_576  # what a worker may spend on being watched
CLOSE_TIMEOUT_MS = 5_000  # at exit: a worker that ends does not hang on us

_encode = msgspec.json.Encoder().encode
_NODE: Final = (1 << 48) - 1
_VARIANT: Final = 1 << 63  # of 64 bits; what follows it is random where a process begins, and counts on from there
_publishers: "weakref.WeakSet[Publisher]" = weakref.WeakSet()


class Publisher:
    """Publishes events of this process to a flowgauge server or to Kafka, in the background.

    `url` and `token` default to FLOWGAUGE_URL and FLOWGAUGE_TOKEN. It writes to Kafka when `kafka` is given, or when no
    `url` is and FLOWGAUGE_KAFKA_BOOTSTRAP is set; see KafkaTarget. Threads may share one. Used as a context manager it
    closes at the end; otherwise it does so when the process ends.
    While the server is away events wait in the folder `spool` (FLOWGAUGE_SPOOL), if there is one, for this process or
    the next with the same address and token, and take at most `spool_bytes_max` (FLOWGAUGE_SPOOL_BYTES).
    """

    _closed: bool

    def __init__(  # noqa: PLR0913  # all may be left out, and most are given by name
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        kafka: KafkaTarget | None = None,
        events_max: int = EVENTS_BUFFERED_MAX,
        bytes_max: int = BYTES_BUFFERED_MAX,
        linger_ms: int = LINGER_MS,
        close_timeout_ms: int = CLOSE_TIMEOUT_MS,
        spool: str | os.PathLike[str] | None = None,
        spool_bytes_max: int | None = None,
    ) -> None:
        self._url = url or os.environ.get("FLOWGAUGE_URL") or URL_DEFAULT
        self._token = token or os.environ.get("FLOWGAUGE_TOKEN") or None
        self._kafka = kafka if kafka is not None or url else target_from(os.environ)
        self._events_max = events_max
        self._bytes_max = bytes_max
        self._linger_ms = linger_ms
        self._close_timeout_ms = close_timeout_ms
        self._spool = spool or os.environ.get("FLOWGAUGE_SPOOL") or None
        self._spool_bytes_max = spool_bytes_max or _bytes_in(os.environ.get("FLOWGAUGE_SPOOL_BYTES", ""))
        self._spooled: SpooledBuffer | None = None
        self._last_ms = 0
        self._same_ms = 0
        self.begin()
        _publishers.add(self)

    @property
    def sent(self) -> int:
        """How many events the server has accepted, or all replicas in Kafka have."""
        return self._sender.sent

    @property
    def dropped(self) -> int:
        """How many events found the buffer full or the publisher closed, or had no answer when it closed.

        Those on disk are not among them; lines on disk that a crash had cut are.
        """
        return self._buffer.dropped + (0 if self._spooled is None else self._spooled.torn)

    @property
    def waiting(self) -> int:
        """How many events were taken and have no answer yet, in memory and on disk."""
        return len(self._buffer)

    @property
    def spooled(self) -> int:
        """How many events went to disk while the server was away."""
        return 0 if self._spooled is None else self._spooled.spooled

    @property
    def drained(self) -> int:
        """How many events left the disk, answered; with those that processes before had left there."""
        return 0 if self._spooled is None else self._spooled.drained

    @property
    def refused(self) -> int:
        """How many events were no events, here or by the server's answer."""
        return self._refused + self._sender.refused

    @property
    def needs_help(self) -> bool:
        """Whether events were dropped or refused, or address or token look wrong: waiting will not mend it."""
        return bool(self.dropped or self.refused or self._said.is_mistake)

    def emit(self, event: Mapping[str, object]) -> bool:
        """Publish `event`; return whether it was taken. Adds `id` and `occurred` (now) when they are missing.

        It is encoded here, so the caller may change it afterwards. Takes microseconds and never raises.
        """
        try:
            encoded = _encode(self.completed(event))
        except Exception as error:  # noqa: BLE001  # an event that cannot be encoded must not break the work
            return self._refuse("is no JSON object: %s", error)
        if len(encoded) > EVENT_BYTES_MAX:
            return self._refuse("has %d bytes, at most %d are accepted", len(encoded), EVENT_BYTES_MAX)
        waiting = self._buffer.put(encoded)
        if not waiting:
            self._said.dropping(self.dropped, self._why_dropped())
            return False
        if not self._started:
            self._start()
        self._sender.notice(waiting)
        return True

    @contextmanager
    def run(
        self,
        flow: str,
        *,
        scheduled_for: datetime | str | None = None,
        run: str | None = None,
        tags: Sequence[str] = (),
        team: str = "",
        heartbeat_ms: int = HEARTBEAT_MS,
    ) -> Generator[RunScope, None, None]:
        """Say that a run of `flow` is running and how it ended, by an exception or not; see RunScope.

        `scheduled_for` is when it was to start, a time or RFC 3339 (a naive one counts as UTC); without it, nobody can
        call it late. What is no time is left out and said once.
        `team` says whose it is, for questions about money. While it lasts it says so each `heartbeat_ms` (0: not).
        """
        scope = RunScope(
            self.emit,
            self.new_id,
            flow,
            complain=self._said.once,
            run=run,
            scheduled_for=scheduled_for,
            tags=tags,
            team=team,
        )
        with scope.told(), self._heartbeats.beating(scope.heartbeat, heartbeat_ms), as_current(scope):
            yield scope

    def flush(self, timeout_ms: int = CLOSE_TIMEOUT_MS) -> bool:
        """Return whether the server has answered for every event so far within `timeout_ms`."""
        return not len(self._buffer) or self._sender.flush(timeout_ms)

    def close(self, timeout_ms: int | None = None) -> None:
        """Send what is left within `timeout_ms`; what is left then, and what comes after, is dropped and counted.

        With a spool one try after another is made while the server answers; the rest waits for the next process. A
        warning in the log says how many events are missing over all, and why. A request that had no answer by then may
        still arrive.
        """
        if self._closed:
            return
        self._closed = True
        self._heartbeats.end()
        timeout_ms = self._close_timeout_ms if timeout_ms is None else timeout_ms
        if self._started:
            self._sender.close(timeout_ms)
        why = self._said.trouble or "no answer yet"
        if self._spooled is not None:
            self._spooled.finish()
            if waiting := self._spooled.on_disk:
                self._said.lost("%d events wait in %s for the next publisher (%s)", waiting, self._spool, why)
        before = self.dropped
        self._buffer.close()
        if self.dropped:
            self._said.lost(
                "%d events are missing: %d found the buffer full, "
                "%d are not known to have arrived within %d ms of closing (%s)",
                *(self.dropped, before, self.dropped - before, timeout_ms, why),
            )

    def new_id(self) -> str:
        """Return a UUID version 7: those of one process sort in the order they were made, mostly."""
        return self._id_at(*self._tick())

    def __enter__(self) -> Self:
        """Return this publisher."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def begin(self) -> None:
        """Start from nothing: at construction, and in the child after a fork. Nobody else calls it."""
        self._said = Said()
        self._buffer = self._new_buffer()
        self._sender = self._new_sender()
        self._heartbeats = Heartbeats()  # with no run in it: those of a parent are the parent's
        self._tails = count(_VARIANT + int.from_bytes(os.urandom(8)) // 8)
        self._refused = 0
        self._started = False
        self._closed = False
        self._starting = threading.RLock()

    def completed(self, event: Mapping[str, object]) -> dict[str, object]:
        """Return a copy of `event` with the `id` and `occurred` (now) that it lacks."""
        fields: dict[str, object] = {"id": None, "occurred": None, **event}
        at_ms, same_ms = self._tick()
        if fields["id"] is None:
            fields["id"] = self._id_at(at_ms, same_ms)
        if fields["occurred"] is None:
            fields["occurred"] = EPOCH + timedelta(milliseconds=at_ms, microseconds=min(same_ms, 999))
        return fields

    def _new_buffer(self) -> EventBuffer:
        if self._spooled is not None:
            self._spooled.leave()  # the parent's
        if self._spool is None:
            return EventBuffer(events_max=self._events_max, bytes_max=self._bytes_max)
        kafka = self._kafka
        target = (self._url, self._token or "") if kafka is None else (kafka.bootstrap, kafka.tenant, kafka.prefix)
        spool = Spool(folder_for(Path(self._spool), *target), bytes_max=self._spool_bytes_max)
        self._spooled = SpooledBuffer(
            events_max=self._events_max, bytes_max=self._bytes_max, spool=spool, said=self._said
        )
        return self._spooled

    def _new_sender(self) -> "Sender | KafkaSender":
        if self._kafka is None:
            return Sender(self._buffer, url=self._url, token=self._token, said=self._said, linger_ms=self._linger_ms)
        with preparing:
            from flowgauge.producers.kafka_sender import KafkaSender  # noqa: PLC0415  # brings asyncio: only if chosen
        return KafkaSender(self._buffer, target=self._kafka, said=self._said, linger_ms=self._linger_ms)

    def _id_at(self, at_ms: int, same_ms: int) -> str:
        tail = next(self._tails)
        return f"{at_ms >> 16:08x}-{at_ms & 0xFFFF:04x}-7{same_ms:03x}-{tail >> 48:04x}-{tail & _NODE:012x}"

    def _tick(self) -> tuple[int, int]:
        """Return now in ms and a count within it, so that what is said in one ms keeps its order."""
        now_ms = wall_clock.now_ms()
        self._same_ms = min(self._same_ms + 1, 4_095) if now_ms == self._last_ms else 0
        self._last_ms = now_ms
        return now_ms, self._same_ms

    def _why_dropped(self) -> str:
        if self._closed:
            return "the publisher is closed"
        return f"the buffer is full ({self._said.trouble or 'events come faster than they are sent'})"

    def _refuse(self, message: str, *values: object) -> bool:
        with self._starting:
            self._refused += 1
        self._said.once(message, "an event " + message, *values)
        return False

    def _start(self) -> None:
        with self._starting:
            if self._started:
                return
            self._started = True  # first: a signal handler that publishes now must not start the thread again
            try:
                self._sender.start()
                if self._spooled is not None:
                    self._spooled.start()
            except RuntimeError as error:  # The interpreter ends: no more threads.
                self._said.once("thread", "no thread to publish with: %s", error)
        _close_at_child_exit()


def _bytes_in(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 16 and int(text) else SPOOL_BYTES_MAX


def _close_all() -> None:
    for publisher in list(_publishers):
        publisher.close()


def _begin_in_child() -> None:
    preparing.release()
    with ExitStack() as children:  # each begins, whatever keeps another from it
        for publisher in list(_publishers):
            children.callback(publisher.begin)


def _close_at_child_exit() -> None:
    """In a child of multiprocessing, which ends without atexit, close before it ends."""
    if "multiprocessing.process" not in sys.modules:
        return
    from multiprocessing import parent_process, util  # noqa: PLC0415  # only where it is in use already

    if parent_process() is not None:
        util.Finalize(None, _close_all, exitpriority=10)


atexit.register(_close_all)
os.register_at_fork(before=preparing.acquire, after_in_parent=preparing.release, after_in_child=_begin_in_child)

"""What a bridge reads of Prefect: its stream as it comes, and what its API keeps, to find what the stream lost.

    events    checked ─ 15 min          checked      now ─ 1 min    now
              ├── slice ──┼── slice ──┼── slice ──┤
              each: as many as are durable here? else read it and tell those that are not

An interval is compared until 15 minutes after it is over: Prefect stores events seconds after it streams them, and
workers tell some late. Logs are not counted by Prefect's API: the newest are read every few seconds, and once more as
often as events are compared, with those of two minutes before.
"""

import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import structlog

from flowgauge.producers.prefect.api import Credentials, PrefectApi
from flowgauge.producers.prefect.bridge_inbox import Compared, Inbox, Told, What
from flowgauge.producers.prefect.cursor import KEEP_US, Cursor
from flowgauge.producers.prefect.event_stream import events_out
from flowgauge.producers.prefect.look_back import events_between, events_total, fields_of, logs_between
from flowgauge.producers.sender import backoff_ms
from flowgauge.schemas.errors import BadEnvironment, ServerAway

SLICE_US = 5 * 60_000_000  # compared at once; of one that differs all is read
SETTLE_US = 60_000_000  # Prefect writes what it has within seconds
LOGS_EVERY_S = 5.0
LOGS_AGAIN_US = 10_000_000  # read again each time: logs come a little out of order
LOGS_LATE_US = 2 * 60_000_000  # and with each comparison: a worker that could not reach Prefect
LASTING_S = 30.0  # a connection that lasts so long was a good one

log = structlog.get_logger("flowgauge.bridge")


@dataclass(slots=True)
class Progress:
    """What the readers note, for the counts that are told: written by one thread each."""

    connected_us: int = 0  # when the stream began that flows now; 0 while none does
    connections: int = 0
    passed_over: int = 0  # live events that found the inbox full: left to the comparison
    not_kept: int = 0  # events of the last intervals that Prefect streamed and does not keep: it is losing some itself
    trouble: dict[str, str] = field(default_factory=dict[str, str])  # by reader; said when it changes

    def note(self, reader: str, trouble: str) -> None:
        """Note what keeps a reader from reading, "" when nothing does, and say it where it is news."""
        if self.trouble.get(reader, "") == trouble:
            return
        self.trouble[reader] = trouble
        if trouble:
            log.warning("prefect cannot be read, and is asked again", reader=reader, reason=trouble)
        else:
            log.info("prefect is read again", reader=reader)


@dataclass(frozen=True, slots=True)
class Readers:
    """What the threads of a bridge share."""

    api: PrefectApi
    credentials: Credentials
    inbox: Inbox
    progress: Progress
    stop: threading.Event
    compare_s: float
    gap_max_us: int

    def read_live(self) -> None:
        """Read the stream until `stop`, connecting again whenever it ends."""
        attempt = 0
        while not self.stop.is_set():
            began_us = self._now_us()
            try:
                self._read_connection(began_us)
            except (ServerAway, BadEnvironment) as error:
                self.progress.note("stream", str(error))
            self.progress.connected_us = 0
            attempt = 0 if self._now_us() - began_us > LASTING_S * 1_000_000 else attempt + 1
            self.stop.wait(backoff_ms(attempt) / 1000)

    def compare_events(self, cursor: Cursor) -> None:
        """Compare what is durable with what Prefect keeps, until `stop`."""

        def look() -> None:
            not_kept = 0
            for since_us, until_us in self._slices("events", cursor.checked_us, KEEP_US):
                missing = events_total(self.api, since_us, until_us) - cursor.count(since_us, until_us)
                if missing:
                    self._tell("events", cursor, events_between(self.api, since_us, until_us))
                    not_kept += max(0, -missing)
                self.inbox.put(Compared("events", until_us))
            self.progress.not_kept = not_kept

        self._keep_looking("events", look, self.compare_s)

    def read_logs(self, cursor: Cursor) -> None:
        """Read the newest logs every few seconds, and with each comparison those before, until `stop`."""
        read_us, compared_us = self._now_us(), 0

        def look() -> None:
            nonlocal read_us, compared_us
            now_us = self._now_us()
            if now_us - compared_us >= self.compare_s * 1_000_000:
                for since_us, until_us in self._slices("logs", cursor.checked_us, LOGS_LATE_US):
                    self._tell("logs", cursor, logs_between(self.api, since_us, until_us))
                    self.inbox.put(Compared("logs", until_us))
                compared_us, read_us = now_us, min(read_us, now_us - SETTLE_US)
            self._tell("logs", cursor, logs_between(self.api, read_us - LOGS_AGAIN_US, now_us))
            read_us = now_us

        self._keep_looking("logs", look, LOGS_EVERY_S)

    def _read_connection(self, began_us: int) -> None:
        for frame in events_out(self.api.url, self.credentials, since_us=began_us - KEEP_US):
            if self.stop.is_set():
                return
            if not frame:
                self.progress.connected_us = began_us
                self.progress.connections += 1
                if self.progress.connections == 1:
                    log.info("prefect's stream is read", api=self.api.url)
                self.progress.note("stream", "")
            elif not self.inbox.offer(Told("events", frame, live=True)):
                self.progress.passed_over += 1

    def _keep_looking(self, reader: What, look: Callable[[], None], every_s: float) -> None:
        while not self.stop.is_set():
            try:
                look()
                self.progress.note(reader, "")
            except (ServerAway, BadEnvironment) as error:
                self.progress.note(reader, str(error))
            self.stop.wait(every_s)

    def _slices(self, what: What, checked_us: int, again_us: int) -> Iterator[tuple[int, int]]:
        """Yield what to compare, from `again_us` before `checked_us` on; pass over what Prefect keeps no more by then.

        Each may take as long as flowgauge is away.
        """
        since_us, until_us = checked_us - again_us, self._now_us() - SETTLE_US
        while since_us < until_us and not self.stop.is_set():
            oldest_us = self._now_us() - self.gap_max_us
            if oldest_us > max(checked_us, since_us):
                self.inbox.put(Compared(what, oldest_us, is_gone=True))
                since_us = oldest_us
            if since_us < until_us:
                yield since_us, min(since_us + SLICE_US, until_us)
            since_us += SLICE_US

    def _tell(self, what: What, cursor: Cursor, found: Iterator[bytes]) -> None:
        for json in found:
            if self.stop.is_set():
                return
            if not cursor.knows(id_in(fields_of(json))):
                self.inbox.put(Told(what, json))

    def _now_us(self) -> int:
        return self.api.now_ms() * 1000


def id_in(told: dict[str, object]) -> bytes:
    """Return the id of an event or log of Prefect's; one without any has none: b""."""
    try:
        return uuid.UUID(str(told.get("id"))).bytes
    except ValueError:
        return b""

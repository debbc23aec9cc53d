"""A recorded Prefect server: capture lines in, flowgauge event lines out. Pure.

A capture line is `{"topic": "events" | "logs", "data": <as Prefect published it>}`, in publishing order. An
output line is an event with `_append`, the time at which flowgauge's log would have stored it. Publishing
order is file order, so append times never decrease:

    events   received r1        log L        log M      received r2
                 │                │            │            │
    _append     r1         within [r1, r2]   >= L's        r2      L and M: their own timestamp, held inside
                                                                   [r1, r2]; a worker whose clock runs ahead
                                                                   cannot push the events after it out of time
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, cast

import msgspec

from flowgauge.producers.connector_event import EventJson
from flowgauge.producers.event_file import LINE_BYTES_MAX
from flowgauge.producers.prefect.flow_cache import FlowCache
from flowgauge.producers.prefect.mapping import (
    Unmappable,
    map_event,
    map_log,
    rfc3339,
    run_of_log,
    seen_in,
    utc_time,
)

# Logs that wait for the next event's received time. Past it they take their own time: memory stays bounded.
LOGS_WAITING_MAX: Final = 10_000

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Counts:
    """What a conversion met. `problems` says each line that was not converted, once, with its number."""

    lines: int = 0
    events: int = 0
    logs: int = 0
    logs_without_flow: int = 0
    events_already: int = 0  # of the bad: lines that need no conversion
    bad: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """A line that was not converted; line numbers start at 1."""

    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


@dataclass(slots=True)
class _Conversion:
    counts: Counts
    cache: FlowCache = field(default_factory=FlowCache)
    append: datetime | None = None
    waiting: list[tuple[EventJson, datetime]] = field(default_factory=list[tuple[EventJson, datetime]])

    def event(self, data: object) -> Iterator[bytes] | Unmappable:
        mapped = map_event(data)
        if isinstance(mapped, Unmappable):
            return mapped
        received = utc_time(cast("dict[str, object]", data).get("received"))
        if received is None:
            return Unmappable("received: expected the time at which Prefect's server got the event")
        told = seen_in(mapped)
        if told is not None:
            self.cache.learn(*told)
        self.counts.events += 1
        return self._up_to(received, mapped)

    def log(self, data: object) -> Iterator[bytes] | Unmappable:
        seen = self.cache.find(run_of_log(data))
        mapped = map_log(data, seen)
        if isinstance(mapped, Unmappable):
            return mapped
        occurred = utc_time(mapped["occurred"])
        assert occurred is not None  # noqa: S101  # map_log has just written it
        self.counts.logs += 1
        self.counts.logs_without_flow += seen is None
        self.waiting.append((mapped, occurred))
        return self.rest() if len(self.waiting) >= LOGS_WAITING_MAX else iter(())

    def rest(self) -> Iterator[bytes]:
        """Write the logs that wait, with no event after them to bound their time."""
        waiting, self.waiting = self.waiting, []
        for mapped, occurred in waiting:
            yield self._line(mapped, occurred)

    def _up_to(self, received: datetime, mapped: EventJson) -> Iterator[bytes]:
        waiting, self.waiting = self.waiting, []
        for log, occurred in waiting:
            yield self._line(log, min(occurred, received))
        yield self._line(mapped, received)

    def _line(self, mapped: EventJson, at: datetime) -> bytes:
        self.append = at if self.append is None else max(self.append, at)
        return _encode({"_append": rfc3339(self.append), **mapped})


def convert(lines: Iterable[bytes], counts: Counts | None = None) -> Iterator[bytes | Problem]:
    """Yield one JSON line (without newline) for each capture line, and a Problem for each that is none.

    Order is kept but for problems, which come when met. Blank lines are passed over. A run's flow is known to
    its logs as long as it is among the last RUNS_SEEN_MAX runs.
    """
    conversion = _Conversion(counts if counts is not None else Counts())
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        conversion.counts.lines += 1
        converted = _convert_line(conversion, line)
        if isinstance(converted, Unmappable):
            conversion.counts.bad += 1
            yield Problem(number, converted.reason)
        else:
            yield from converted
    yield from conversion.rest()


def _convert_line(conversion: _Conversion, line: bytes) -> Iterator[bytes] | Unmappable:
    if len(line) > LINE_BYTES_MAX:
        return Unmappable(f"longer than {LINE_BYTES_MAX} bytes")
    try:
        record = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Unmappable(f"expected a JSON object, got {line[:40]!r}: {error}")
    if not isinstance(record, dict) or "data" not in record:
        return _no_capture_line(conversion.counts, cast("object", record))
    record = cast("dict[str, object]", record)
    match record.get("topic"):
        case "events":
            return conversion.event(record["data"])
        case "logs":
            return conversion.log(record["data"])
        case other:
            return Unmappable(f"topic: expected events or logs, got {other!r:.40}")


def _no_capture_line(counts: Counts, record: object) -> Unmappable:
    if isinstance(record, dict) and {"event", "occurred"} <= record.keys():
        counts.events_already += 1
        return Unmappable("an event line already")
    return Unmappable('expected {"topic": "events" or "logs", "data": {…}}')

"""Recorded events as the log will hold them: their append times, their place, and nothing of today's clock. Pure.

    line               occurred   _append    effective append_ms
    {"occurred": 10}        10       –        10     the largest `occurred` so far
    {"occurred": 8}          8       –        10
    {"_append": 12}         11      12        12
    {"_append": 11}         11      11        12     it never runs backwards

These are the append times that `flowgauge replay` gives the same file, so both find the same incidents. A shift
moves every time of the file by the same whole number of milliseconds.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from flowgauge.schemas.canonical import canonical
from flowgauge.schemas.check import names_a_key_twice
from flowgauge.schemas.errors import InvalidEvent
from flowgauge.schemas.event import EVENT_BYTES_MAX, partition_key
from flowgauge.schemas.recorded import Moment, append_ms_of, tenant_of
from flowgauge.schemas.refusal import refusal

LINE_BYTES_MAX = EVENT_BYTES_MAX + 4_096  # an event, with room for `_append` and `_partition`
_SHIFTED = ("occurred", "scheduled_for")
_EXCESS_DIGITS = re.compile(r"(\.\d{6})\d+")
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Entry:
    """One event to append, at its recorded append time."""

    append_ms: int
    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line that is no event. `append_ms` is where the file's clock stood."""

    line: int
    append_ms: int
    tenant: str
    reason: str
    detail: str
    raw: bytes


def entries(lines: Iterable[bytes], *, shift_ms: int = 0) -> Iterator[Entry | Unreadable]:
    """Yield what each line becomes, in the order of the file; blank lines are passed over."""
    clock = _FileClock(shift_ms)
    for number, raw in enumerate(lines, start=1):
        line = raw.rstrip(b"\r\n")
        if not line.strip():
            continue
        tenant = tenant_of(None)
        try:
            fields = _fields(line)
            clock.see(fields)
            tenant = _tenant(fields)
            yield _entry(fields, tenant, clock)
        except InvalidEvent as error:
            detail = refusal(error, line if len(line) <= LINE_BYTES_MAX else b"")
            yield Unreadable(number, clock.append_ms, tenant, error.reason, detail, line)


def last_append_ms(lines: Iterable[bytes]) -> int:
    """Return the effective append time of the last event, 0 when there is none."""
    clock = _FileClock(0)
    for line in lines:
        if line.strip():
            try:
                clock.see(_fields(line.rstrip(b"\r\n")))
            except InvalidEvent:
                continue
    return clock.append_ms


def is_capture(line: bytes) -> bool:
    """Tell whether `line` is one of a raw Prefect capture, not an event."""
    try:
        fields = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return "topic" in fields and "data" in fields and "occurred" not in fields


class _FileClock:
    def __init__(self, shift_ms: int) -> None:
        self.shift_ms = shift_ms
        self.append_ms = 0

    def see(self, fields: dict[str, Any]) -> None:
        """Move to the line's `_append`, else to its `occurred`; a line without either leaves the clock."""
        at_ms = _append_ms(fields)
        if at_ms is not None:
            self.append_ms = max(self.append_ms, at_ms + self.shift_ms)


def _fields(line: bytes) -> dict[str, Any]:
    if len(line) > LINE_BYTES_MAX:
        raise InvalidEvent("too large", f"{len(line)} bytes, at most {EVENT_BYTES_MAX} are accepted")
    try:
        line.decode()
        fields = _decode(line)
    except UnicodeDecodeError as error:
        raise InvalidEvent("not UTF-8", f"byte {error.start}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidEvent("not JSON", str(error)) from None
    if names_a_key_twice(line):
        raise InvalidEvent("duplicate key", "a JSON object names one key twice")
    return fields


def _append_ms(fields: dict[str, Any]) -> int | None:
    append = _converted("_append", _cut(fields.get("_append")), Moment | None)
    if append is not None:
        return append_ms_of(append)
    occurred = _moment(fields.get("occurred"))
    return append_ms_of(occurred, "occurred") if occurred else None


def _tenant(fields: dict[str, Any]) -> str:
    return tenant_of(_converted("tenant", fields.get("tenant"), str | None))


def _converted(name: str, value: object, type_: Any) -> Any:
    """Return a field as the replay's decoder reads it. Raises InvalidEvent for another type."""
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        raise InvalidEvent("wrong field", f"{error} - at `$.{name}`") from None


def _entry(fields: dict[str, Any], tenant: str, clock: _FileClock) -> Entry:
    event_fields = {name: value for name, value in fields.items() if name not in {"_append", "_partition"}}
    if clock.shift_ms:
        _shift(event_fields, timedelta(milliseconds=clock.shift_ms))
    value, event = canonical(_encode(event_fields), tenant=tenant, append_ms=clock.append_ms)
    return Entry(clock.append_ms, partition_key(event), value)


def _shift(fields: dict[str, Any], by: timedelta) -> None:
    for name in _SHIFTED:
        moment = _moment(fields.get(name))
        if moment is not None:
            fields[name] = (moment + by).isoformat()


def _moment(value: object) -> datetime | None:
    """Return an RFC 3339 time cut to µs, None for what `check` will refuse."""
    try:
        moment = msgspec.convert(_cut(value), datetime)
    except msgspec.ValidationError:
        return None
    return moment if moment.tzinfo else None


def _cut(time: object) -> object:
    return _EXCESS_DIGITS.sub(r"\1", time) if isinstance(time, str) else time

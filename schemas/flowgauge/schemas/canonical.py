r"""`canonical`: from a sender's bytes to the one form in which an event stands in the log. Pure.

    {"event": "etl.done", "id": "…", "colour": "red", …}          what came, under a token of tenant `acme`
    {"id":"…","tenant":"acme","event":"etl.done",…,"extra":{"colour":"red"}}      what is kept

* The tenant is the token's, whatever the sender wrote.
* Top-level fields that flowgauge does not know move into `extra`; one that stands there too is refused.
* Times are in UTC and cut, not rounded, to µs: an event never moves over the end of a window.
* Defaults are left out. Numbers keep their value: integers of any length that Python reads, floats as doubles.
* `\u0000` and other escaped control characters stay; raw ones, lone surrogates and non-UTF-8 are refused.

Laws: `canonical` of a canonical record is itself, and `check` accepts it. Read `check` next.
"""

import re
from collections.abc import Iterable
from datetime import UTC
from functools import lru_cache
from typing import Any, cast

import msgspec

from flowgauge.schemas.check import check_fields, decode_json, has_same_members, names_a_key_twice
from flowgauge.schemas.errors import InvalidEvent
from flowgauge.schemas.event import EVENT_BYTES_MAX, EVENT_FIELDS, Event, encode_event

_TIME_FIELDS = ("occurred", "scheduled_for")
# A time with more digits than µs; its zone may be written in escapes.
_PAST_MICROSECONDS = re.compile(rb'\.\d{7,}(?:[Zz]"|[+-]\d\d:?\d\d"|[^"]{0,32}\\u)')
_EXCESS_DIGITS = re.compile(r"(\.\d{6})\d+")
_ID = b'{"id":"'
_AFTER_ID = len(_ID) + 36 + len(b'",')  # where the tenant stands in a record whose UUID is written as we write it
_TENANTS_CACHED = 1_024  # tenants of one gateway whose prefix is kept; beyond it, they are made again

_encode = msgspec.json.Encoder().encode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def canonical(raw: bytes, *, tenant: str, append_ms: int) -> tuple[bytes, Event]:
    """Return the record to append at about `append_ms` for what a sender of `tenant` wrote, and its event.

    Raises InvalidEvent with the reasons of `check`.
    """
    quick = _as_it_is(raw, tenant, append_ms)
    if quick is not None:
        return quick
    event = check_fields(_rearranged(raw, tenant), append_ms)
    return _encoded(event)


def cut_times(raw: bytes, names: Iterable[str] = _TIME_FIELDS) -> bytes:
    """Return an event's JSON with its times `names` cut to µs, as `canonical` does it. Most say no more than µs.

    Raises InvalidEvent for what is no JSON object, or names a key twice.
    """
    if not _PAST_MICROSECONDS.search(raw):
        return raw
    return _encode(_fields_with_cut_times(raw, names))


def with_tenant(raw: bytes, tenant: str) -> bytes:
    """Return an event's JSON with its tenant set, whatever it said, and its times cut. Raises as `cut_times`."""
    return _encode(_fields_with_cut_times(raw) | {"tenant": tenant})


def _as_it_is(raw: bytes, tenant: str, append_ms: int) -> tuple[bytes, Event] | None:
    """Return what most senders' events become, the tenant added. None: look closely, or find the error.

    A record that comes back equal has nothing twice, unknown or to cut; one in another order of fields is as good
    when it has as many members.
    """
    at = _AFTER_ID if raw[: len(_ID)] == _ID and raw[_AFTER_ID - 2 : _AFTER_ID] == b'",' else 1
    completed = raw[:at] + _tenant_member(tenant) + raw[at:]
    try:
        event = check_fields(completed, append_ms)
    except InvalidEvent:
        return None  # the slower way says it about the bytes that came
    encoded, event = _encoded(event)
    if encoded == completed or (has_same_members(completed, encoded) and not _PAST_MICROSECONDS.search(raw)):
        return encoded, event
    return None


def _encoded(event: Event) -> tuple[bytes, Event]:
    try:
        if event.occurred.tzinfo is not UTC:
            event = msgspec.structs.replace(event, occurred=event.occurred.astimezone(UTC))
        if event.scheduled_for is not None and event.scheduled_for.tzinfo is not UTC:
            event = msgspec.structs.replace(event, scheduled_for=event.scheduled_for.astimezone(UTC))
    except OverflowError:
        raise InvalidEvent("wrong field", "a time that is not within the years 1 to 9999 in UTC") from None
    encoded = encode_event(event)
    if len(encoded) > EVENT_BYTES_MAX:
        raise InvalidEvent("too large", f"{len(encoded)} bytes as it is kept, at most {EVENT_BYTES_MAX} are accepted")
    return encoded, event


def _rearranged(raw: bytes, tenant: str) -> bytes:
    """Return `raw` with the tenant set, times cut and unknown fields moved; else what `check` calls wrong."""
    fields = _fields_with_cut_times(raw)
    fields["tenant"] = tenant
    unknown = {name: fields.pop(name) for name in fields.keys() - EVENT_FIELDS}
    if unknown:
        fields["extra"] = _with_unknown(fields.get("extra", {}), unknown)
    return _encode(fields)


def _fields_with_cut_times(raw: bytes, names: Iterable[str] = _TIME_FIELDS) -> dict[str, Any]:
    fields = decode_json(raw, _decode_object)
    if not has_same_members(raw, _encode(fields)) and names_a_key_twice(raw):
        raise InvalidEvent("duplicate key", "a JSON object names one key twice")
    for name in names:
        if isinstance(time := fields.get(name), str):
            fields[name] = _EXCESS_DIGITS.sub(r"\1", time)
    return fields


def _with_unknown(extra: object, unknown: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(extra, dict):
        raise InvalidEvent("wrong field", f"Expected `object`, got `{type(extra).__name__}` - at `$.extra`")
    known = cast("dict[str, Any]", extra)
    for name in sorted(unknown):  # so that the order, and the bytes, are the same in every process
        if name in known:
            raise InvalidEvent("duplicate key", f"`{name[:64]}` stands both at the top and in `extra`")
    return known | {name: unknown[name] for name in sorted(unknown)}


@lru_cache(maxsize=_TENANTS_CACHED)
def _tenant_member(tenant: str) -> bytes:
    return b'"tenant":' + _encode(tenant) + b","

"""`check`: when are bytes an event? One pure answer for the gateway, the matcher and the sink.

What alerts and what is stored can therefore never differ. Time limits are relative to the append time, so the
answer is the same in a replay. Read `event` first.
"""

import re

import msgspec

from flowgauge.schemas.errors import InvalidEvent
from flowgauge.schemas.event import (
    EVENT_BYTES_MAX,
    OCCURRED_AHEAD_MAX_MS,
    OCCURRED_PAST_MAX_MS,
    Event,
    decode_event,
    encode_event,
)
from flowgauge.schemas.times import micros, rfc3339

REASONS = (
    "too large",
    "not UTF-8",
    "not JSON",
    "wrong field",
    "duplicate key",
    "no resource id",
    "related without id or role",
    "clock far off",
)

_SPACE_BEFORE_COLON = re.compile(rb'"[ \t\r\n]+:')


def check(raw: bytes, append_ms: int) -> Event:
    """Return the event in `raw`, a record appended at `append_ms`.

    Raises InvalidEvent whose `reason` is one of REASONS and whose detail names the field.
    """
    if len(raw) > EVENT_BYTES_MAX:
        raise InvalidEvent("too large", f"{len(raw)} bytes, at most {EVENT_BYTES_MAX} are accepted")
    event = _decode(raw)
    if not event.resource.get("id"):
        raise InvalidEvent("no resource id", "`resource` needs a non-empty `id` label")
    for related in event.related:
        if not related.get("id") or not related.get("role"):
            raise InvalidEvent("related without id or role", "each of `related` needs both labels")
    if has_duplicate_keys(raw, event):
        raise InvalidEvent("duplicate key", "a JSON object names one key twice")
    _check_clock(event, append_ms)
    return event


def has_duplicate_keys(raw: bytes, event: Event) -> bool:
    """Tell whether any object in `raw`, which decodes to `event`, names a key twice.

    Decoding keeps one of two equal keys, so encoding again yields fewer `":` than `raw` has. Space before a
    colon, escaped quotes and defaults change the count too: whenever it differs or could mislead, look closely.
    """
    members = raw.count(b'":')
    if members == encode_event(event).count(b'":') and b"\\u0022" not in raw and not _has_loose_colon(raw):
        return False
    return _has_duplicate_keys_slowly(raw)


def _decode(raw: bytes) -> Event:
    try:
        if not raw.isascii():
            raw.decode()  # msgspec skips unknown fields without looking at their text
        return decode_event(raw)
    except UnicodeDecodeError as error:
        raise InvalidEvent("not UTF-8", f"byte {error.start}") from None
    except msgspec.ValidationError as error:
        raise InvalidEvent("wrong field", str(error)) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidEvent("not JSON", str(error)) from None


def _check_clock(event: Event, append_ms: int) -> None:
    ahead_ms = micros(event.occurred) // 1000 - append_ms
    if not -OCCURRED_PAST_MAX_MS <= ahead_ms <= OCCURRED_AHEAD_MAX_MS:
        raise InvalidEvent(
            "clock far off",
            f"`occurred` {event.occurred.isoformat()} is not within -400 d and +1 d of {rfc3339(append_ms)}",
        )


def _has_loose_colon(raw: bytes) -> bool:
    return (b'" ' in raw or b'"\t' in raw or b'"\n' in raw or b'"\r' in raw) and bool(
        _SPACE_BEFORE_COLON.search(raw)
    )


class _DuplicateKeyError(Exception):
    pass


def _has_duplicate_keys_slowly(raw: bytes) -> bool:
    import json  # noqa: PLC0415  # the standard decoder is the one that shows every pair; rarely needed

    def refuse_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise _DuplicateKeyError
        return found

    try:
        json.loads(raw, object_pairs_hook=refuse_twins)
    except _DuplicateKeyError:
        return True
    return False

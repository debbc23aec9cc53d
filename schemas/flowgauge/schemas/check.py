"""`check`: when are bytes an event? One pure answer for the gateway, the matcher and the sink.

What alerts and what is stored can therefore never differ. Time limits are relative to the append time, so the
answer is the same in a replay. Read `event` first.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

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
from flowgauge.schemas.times import EPOCH, millis, rfc3339

DEPTH_MAX = 64  # nested objects and arrays: far below where Python's or ClickHouse's readers differ or give up
SCHEDULED_MIN = EPOCH  # `scheduled_for` may lie far ahead, but within what a ClickHouse DateTime64 holds
SCHEDULED_MAX = datetime(2200, 1, 1, tzinfo=UTC)

REASONS = (
    "too large",
    "not UTF-8",
    "not JSON",
    "too deep",
    "wrong field",
    "duplicate key",
    "no resource id",
    "related without id or role",
    "clock far off",
)

_SPACE_BEFORE_COLON = re.compile(rb'"[ \t\r\n]+:')
# Possessive, and a string that never closes goes to the end: each byte is looked at once, whatever is sent.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_NO_BRACKET = re.compile(rb"[^\[\]{}]+")
_Decoded = TypeVar("_Decoded")
_decode_anything = msgspec.json.Decoder().decode


def check(raw: bytes, append_ms: int) -> Event:
    """Return the event in `raw`, a record appended at `append_ms`.

    Raises InvalidEvent whose `reason` is one of REASONS and whose detail names the field.
    """
    event = check_fields(raw, append_ms)
    if has_duplicate_keys(raw, event):
        raise InvalidEvent("duplicate key", "a JSON object names one key twice")
    return event


def check_fields(raw: bytes, append_ms: int) -> Event:
    """Do what `check` does, but for keys that stand twice: for a caller that compares encodings anyway."""
    event = decode_json(raw, decode_event)
    if not event.resource.get("id"):
        raise InvalidEvent("no resource id", "`resource` needs a non-empty `id` label")
    for related in event.related:
        if not related.get("id") or not related.get("role"):
            raise InvalidEvent("related without id or role", "each of `related` needs both labels")
    _check_times(event, append_ms)
    return event


def decode_json(raw: bytes, decode: Callable[[bytes], _Decoded], *, bytes_max: int = EVENT_BYTES_MAX) -> _Decoded:
    """Return `decode(raw)`, a msgspec decoder's answer; raise InvalidEvent for what is no sane JSON or no such type.

    The depth is looked at first, so that an answer never hangs on how deep the caller's own stack is.
    """
    if len(raw) > bytes_max:
        raise InvalidEvent("too large", f"{len(raw)} bytes, at most {bytes_max} are accepted")
    if len(raw) - len(raw.translate(None, b"[{")) > DEPTH_MAX and _depth(raw) > DEPTH_MAX:
        raise InvalidEvent("too deep", f"objects and arrays are nested more than {DEPTH_MAX} deep")
    try:
        if not raw.isascii():
            raw.decode()  # msgspec skips unknown fields without looking at their text
        return decode(raw)
    except UnicodeDecodeError as error:
        raise InvalidEvent("not UTF-8", f"byte {error.start}") from None
    except msgspec.ValidationError as error:
        raise InvalidEvent("wrong field", str(error)) from None
    except msgspec.DecodeError as error:
        raise InvalidEvent("not JSON", str(error)) from None


def has_duplicate_keys(raw: bytes, event: Event) -> bool:
    """Tell whether any object in `raw`, which decodes to `event`, names a key twice.

    Canonical records are told apart by comparing bytes, others by counting members, the rest by looking at each pair.
    """
    encoded = encode_event(event)
    return (
        encoded != raw and not has_same_members(raw, encoded) and not _keeps_its_members(raw) and names_a_key_twice(raw)
    )


def _keeps_its_members(raw: bytes) -> bool:
    """Tell whether `raw` has as many members when decoded and encoded again, unknown fields and defaults included."""
    try:
        return has_same_members(raw, encode_event(_decode_anything(raw)))
    except msgspec.MsgspecError:
        return False  # an unknown field holds what only the slower reader reads, such as an endless number


def has_same_members(raw: bytes, encoded: bytes) -> bool:
    """Tell whether `raw` surely has as many members as `encoded`, which was encoded from what `raw` decodes to.

    Decoding keeps one of two equal keys and drops unknown ones, so then `encoded` has fewer `":` than `raw`. Space
    before a colon and escaped quotes or colons change the count too: where they could mislead, the answer is no.
    """
    return (
        raw.count(b'":') == encoded.count(b'":')
        and not _has_loose_colon(raw)
        and (b"\\" not in raw or (b"\\u0022" not in raw and b"\\u003" not in raw))
    )


def names_a_key_twice(raw: bytes) -> bool:
    """Tell whether any object in `raw`, which is JSON, names a key twice. Slow: it looks at every pair."""
    try:
        json.loads(raw, object_pairs_hook=_refuse_twins, parse_int=str, parse_float=str)
    except _DuplicateKeyError:
        return True
    return False


def _depth(raw: bytes) -> int:
    depth = deepest = 0
    for byte in _NO_BRACKET.sub(b"", _STRING.sub(b"", raw)):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


def _check_times(event: Event, append_ms: int) -> None:
    ahead_ms = millis(event.occurred) - append_ms
    if not -OCCURRED_PAST_MAX_MS <= ahead_ms <= OCCURRED_AHEAD_MAX_MS:
        raise InvalidEvent(
            "clock far off",
            f"`occurred` {event.occurred.isoformat()} is not within -400 d and +1 d of {rfc3339(append_ms)}",
        )
    if event.scheduled_for is not None and not SCHEDULED_MIN <= event.scheduled_for < SCHEDULED_MAX:
        raise InvalidEvent("wrong field", f"`scheduled_for` {event.scheduled_for.isoformat()} is not in 1970 to 2199")


def _has_loose_colon(raw: bytes) -> bool:
    # A space or a control character right before the colon; most records have neither, and this is looked at each time.
    loose = b" :" in raw or b"\n" in raw or b"\t" in raw or b"\r" in raw
    return loose and _SPACE_BEFORE_COLON.search(raw) is not None


class _DuplicateKeyError(Exception):
    pass


def _refuse_twins(pairs: list[tuple[str, object]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise _DuplicateKeyError

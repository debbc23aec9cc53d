"""Times and durations as flowgauge counts them: whole milliseconds or microseconds since 1970, UTC."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MICROSECOND, _MILLISECOND = timedelta(microseconds=1), timedelta(milliseconds=1)
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_DURATION = re.compile(r"(?:\d+(?:ms|[smhdw]))+")
_DURATION_PART = re.compile(r"(\d+)(ms|[smhdw])")
# How else people write durations, as Go, Prometheus, Kubernetes and English do.
_UNIT_OF = {
    **{unit: unit for unit in _UNIT_MS},
    **dict.fromkeys(("msec", "milli", "millisecond"), "ms"),
    **dict.fromkeys(("sec", "second"), "s"),
    **dict.fromkeys(("min", "minute"), "m"),
    **dict.fromkeys(("hr", "hour"), "h"),
    "day": "d",
    "wk": "w",
    "week": "w",
}
_PART_IN_WORDS = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)")
_DURATION_IN_WORDS = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?\s*[a-z]+[\s,]*)+")
_NEAR_CHARS_MAX = 40  # nobody writes a longer one


def micros(moment: datetime) -> int:
    """Return the microseconds since 1970 of an aware `moment`."""
    return (moment - EPOCH) // _MICROSECOND


def millis(moment: datetime) -> int:
    """Return the whole milliseconds since 1970 of an aware `moment`."""
    return (moment - EPOCH) // _MILLISECOND


def rfc3339(ms: int) -> str:
    """Return `ms` since 1970 as RFC 3339 in UTC with milliseconds, such as 2026-11-23T09:41:06.250Z."""
    text = (EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


def parse_time_ms(text: str) -> int:
    """Return the ms since 1970 of an RFC 3339 time, or of an integer that already counts ms.

    Raises ValueError that names both accepted forms.
    """
    if re.fullmatch(r"\d{1,15}", text):
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"expected an RFC 3339 time with a zone, or epoch milliseconds, got {text!r}")
    return millis(moment)


def parse_duration_ms(text: str) -> int:
    """Return the ms of a duration such as `90s`, `1h30m` or `250ms`; raise ValueError with the forms, or a guess."""
    if not _DURATION.fullmatch(text):
        near = _in_our_units(text)
        meant = f": did you mean {near}?" if near else ""
        raise ValueError(f"expected a duration such as 30s, 10m, 1h30m or 7d, got {text!r}{meant}")
    return sum(int(count) * _UNIT_MS[unit] for count, unit in _DURATION_PART.findall(text))


def _in_our_units(text: str) -> str:
    """Return a duration that is written otherwise, such as `10 min` or `1.5h`, as we write it; empty for others."""
    words = text.strip().lower()
    if len(words) > _NEAR_CHARS_MAX or not _DURATION_IN_WORDS.fullmatch(words):
        return ""
    total_ms = Decimal(0)
    for count, word in _PART_IN_WORDS.findall(words):
        unit = _UNIT_OF.get(word) or _UNIT_OF.get(word.removesuffix("s"))
        if unit is None:
            return ""
        total_ms += Decimal(count) * _UNIT_MS[unit]
    return format_duration(int(total_ms)) if total_ms == int(total_ms) else ""


def format_duration(ms: int) -> str:
    """Return the shortest exact form that `parse_duration_ms` reads back, such as `1h30m`."""
    parts: list[str] = []
    for unit in ("w", "d", "h", "m", "s", "ms"):
        count, ms = divmod(ms, _UNIT_MS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"

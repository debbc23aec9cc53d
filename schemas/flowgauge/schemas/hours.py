"""The hours of a recurring window: when they begin and end, over every change of the clock. Pure.

A moment is within the hours when the clock of the place shows a time in them. So what the clock skips is in no window,
and what it shows twice is in twice:

    02:00-03:00 in Berlin    29 March 2026: 02:00 is followed by 03:00     nothing
                             25 October 2026: 02:00 to 03:00, and again    two hours, from 00:00 to 02:00 UTC
    22:00-02:30              25 October: 02:30 comes twice                 until the first, and from 02:00 to the second

A window over midnight is of the day on which it begins.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from itertools import count
from typing import NamedTuple
from zoneinfo import ZoneInfo

from flowgauge.schemas.control import Recurrence
from flowgauge.schemas.times import EPOCH

DAY_MS, MINUTE_MS = 86_400_000, 60_000
_WEEK_DAYS = 7
_MONDAY = 3  # the weekday of the day 0: 1 January 1970 was a Thursday
_STEP_MS = 3 * 3_600_000  # no place changes its clock twice in so short a time
_SECOND_MS = 1_000  # changes of a clock fall on whole seconds


class Span(NamedTuple):
    """The time [from_ms, to_ms), all of it within the hours, or all of it out of them."""

    from_ms: int
    to_ms: int
    is_within: bool


@dataclass(frozen=True, slots=True)
class Hours:
    """The hours of `recurrence`. Its zone must be known: ZoneInfo's errors are raised."""

    recurrence: Recurrence
    zone: ZoneInfo

    def span(self, at_ms: int, until_ms: int) -> Span:
        """Return the time around `at_ms` in which nothing changes, from `at_ms` on and at most to `until_ms`."""
        if self.recurrence.from_minute == self.recurrence.to_minute and len({*self.recurrence.days}) == _WEEK_DAYS:
            return Span(at_ms, until_ms, is_within=True)  # always: nobody should walk through the year for it
        is_within, to_ms = self._piece(at_ms)
        while to_ms < until_ms:
            goes_on, next_ms = self._piece(to_ms)
            if goes_on != is_within:
                break
            to_ms = next_ms
        return Span(at_ms, min(to_ms, until_ms), is_within)

    def windows(self, at_ms: int, until_ms: int) -> Iterator[Span]:
        """Yield the windows of the time [at_ms, until_ms), in order."""
        while at_ms < until_ms:
            span = self.span(at_ms, until_ms)
            if span.is_within:
                yield span
            at_ms = span.to_ms

    def _piece(self, at_ms: int) -> tuple[bool, int]:
        """Tell whether `at_ms` is within, and a later time until which this holds."""
        offset_ms = _offset_ms(self.zone, at_ms)
        day, in_day_ms = divmod(at_ms + offset_ms, DAY_MS)
        from_ms, to_ms = self.recurrence.from_minute * MINUTE_MS, self.recurrence.to_minute * MINUTE_MS
        if from_ms < to_ms:
            is_within = self._begins_on(day) and from_ms <= in_day_ms < to_ms
        else:
            begun_today = self._begins_on(day) and in_day_ms >= from_ms
            is_within = begun_today or (self._begins_on(day - 1) and in_day_ms < to_ms)
        edge_ms = min(edge for edge in (from_ms, to_ms, DAY_MS) if edge > in_day_ms)
        return is_within, _until_change(self.zone, at_ms, at_ms + edge_ms - in_day_ms, offset_ms)

    def _begins_on(self, day: int) -> bool:
        return (day + _MONDAY) % _WEEK_DAYS in self.recurrence.days


def hours_of(recurrence: Recurrence) -> Hours:
    """Return the hours of a recurrence; raise ValueError where no such zone is known."""
    return Hours(recurrence, _zone(recurrence.timezone))


@lru_cache(maxsize=1_000)  # more than there are zones
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # a folder; a name that leaves the folder; none
        raise ValueError(f"no time zone is called {name!r}") from None


def _offset_ms(zone: ZoneInfo, at_ms: int) -> int:
    offset = (EPOCH + timedelta(milliseconds=at_ms)).astimezone(zone).utcoffset()
    return (offset or timedelta()) // timedelta(milliseconds=1)


def _until_change(zone: ZoneInfo, from_ms: int, to_ms: int, offset_ms: int) -> int:
    """Return `to_ms`, or the first time after `from_ms`, where the offset is `offset_ms`, at which it is another."""
    for step in count(1):
        step_ms = min(from_ms + step * _STEP_MS, to_ms)
        if _offset_ms(zone, step_ms) != offset_ms:
            same, other = (step_ms - _STEP_MS) // _SECOND_MS, -(-step_ms // _SECOND_MS)
            while other - same > 1:
                middle = (same + other) // 2
                is_same = _offset_ms(zone, middle * _SECOND_MS) == offset_ms
                same, other = (middle, other) if is_same else (same, middle)
            return min(other * _SECOND_MS, to_ms)
        if step_ms == to_ms:
            return to_ms
    raise AssertionError  # never: the steps reach `to_ms`

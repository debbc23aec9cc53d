"""The timetable: a schedule as a rule asks it, in ms: which slots a start meets, and when the next one is due.

    slots         02:00           03:00           04:00
    a start   ──────── 02:20                                   meets 02:00, and all before it
    due                           ├── within ──►│              03:00 is missed unless it is met by then

A start meets every slot up to its place: the time for which it was scheduled, or at which it started. Clocks of hosts
differ, so it also meets a slot up to 10 s ahead, or up to a quarter of the time from there to the next slot.

Around a change of the clock schedulers disagree about slots. There a slot is met by what comes as much before it as
the clock changes, and is due as much later: whichever way a scheduler takes it, nothing seems missed.

Invariant: what it answers follows from schedule and question alone. The slots near the last question are remembered,
because all keys of a rule ask about the same ones.
"""

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import chain, pairwise
from typing import NamedTuple

from flowgauge.processors.cron import YEAR_MAX
from flowgauge.processors.slots import Interval, Schedule
from flowgauge.schemas.times import EPOCH, millis

EARLY_MAX_MS = 10_000  # how far clocks of hosts may differ, as everywhere in detection
_MEASURED_FROM = datetime(2024, 1, 1, tzinfo=UTC)  # any time would do; of a year with a 29 February
_MEASURES_MAX = 400  # days or slots, whichever lie further apart
_MEASURE_MS = 86_400_000
SLOTS_KEPT_MAX = 1_000  # with the ones that one question adds; then it begins anew at the next


class Slot(NamedTuple):
    """A time at which a run is due, and how far off a scheduler that takes a change of the clock otherwise may be."""

    at_ms: int
    doubt_ms: int


_NEVER = (Slot(millis(datetime.max.replace(tzinfo=UTC)), 0),)  # follows the last slot


class Due(NamedTuple):
    """The slot that will be missed next, and when."""

    slot_ms: int
    deadline_ms: int


class Timetable:
    """The slots of one rule. Not for several threads at once."""

    def __init__(self, schedule: Schedule | Interval) -> None:
        self._schedule = schedule
        self._since_ms = 0
        self._slots: list[Slot] = []  # those later than that, in their order
        self._rest: Iterator[Slot] = iter(())
        self._is_over = False  # there are no more than these

    def after(self, moment_ms: int) -> Iterator[Slot]:
        """Yield the slots later than `moment_ms`, in growing order. One at a time: asking again ends this."""
        if not self._remembers(moment_ms):
            self._since_ms, self._slots, self._is_over = moment_ms, [], False
            self._rest = self._read(moment_ms)
        place = bisect_right(self._slots, moment_ms, key=_time_of)
        while place < len(self._slots) or self._read_one():
            yield self._slots[place]
            place += 1

    def met_by(self, place_ms: int, met_ms: int = 0, *, early_max_ms: int = EARLY_MAX_MS) -> int:
        """Return up to when every slot is met, where they were up to `met_ms` and a start of this place comes."""
        met_ms = max(met_ms, place_ms)
        for slot, following in pairwise(chain(self.after(met_ms), _NEVER)):
            early_ms = min(early_max_ms, (following.at_ms - slot.at_ms) // 4)
            if slot.at_ms - slot.doubt_ms - early_ms > place_ms:
                break
            met_ms = slot.at_ms
        return met_ms

    def due(self, met_ms: int, within_ms: int) -> Due | None:
        """Return which slot after `met_ms` is the first to be missed, `within_ms` after it; None where none comes."""
        found: Due | None = None
        for slot in self.after(met_ms):
            if found is not None and slot.at_ms + within_ms >= found.deadline_ms:
                break
            deadline_ms = slot.at_ms + slot.doubt_ms + within_ms
            if found is None or deadline_ms < found.deadline_ms:
                found = Due(slot.at_ms, deadline_ms)
        return found

    @cached_property
    def longest_ms(self) -> int:
        """The longest time from a slot to the next, doubts included; 0 where there are no two.

        Measured from day to day over more than a year, so it may be up to a day too long. It is too short where
        slots lie further apart only after that.
        """
        if isinstance(self._schedule, Interval):
            return self._schedule.every // timedelta(milliseconds=1)
        slots = list(self._one_a_day())
        return max((after.at_ms + after.doubt_ms - slot.at_ms for slot, after in pairwise(slots)), default=0)

    def _one_a_day(self) -> Iterator[Slot]:
        """Yield slots of which two that follow have no longer time without a slot between them than from each other."""
        moment_ms = millis(_MEASURED_FROM)
        for _ in range(_MEASURES_MAX):
            slot = next(self._read(moment_ms), None)
            if slot is None:
                return
            yield slot
            moment_ms = max(moment_ms + _MEASURE_MS, slot.at_ms)

    def text(self, slot_ms: int) -> str:
        """Return a slot as people read it: in the zone of the schedule, with the offset."""
        return self._schedule.local(EPOCH + timedelta(milliseconds=slot_ms)).isoformat(timespec="seconds")

    def _remembers(self, moment_ms: int) -> bool:
        if moment_ms < self._since_ms or len(self._slots) > SLOTS_KEPT_MAX:
            return False
        return self._is_over or (bool(self._slots) and moment_ms < self._slots[-1].at_ms)

    def _read(self, moment_ms: int) -> Iterator[Slot]:
        moment = EPOCH + timedelta(milliseconds=max(0, moment_ms))
        if moment.year > YEAR_MAX:
            return
        for slot in self._schedule.after(moment):
            yield Slot(millis(slot), self._schedule.doubt(slot) // timedelta(milliseconds=1))

    def _read_one(self) -> bool:
        """Read one slot more; tell whether there was one."""
        slot = None if self._is_over else next(self._rest, None)
        if slot is None:
            self._is_over = True
            return False
        self._slots.append(slot)
        return True


def _time_of(slot: Slot) -> int:
    return slot.at_ms

"""The slots of a schedule: the instants at which a scheduler starts a run of a cron expression in a time zone.

One that counts elapsed time, an `Interval`, has them at equal distances; all that follows is of cron.

A local time has two readings, by the offset before and after a change of the clock; `first` is by the offset before:

    ordinary    first = second
    skipped     first > second    clocks go forward: the change itself lies between the two
    repeated    first < second    clocks go back: both happen

Cases of a skipped time: (1) no slot, (2) one at the change, (3) one as much later as the clock was put forward.
Cases of a repeated time: (4) the first reading, (5) the second, (6) both. Which holds where, by dialect:

    debian     runs each hour or minute: 1, 6    else: 2, 4; over a change of more than three hours 1, 6
    dagster    each hour: 1, 6                   else: 2, 5; it corrects only hours 1 to 3: of others 3, and of a
               schedule that `is_once_a_day` 4
    croniter   each hour: 1, 6                   else: 2, 6
    prefect    3, 4
    airflow    each next slot is found from the one before, see `_chained`

Invariant: the slots after any instant are those of any earlier one that are later than it. docs/schedules.md tells
people; `cron` reads the expression.
"""

import difflib
import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from flowgauge.processors.cron import YEAR_MAX, YEAR_MIN, Cron

_DEBIAN_CHANGE_MAX = timedelta(hours=3)  # cron(8): larger changes of the clock are corrections, not summer time
_DAGSTER_HOURS = frozenset({1, 2, 3})  # its DAYLIGHT_SAVINGS_HOURS
_NEAR = timedelta(days=2)  # no clock was ever put forward or back by more than a day
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Schedule:
    """A cron expression in a zone, as a dialect runs it."""

    cron: Cron
    zone: ZoneInfo

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the slots later than `moment`, an aware time of the years 1970 to 2199: UTC, in growing order.

        Ends where the expression names no more times, or after 2199. Raises ValueError for another year.
        """
        if not YEAR_MIN <= moment.year <= YEAR_MAX:
            raise ValueError(f"expected a time of the years {YEAR_MIN} to {YEAR_MAX}, got {moment.isoformat()}")
        moment = moment.astimezone(UTC)
        found = self._chained(moment) if self.cron.dialect == "airflow" else self._merged(moment)
        return (slot for slot in found if slot > moment)

    def doubt(self, slot: datetime) -> timedelta:
        """Return by how much a scheduler that takes changes of the clock otherwise may miss `slot`, before or after.

        As much as the clock changes, for local times that happen twice, and for as long after a change forward: there
        is what was skipped. Elsewhere 0.
        """
        size = self._change_near(slot)
        offset = self._offset(slot)
        is_near = self._offset(slot - size) != offset or self._offset(slot + size) < offset
        return size if is_near else timedelta()

    def local(self, slot: datetime) -> datetime:
        """Return `slot` as the clocks of the zone show it."""
        return slot.astimezone(self.zone)

    def _merged(self, moment: datetime) -> Iterator[datetime]:
        """Yield what the local times near and after `moment` become, once each, in order."""
        waiting: list[datetime] = []
        told = datetime.min.replace(tzinfo=UTC)
        for wall in self.cron.walls(self._local(moment) - self._change_near(moment)):
            first, second = self._readings(wall)
            for slot in self._slots(wall, first, second):
                heapq.heappush(waiting, slot)
            # No later local time has a slot before this.
            bound = first if first <= second else self._change(second, first)
            while waiting and waiting[0] <= bound:
                slot = heapq.heappop(waiting)
                if slot > told:
                    told = slot
                    yield slot
        yield from sorted(slot for slot in set(waiting) if slot > told)

    def _slots(self, wall: datetime, first: datetime, second: datetime) -> tuple[datetime, ...]:
        """Return what a local time becomes: the table of cases above."""
        dialect = self.cron.dialect
        if first == second or dialect == "prefect":
            return (first,)
        is_skipped = first > second
        if self.cron.is_every_hour or (dialect == "debian" and abs(first - second) > _DEBIAN_CHANGE_MAX):
            return () if is_skipped else (first, second)
        if dialect == "dagster" and wall.hour not in _DAGSTER_HOURS and (is_skipped or self.cron.is_once_a_day):
            return (first,)
        if is_skipped:
            return (self._change(second, first),)
        if dialect == "croniter":
            return first, second
        return (second,) if dialect == "dagster" else (first,)

    def _chained(self, moment: datetime) -> Iterator[datetime]:
        """Yield Airflow's slots, from one before `moment` on.

        Airflow looks for the next local time after the last slot's and takes (3) or (5). In a schedule of each hour
        the next slot is as much later as lies between the two local times, whatever the clock does between them.
        """
        # Twice the change: what a slot that moved out of a skipped time passes over lies as far behind the change.
        since = self._local(moment) + _SECOND - 2 * self._change_near(moment)
        wall = self.cron.wall_before(since)
        slot = moment if wall is None else max(self._readings(wall))
        local = self._local(slot)
        walls = self.cron.walls(local)
        while (wall := next(walls, None)) is not None:
            slot = slot + (wall - local) if self.cron.is_every_hour else max(self._readings(wall))
            yield slot
            local = self._local(slot)
            if local != wall:
                walls = self.cron.walls(local)

    def _local(self, moment: datetime) -> datetime:
        """Return the local time of `moment`, naive, in whole seconds."""
        return moment.astimezone(self.zone).replace(tzinfo=None, microsecond=0)

    def _readings(self, wall: datetime) -> tuple[datetime, datetime]:
        return (
            wall.replace(tzinfo=self.zone, fold=0).astimezone(UTC),
            wall.replace(tzinfo=self.zone, fold=1).astimezone(UTC),
        )

    def _change_near(self, moment: datetime) -> timedelta:
        """Return at least as much as the clock is put forward or back near `moment`, 0 where it is not."""
        offsets = [self._offset(moment + near) for near in (-_NEAR, 0 * _NEAR, _NEAR)]
        return max(offsets) - min(offsets)

    def _offset(self, moment: datetime) -> timedelta:
        return moment.astimezone(self.zone).utcoffset() or timedelta()

    def _change(self, before: datetime, after: datetime) -> datetime:
        """Return the first second of the new offset, where the clock is put forward between two instants."""
        old = before.astimezone(self.zone).utcoffset()
        while after - before > _SECOND:
            middle = before + (after - before) // _SECOND // 2 * _SECOND
            if middle.astimezone(self.zone).utcoffset() == old:
                before = middle
            else:
                after = middle
        return after


@dataclass(frozen=True, slots=True)
class Interval:
    """A slot `every` so often, one of them at `anchor`: elapsed time, which no change of a clock touches."""

    every: timedelta
    anchor: datetime

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the slots later than `moment`, an aware time: UTC, in growing order, without end."""
        slot = self.anchor + ((moment - self.anchor) // self.every + 1) * self.every
        while True:
            yield slot.astimezone(UTC)
            slot += self.every

    def doubt(self, slot: datetime) -> timedelta:  # noqa: ARG002  # of no slot
        """Return 0: every scheduler counts alike."""
        return timedelta()

    def local(self, slot: datetime) -> datetime:
        """Return `slot` in UTC."""
        return slot.astimezone(UTC)


def _is_place(zone: str) -> bool:
    return "/" in zone and not zone.startswith("Etc/")


def zone_named(name: str) -> ZoneInfo:
    """Return the IANA time zone `name`; raise ValueError that says what to write where there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # Of places alone: an abbreviation that looks alike may be hours away.
        near = difflib.get_close_matches(name, filter(_is_place, available_timezones()), n=1, cutoff=0.75)
        meant = f": did you mean {near[0]}?" if near else ""
        raise ValueError(f"expected an IANA time zone such as Europe/Berlin, got {name!r}{meant}") from None

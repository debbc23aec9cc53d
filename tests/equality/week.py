"""Days of events in which much goes wrong, as lines of a file: the same bytes each time, in the order of their append.

    00        06        12        18        24 h, each day
    |--o0-------o1----------o2-------o3-----|      outages: all that runs in one pool fails

They are the events of the benchmarks (flows that fail for hours, starts that are late), three of four of them with the
tasks and logs of their runs, with an outage of each work pool, in which one tenant starts a run again and again, events
that arrive a minute late, and events that are sent again. Every run ends within half an hour after the last day.

No two have one append time: what the log gets in one ms is in order only within a partition, and `prefect` rules go by
that order, whatever the partitions are.
"""

import heapq
import sys
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.generator import EVENTS_PER_RUN, HOUR_MS, RUN_STATES, SEED, START_MS, Made, made_events

from flowgauge.schemas.times import rfc3339

DAY_MS = 24 * HOUR_MS
WEEK_H = 7 * 24
END_MS = START_MS + DAY_MS  # of the last day
TENANTS = 4  # few, since a backtest of ClickHouse is asked of each
LAST_RUN_MS = HOUR_MS // 2  # longer than any run takes
RUN_BEGINS = b'"event":"prefect.flow-run.Scheduled"'
LATE_EACH, LATE_MS = 997, 60_000  # far past the allowed lateness
AGAIN_EACH, AGAIN_MS = 499, 2_000
RESTARTS, RESTART_MS = 40, 10_000  # of the run that is started again and again


class Outage(NamedTuple):
    """When all that runs in a pool fails, in hours of the day."""

    pool: int
    from_h: float
    until_h: float

    @property
    def id(self) -> bytes:
        """The pool, as an event names it."""
        return b'"prefect.work-pool.pool-%d"' % self.pool


OUTAGES = (
    Outage(0, 3, 5.5),
    Outage(1, 9, 9.75),
    Outage(2, 13, 16),
    Outage(3, 20, 21),
)


def begin_ms(hours: int) -> int:
    """Return when so many hours before the end begin."""
    return END_MS - hours * HOUR_MS


def week_lines(events: int, *, hours: int = WEEK_H, only_runs: bool = False) -> Iterator[bytes]:
    """Yield the lines of the last `hours` with about `events` events, each with its append time; some are there twice.

    `only_runs` leaves out all task-run events and logs, so that a few hours have runs enough for their rules.
    """
    parts = [(events, True)] if only_runs else [(events * 3 // 4, False), (events // 4, True)]
    made = [_runs(count, hours, seed=SEED + n, only_runs=runs) for n, (count, runs) in enumerate(parts)]
    again = (each for day in range(hours // 24 + 1, 0, -1) for outage in OUTAGES for each in _restarts(outage, day))
    append_ms = 0
    for each in heapq.merge(
        _with_delays(_in_order(*made)), _from(begin_ms(hours), again), key=lambda each: each.append_ms
    ):
        append_ms = max(append_ms + 1, each.append_ms)
        yield b'{"_append":%d,%b\n' % (append_ms, _as_in_outage(each)[1:])


def _in_order(*made: Iterator[Made]) -> Iterator[Made]:
    return heapq.merge(*made, key=lambda each: each.append_ms)


def _from(from_ms: int, made: Iterator[Made]) -> Iterator[Made]:
    return (each for each in made if each.append_ms >= from_ms)


def _runs(events: int, hours: int, *, seed: int, only_runs: bool) -> Iterator[Made]:
    """Yield all events of the runs that begin within the hours, about so many."""
    every_ms = max(hours * HOUR_MS * (RUN_STATES if only_runs else EVENTS_PER_RUN) // events, 1)
    begun_later: set[str] = set()
    made = made_events(
        sys.maxsize,
        start_ms=begin_ms(hours),
        run_every_ms=every_ms,
        only_runs=only_runs,
        seed=seed,
        tenants=TENANTS,
    )
    for each in made:
        if each.append_ms >= END_MS + LAST_RUN_MS:
            return
        if each.append_ms >= END_MS and RUN_BEGINS in each.value:
            begun_later.add(each.run)
        if each.run not in begun_later:
            yield each


def _with_delays(events: Iterator[Made]) -> Iterator[Made]:
    """Let some events come late, and some come again; the append time still only grows."""
    waiting: list[tuple[int, int, Made]] = []
    for number, made in enumerate(events, 1):
        while waiting and waiting[0][0] <= made.append_ms:
            append_ms, _, held = heapq.heappop(waiting)
            yield held._replace(append_ms=append_ms)
        if number % LATE_EACH == 0:
            heapq.heappush(waiting, (made.append_ms + LATE_MS, number, made))
            continue
        yield made
        if number % AGAIN_EACH == 0:
            heapq.heappush(waiting, (made.append_ms + AGAIN_MS, number, made))
    for append_ms, _, held in sorted(waiting):
        yield held._replace(append_ms=append_ms)


def _as_in_outage(made: Made) -> bytes:
    """Return the event as it is when its pool is away: what would have completed has failed."""
    hour = (made.append_ms - END_MS) / HOUR_MS % 24
    if any(each.from_h <= hour < each.until_h and each.id in made.value for each in OUTAGES):
        return made.value.replace(b"-run.Completed", b"-run.Failed").replace(b'"completed"', b'"failed"')
    return made.value


def _restarts(outage: Outage, day: int) -> Iterator[Made]:
    """Yield the failures of what one tenant starts again and again, on the last day but so many, from 1."""
    tenant, begun_ms = f"team-{outage.pool:02d}", END_MS - day * DAY_MS + int(outage.from_h * HOUR_MS)
    for number in range(RESTARTS):
        at_ms = begun_ms + number * RESTART_MS
        run = f"00000000-0000-7000-8000-{day:02d}{outage.pool + 1:02d}{number:08d}"
        related = b'[{"id":%b,"role":"work-pool","name":"pool-%d"}]' % (outage.id, outage.pool)
        head = f'{{"id":"{run}","tenant":"{tenant}","occurred":"{rfc3339(at_ms)}","event":"prefect.flow-run.Failed",'
        names = f'"kind":"flow-run","flow":"restarted","run":"{run}","state":"failed","resource":{{"id":"{run}"}},'
        yield Made(at_ms, run, b'%b"related":%b}' % ((head + names).encode(), related))

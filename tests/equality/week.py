"""A day of events in which much goes wrong, as lines of a file: the same bytes each time, in the order of their append.

    00        06        12        18        24 h
    |--o0-------o1----------o2-------o3-----|      outages: all that runs in one pool fails

It is the day of the benchmarks (flows that fail for hours, starts that are late) with an outage of each work pool, in
which one tenant starts a run again and again, events that arrive a minute late, and events that are sent again.
"""

import heapq
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.generator import EVENTS_PER_RUN, HOUR_MS, RUN_STATES, START_MS, Made, made_events

from flowgauge.schemas.times import rfc3339

DAY_MS = 24 * HOUR_MS
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


def day_lines(events: int, *, only_runs: bool = False) -> Iterator[bytes]:
    """Yield the lines of a day of `events` events, each with its append time; some are there twice.

    `only_runs` leaves out task-run events and logs, so that a small day has runs enough for its rules.
    """
    per_run = RUN_STATES if only_runs else EVENTS_PER_RUN
    made = made_events(events, run_every_ms=max(DAY_MS * per_run // events, 1), only_runs=only_runs)
    restarts = (each for outage in OUTAGES for each in _restarts(outage))
    for each in heapq.merge(_with_delays(made), restarts, key=lambda each: each.append_ms):
        yield b'{"_append":%d,%b\n' % (each.append_ms, _as_in_outage(each)[1:])


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
    hour = (made.append_ms - START_MS) / HOUR_MS
    if any(each.from_h <= hour < each.until_h and each.id in made.value for each in OUTAGES):
        return made.value.replace(b"-run.Completed", b"-run.Failed").replace(b'"completed"', b'"failed"')
    return made.value


def _restarts(outage: Outage) -> Iterator[Made]:
    """Yield the failures of what one tenant starts again and again."""
    tenant, begun_ms = f"team-{outage.pool:02d}", START_MS + int(outage.from_h * HOUR_MS)
    for number in range(RESTARTS):
        at_ms = begun_ms + number * RESTART_MS
        run = f"00000000-0000-7000-8000-{outage.pool + 1:04d}{number:08d}"
        related = b'[{"id":%b,"role":"work-pool","name":"pool-%d"}]' % (outage.id, outage.pool)
        head = f'{{"id":"{run}","tenant":"{tenant}","occurred":"{rfc3339(at_ms)}","event":"prefect.flow-run.Failed",'
        names = f'"kind":"flow-run","flow":"restarted","run":"{run}","state":"failed","resource":{{"id":"{run}"}},'
        yield Made(at_ms, run, b'%b"related":%b}' % ((head + names).encode(), related))

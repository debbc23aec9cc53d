"""The quarantine: how many events may go to the dlq before the sink stops their partition. Pure.

    events      . . x . . . x x x x x x x x x|x        x: goes to the dlq
    stop        more than `run_max` in a row, or `letters_min` and more than `percent_max` % of the last `span`

A topic that is drained into the dlq is lost to everybody who asks; one that waits in the log is not. What was counted
stands in the note beside the committed offset (`intent`), so a restart goes on counting, and the event at which a
partition stops follows from the log alone. Two ways on: a higher limit, or its place in `go_on`, where counting begins
anew. The last `span` is counted in SLICES parts: the oldest falls out whole.
"""

from dataclasses import dataclass

import msgspec

from flowgauge.schemas.counted import counted

SLICES = 8  # of the span; each costs some 12 bytes of the note


class Tally(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What became of the newest events of a partition before an offset."""

    run: int = 0  # that went to the dlq since the last that did not
    slices: tuple[tuple[int, int], ...] = ()  # events, and how many of them went to the dlq; the oldest first

    @property
    def events(self) -> int:
        """How many events are counted."""
        return sum(events for events, _ in self.slices)

    @property
    def letters(self) -> int:
        """How many of them went to the dlq."""
        return sum(letters for _, letters in self.slices)


NOTHING_COUNTED = Tally()


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a partition stops: the event that would be one too many, why it would go to the dlq, and the limit."""

    offset: int
    reason: str
    detail: str
    limit: str


@dataclass(frozen=True, slots=True)
class Quarantine:
    """The limits, and the places, as `place_of` writes them, that somebody has looked at and passes."""

    run_max: int = 1_000
    percent_max: int = 20
    letters_min: int = 500  # fewer say nothing: a partition begins with some, or is quiet
    span: int = 10_000
    go_on: frozenset[str] = frozenset()

    def stored(self, tally: Tally, count: int) -> Tally:
        """Return `tally` after `count` more events that go to the table."""
        if not count:
            return tally
        size = self._slice
        if (
            count > size * SLICES
        ):  # more only pass through; the last slice is as full as if they were counted one by one
            count = size * SLICES + (count % size)
        slices = tally.slices
        while count:
            room = size - slices[-1][0] if slices else 0
            if room <= 0:
                slices, room = (*slices, (0, 0))[-SLICES:], size
            step = min(room, count)
            slices = (*slices[:-1], (slices[-1][0] + step, slices[-1][1]))
            count -= step
        return Tally(0, slices)

    def diverted(self, tally: Tally, place: str) -> Tally:
        """Return `tally` after the event at `place`, which goes to the dlq."""
        if place in self.go_on:
            tally = NOTHING_COUNTED
        counted = self.stored(tally, 1).slices
        events, letters = counted[-1]
        return Tally(tally.run + 1, (*counted[:-1], (events, letters + 1)))

    def excess(self, tally: Tally) -> str:
        """Return which limit `tally` passes, in words; empty when none."""
        if tally.run > self.run_max:
            return f"more than {counted(self.run_max, 'event')} in a row (quarantine.run_max)"
        letters, events = tally.letters, tally.events
        if letters >= self.letters_min and 100 * letters > self.percent_max * events:
            return f"{letters:,} of the last {events:,} events, over {self.percent_max} % (quarantine.percent_max)"
        return ""

    @property
    def _slice(self) -> int:
        return max(1, self.span // SLICES)


QUARANTINE = Quarantine()


def place_of(topic: str, partition: int, offset: int) -> str:
    """Return how a place is written, such as flowgauge.events-0@1234."""
    return f"{topic}-{partition}@{offset}"

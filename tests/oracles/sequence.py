"""A slow oracle of `sequence`: it follows every event on its own, through all that comes after it."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from tests.oracles.told import BREACH, CLEAR, HELD, Told


class Step(NamedTuple):
    """An event that is a step: when, and which ones it can be, from 0."""

    at_ms: int
    steps: AbstractSet[int]


class SequenceOracle(NamedTuple):
    """The fields of a rule with so many `steps`. Events are in order: by time, then by the first step they can be."""

    steps: int
    within_ms: int
    is_of_incomplete: bool

    def read(self, came: Sequence[Step], end_ms: int) -> Told:
        """Return the reading over what came before a pane end."""
        came = [each for each in came if each.at_ms < end_ms]
        firsts = [place for place, each in enumerate(came) if 0 in each.steps]
        if self.is_of_incomplete:
            return self._of_incomplete(came, firsts, end_ms)
        from_ms = end_ms - self.within_ms
        reached = 0
        for first in firsts:
            ends_ms = [came[last].at_ms for last in self._ends(came, first, self.steps)]
            if any(from_ms <= at_ms <= came[first].at_ms + self.within_ms for at_ms in ends_ms):
                return Told(BREACH, self.steps, self.steps)
            if came[first].at_ms >= from_ms:
                reached = max(reached, self._reached(came, first))
        return Told(CLEAR, reached, reached)

    def _of_incomplete(self, came: Sequence[Step], firsts: Sequence[int], end_ms: int) -> Told:
        """Judge the first step that waits longest for a whole rest; of equal times, the one that came least far."""
        if not came:
            return Told(HELD, 0, 0)
        waiting = [first for first in firsts if not self._ends(came, first, self.steps)]
        if not waiting:
            return Told(CLEAR, 0, 0)
        since_ms = min(came[first].at_ms for first in waiting)
        reached = min(self._reached(came, first) for first in waiting if came[first].at_ms == since_ms)
        return Told(BREACH if since_ms < end_ms - self.within_ms else CLEAR, reached, reached)

    def _reached(self, came: Sequence[Step], first: int) -> int:
        return max(count for count in range(1, self.steps + 1) if self._ends(came, first, count))

    def _ends(self, came: Sequence[Step], first: int, count: int) -> AbstractSet[int]:
        """Return the places of all events that can be step `count` of a sequence that begins at `first`."""
        ends: AbstractSet[int] = {first}
        for step in range(1, count):
            ends = {
                place
                for place, each in enumerate(came)
                if step in each.steps and any(before < place for before in ends)
            }
        return ends

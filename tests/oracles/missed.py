"""A slow oracle of `missed`: it looks at every slot and every start at every pane end."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from tests.oracles.told import BREACH, CLEAR, HELD, Told

EARLY_MAX_MS = 10_000
TO_COME = {"scheduled", "late", "pending"}
ENDS = {"completed", "failed", "crashed", "cancelled"}


class Seen(NamedTuple):
    """What an event tells of a run. `order` decides of equal times and steps."""

    at_ms: int
    order: str
    run: str
    state: str
    scheduled_ms: int | None


class _Done(NamedTuple):
    """A run has started, or has completed: with the how manieth event, when, and for when."""

    number: int
    at_ms: int
    place_ms: int


class MissedOracle(NamedTuple):
    """The fields of a rule. `slots` reach beyond all that is asked; `completes_within_ms` 0: not asked."""

    slots: range
    grace_ms: int
    completes_within_ms: int = 0
    skips_failed: bool = False

    def readings(self, seen: Sequence[Seen], ends: Sequence[int]) -> Iterator[Told]:
        """Yield what is read of a key at each pane end."""
        heard = sorted(seen, key=lambda each: (each.at_ms, _step(each), each.order))
        watched = [slot for slot in self.slots if heard and slot > heard[0].at_ms]
        done = self._done(heard)
        met = {name: [(slot, self._met(done[name], slot)) for slot in watched] for name in self._within_ms}
        lates = sorted(self._lates(met))
        for end_ms in ends:
            if not heard or heard[0].at_ms >= end_ms:
                yield Told(HELD)
                continue
            samples = int(any(each.at_ms < end_ms for each in done["started"]))
            missed = [
                slot
                for name, within_ms in self._within_ms.items()
                for slot, by in met[name]
                if slot + within_ms < end_ms and (by is None or by.at_ms >= end_ms)
            ]
            if missed:
                yield Told(BREACH, (end_ms - missed[0]) / 1000, samples)
            else:
                lates_ms = [by.at_ms - slot for by, _, slot in lates if by.at_ms < end_ms]
                yield Told(CLEAR, lates_ms[-1] / 1000 if lates_ms else None, samples)

    @property
    def _within_ms(self) -> Mapping[str, int]:
        asked = {"started": self.grace_ms, "completed": self.completes_within_ms}
        return {name: within_ms for name, within_ms in asked.items() if name == "started" or within_ms}

    def _done(self, heard: Sequence[Seen]) -> Mapping[str, list[_Done]]:
        """Return the starts, each by the first sign of its run, and the completions, in order."""
        ends: AbstractSet[str] = ENDS if self.skips_failed else {"completed"}
        places: dict[str, int] = {}
        found: dict[str, list[_Done]] = {"started": [], "completed": []}
        for number, each in enumerate(heard):
            if each.state not in TO_COME and each.run not in places:
                places[each.run] = self._place_ms(each)
                found["started"].append(_Done(number, each.at_ms, places[each.run]))
            if each.state in ends:
                found["completed"].append(_Done(number, each.at_ms, places[each.run]))
        return found

    def _place_ms(self, each: Seen) -> int:
        """Return for when a run started: for the next slot at the latest."""
        if each.scheduled_ms is None:
            return each.at_ms
        next_slot = min(slot for slot in self.slots if slot > each.at_ms)
        return each.scheduled_ms if each.scheduled_ms <= next_slot else each.at_ms

    def _met(self, done: Sequence[_Done], slot: int) -> _Done | None:
        """Return the first that meets a slot: one that is for it, or for a later one."""
        early_ms = min(EARLY_MAX_MS, self.slots.step // 4)
        return next((each for each in done if slot - early_ms <= each.place_ms), None)

    def _lates(self, met: Mapping[str, Sequence[tuple[int, _Done | None]]]) -> Iterator[tuple[_Done, str, int]]:
        """Yield what came for slots that were missed, and the first of these: of one event, its start comes first."""
        for name, within_ms in self._within_ms.items():
            first: dict[_Done, int] = {}
            for slot, by in met[name]:
                if by is not None:
                    first.setdefault(by, slot)
            for by, slot in first.items():
                if slot + within_ms < by.at_ms:
                    yield by, "" if name == "started" else name, slot


def _step(each: Seen) -> int:
    return 0 if each.state in TO_COME else 1 + (each.state in ENDS)

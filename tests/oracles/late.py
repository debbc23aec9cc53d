"""A slow oracle of `late`: each slot by plain dictionaries, one pane end at a time, looking at every slot each time."""

from typing import Protocol

from tests.oracles.told import pane_end

STEPS = {"scheduled": 0, "late": 0, "started": 1, "went on": 1, "ended": 2}  # of equal times


class Sighting(Protocol):
    """What an event tells of a slot."""

    @property
    def occurred_us(self) -> int: ...
    @property
    def outcome(self) -> str: ...
    @property
    def event_id(self) -> str: ...
    @property
    def run(self) -> str: ...
    @property
    def flow(self) -> str: ...
    @property
    def scheduled_ms(self) -> int | None: ...


def place(sighting: Sighting) -> tuple[int, int, str]:
    """Return what sightings are ordered by."""
    return sighting.occurred_us, STEPS[sighting.outcome], sighting.event_id


class LateOracle:
    """Judges the slots of one key. Pane ends come one after the other, each after its sightings in their order."""

    def __init__(self, *, after_ms: int, within_ms: int, pane_ms: int) -> None:
        self._after_ms = after_ms
        self._within_ms = within_ms
        self._pane_ms = pane_ms
        self.deadlines: dict[str, int] = {}
        self.due: dict[str, int] = {}  # name → pane end at which it is judged
        self.closed: dict[str, int] = {}  # name → µs of the first start or close
        self.over: dict[str, int] = {}  # name → ms since when its run has ended, if it has
        self.by_run: dict[str, list[str]] = {}
        self.late_ends: list[int] = []

    def hear(self, sighting: Sighting) -> None:
        """Take a sighting of the pane that ends next."""
        name = f"{sighting.flow}@{sighting.scheduled_ms}"
        if sighting.scheduled_ms is None:
            name = (self.by_run.get(sighting.run) or [sighting.run])[-1]
        if name not in self.deadlines:
            if sighting.scheduled_ms is None and sighting.outcome != "late":
                return
            deadline_ms = self._deadline_ms(sighting)
            if sighting.outcome in {"went on", "ended"} and sighting.occurred_us > deadline_ms * 1000:
                return
            self.deadlines[name] = deadline_ms
            self.due[name] = pane_end(max(deadline_ms, sighting.occurred_us // 1000), self._pane_ms)
            self.by_run.setdefault(sighting.run or name, []).append(name)
        if sighting.outcome in {"started", "went on", "ended"}:
            self.closed.setdefault(name, sighting.occurred_us)
            self.over.pop(name, None)
            if sighting.outcome == "ended":
                self.over[name] = sighting.occurred_us // 1000

    def _deadline_ms(self, sighting: Sighting) -> int:
        if sighting.scheduled_ms is not None:
            return sighting.scheduled_ms + self._after_ms
        return sighting.occurred_us // 1000 + max(0, self._after_ms - 15_000)

    def count(self, end_ms: int) -> int:
        """Return how many slots are late in the window before a pane end."""
        for name, deadline_ms in list(self.deadlines.items()):
            if self.due[name] == end_ms and self.closed.get(name, deadline_ms * 1000 + 1) > deadline_ms * 1000:
                self.late_ends.append(end_ms)
            if name in self.over:
                left_ms = max(self.due[name], pane_end(self.over[name], self._pane_ms)) + self._within_ms
                if left_ms <= end_ms:
                    self._forget(name)
        return sum(end_ms - self._within_ms < late_ms <= end_ms for late_ms in self.late_ends)

    def _forget(self, name: str) -> None:
        del self.deadlines[name]
        self.closed.pop(name, None)
        self.over.pop(name, None)
        for names in self.by_run.values():
            if name in names:
                names.remove(name)

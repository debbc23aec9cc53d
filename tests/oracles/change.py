"""A slow oracle of `change`: it makes every figure of every window anew from the list of what counts."""

from collections.abc import Iterator, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from tests.oracles.told import BREACH, CLEAR, EMPTY, HELD, Told

PANES_OF_A_WINDOW = 4
COUNTS = {"events", "runs", "failures"}


class Counted(NamedTuple):
    """An event, or a run that finished: when, whether it failed, how many µs it took."""

    at_ms: int
    has_failed: bool = False
    took_us: int = 0


class ChangeOracle(NamedTuple):
    """The fields of a rule whose baseline is so many `windows` just before the last one."""

    of: str
    within_ms: int
    windows: int
    direction: str
    factor: float
    sigma: float
    min_samples: int
    min_windows: int

    def readings(self, counted: Sequence[Counted], ends: range) -> Iterator[Told]:
        """Yield what is read of a key at each of its pane ends, from the first on at which anything counts."""
        known_ms: int | None = None
        for end_ms in ends:
            from_ms = end_ms - self.within_ms * (self.windows + 1)
            kept = [each for each in counted if from_ms <= each.at_ms < end_ms]
            if not kept:
                known_ms = None
            elif known_ms is None:
                known_ms = min(each.at_ms for each in kept) // ends.step * ends.step
            yield self._judged(kept, end_ms, known_ms)

    def _judged(self, kept: Sequence[Counted], end_ms: int, known_ms: int | None) -> Told:
        windows = [
            [each for each in kept if until_ms - self.within_ms <= each.at_ms < until_ms]
            for until_ms in (end_ms - back * self.within_ms for back in range(self.windows + 1))
            if until_ms == end_ms or (known_ms is not None and until_ms - self.within_ms >= known_ms)
        ]
        now, samples = self._figure(windows[0]), len(windows[0])
        if now is None:
            return Told(EMPTY)
        shown = int(now) if self.of == "failures" else samples
        if self.of not in COUNTS and samples < self.min_samples:
            return Told(HELD, now, shown)
        baseline = [
            figure
            for each in windows[1:]
            if (self.of in COUNTS or len(each) >= self.min_samples) and (figure := self._figure(each)) is not None
        ]
        if len(baseline) < self.min_windows:
            is_full = known_ms is not None and known_ms <= end_ms - self.within_ms * (self.windows + 1)
            return Told(HELD if is_full else CLEAR, now, shown)
        return Told(BREACH if self._has_changed(now, baseline, samples) else CLEAR, now, shown)

    def _figure(self, window: Sequence[Counted]) -> float | None:
        failed = sum(each.has_failed for each in window)
        if self.of in COUNTS:
            return failed if self.of == "failures" else len(window)
        if not window:
            return None
        if self.of == "failure_rate":
            return failed / len(window)
        return sum(each.took_us for each in window) / len(window) / 1_000_000

    def _has_changed(self, now: float, baseline: Sequence[float], samples: int) -> bool:
        mean = fmean(baseline)
        if self.of in COUNTS and max(now, mean) < self.min_samples:
            return False
        chance = {"failure_rate": (mean * (1 - mean) / samples) ** 0.5 if samples else 0.0, "duration": 0.0}
        deviation = max(stdev(baseline), chance.get(self.of, mean**0.5))
        more = now > mean * self.factor and now > mean + self.sigma * deviation
        less = now < mean / self.factor and now < mean - self.sigma * deviation
        return (more and self.direction != "down") or (less and self.direction != "up")

"""The panes of a window of times taken, rounded so that it stays small and no comparison with a bound changes.

    bounds       ─────┤20m            ├────────┤30m
    rounded up   to 20m at most       to 30m at most      to a 64th of itself: at most 129 steps from one to its double

A time is rounded up, by less than 1/64 of itself and never across a bound: the rounded one is > a bound exactly where
the time is. Rounding keeps the order, so a quantile of rounded times is the rounded quantile, and is > a bound exactly
where the quantile is. So a pane holds no more numbers for a million runs than for a thousand.
"""

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from flowgauge.schemas.transition import EXAMPLES_MAX, ExampleRun

_KEPT_BITS = 7  # of a time: the others are rounded away


def rank_of(quantile: float, total: int) -> int:
    """Return the place, from 1, of the nearest-rank quantile among `total` numbers; `quantile` as it was written."""
    exact = Fraction(str(quantile)) * total
    return max(1, -(-exact.numerator // exact.denominator))


def rounded_us(took_us: int, bounds_us: Sequence[int]) -> int:
    """Return `took_us` rounded up, never across one of `bounds_us`, which ascend."""
    step_us = 1 << max(0, took_us.bit_length() - _KEPT_BITS)
    up_us = -(-took_us // step_us) * step_us
    for bound_us in bounds_us:
        if took_us <= bound_us < up_us:
            return bound_us
    return up_us


class TimesTaken:
    """A queue of panes, oldest first: how often each rounded time was taken, and a few examples; with running sums."""

    __slots__ = ("_bounds_us", "_counts", "_panes", "_window_ms", "total")

    def __init__(self, window_ms: int, *, bounds_us: Sequence[int], dumped: Sequence[Any] = ()) -> None:
        self._window_ms = window_ms
        self._bounds_us = bounds_us
        self._panes: list[tuple[int, dict[int, int], list[ExampleRun]]] = []
        self._counts: Counter[int] = Counter()
        self.total = 0
        for end_ms, counts, examples in dumped:
            self._append(end_ms, counts, [ExampleRun(*example) for example in examples])

    def add(self, end_ms: int, took_us: Sequence[int], examples: list[ExampleRun]) -> None:
        """Add the pane that ends at `end_ms`, the newest; `examples` are in order of time and id."""
        if took_us:
            counts = dict(Counter(rounded_us(each, self._bounds_us) for each in took_us))
            self._append(end_ms, counts, examples[:EXAMPLES_MAX])

    def _append(self, end_ms: int, counts: dict[int, int], examples: list[ExampleRun]) -> None:
        self._panes.append((end_ms, counts, examples))
        self._counts.update(counts)
        self.total += sum(counts.values())

    def expire(self, end_ms: int) -> None:
        """Forget panes that lie before `[end_ms - window, end_ms)`."""
        while self._panes and self._panes[0][0] <= end_ms - self._window_ms:
            _, counts, _ = self._panes.pop(0)
            self.total -= sum(counts.values())
            for took_us, count in counts.items():
                self._counts[took_us] -= count
                if not self._counts[took_us]:
                    del self._counts[took_us]

    def quantile_us(self, quantile: float) -> int:
        """Return the nearest-rank quantile, rounded; there is at least one time."""
        left = rank_of(quantile, self.total)
        for took_us in sorted(self._counts):
            left -= self._counts[took_us]
            if left <= 0:
                return took_us
        raise AssertionError("a quantile of no times")

    def next_expiry_ms(self) -> int | None:
        """Return the pane end at which the oldest pane has left the window."""
        return self._panes[0][0] + self._window_ms if self._panes else None

    def examples(self) -> list[ExampleRun]:
        """Return the smallest examples by time and id."""
        found = [example for _, _, examples in self._panes for example in examples]
        return sorted(found, key=lambda run: (run.occurred_us, run.event_id))[:EXAMPLES_MAX]

    def dump(self) -> list[Any]:
        """Return the panes in types that msgpack has."""
        return [list(pane) for pane in self._panes]

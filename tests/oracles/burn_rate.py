"""A slow oracle of `burn_rate`: it looks at every end of a run at every pane end, pair by pair, in fractions."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import gcd
from typing import NamedTuple

from tests.oracles.told import BETWEEN, BREACH, CLEAR, EMPTY, HELD, Told, may_be_chance

STEPS_MAX = 120  # of a pair's long window
SHORT_PART = 12  # of the long window, where no short one is written

End = tuple[int, bool]  # (ms, it failed)

# What a pair says, and what that means. The first that any pair says counts.
_SAID = {
    "burns": BREACH,
    "burns, maybe by chance": BETWEEN,
    "perhaps": HELD,
    "slowly": CLEAR,
    "too few": HELD,
    "no run": EMPTY,
}


@dataclass(frozen=True)
class Pair:
    """Two windows, and how many times too fast the budget may burn over both."""

    above: Fraction
    long_ms: int
    short_ms: int

    @cached_property
    def step_ms(self) -> int:
        """How often it is read: by the smallest step that goes into both windows."""
        common_ms = gcd(self.long_ms, self.short_ms)
        least_ms = max(1_000, -(-self.long_ms // STEPS_MAX))
        return next(step_ms for step_ms in range(least_ms, common_ms + 1) if common_ms % step_ms == 0)


class BurnOracle(NamedTuple):
    """The fields of a rule; `budget` is the share of runs that may fail."""

    budget: Fraction
    pairs: Sequence[Pair]
    min_samples: int
    is_guarded: bool = False

    def read(self, ends: Sequence[End], end_ms: int) -> Told:
        """Return what the pair says that decides, over the ends of all runs of a key."""
        said = [self._said(pair, ends, end_ms) for pair in self.pairs]
        for word, verdict in _SAID.items():
            for what, rate, samples in said:
                if what == word:
                    return Told(verdict, rate, samples)
        raise AssertionError(said)

    def _said(self, pair: Pair, ends: Sequence[End], end_ms: int) -> tuple[str, float | None, int]:
        read_ms = end_ms // pair.step_ms * pair.step_ms
        long, short = (
            [failed for at_ms, failed in ends if read_ms - window_ms <= at_ms < read_ms]
            for window_ms in (pair.long_ms, pair.short_ms)
        )
        if not long:
            return "no run", None, 0
        limit, rate = pair.above * self.budget, Fraction(sum(long), len(long))
        enough = len(long) >= self.min_samples
        if rate <= limit:
            what = "slowly" if enough else "too few"
        elif not enough or not short:
            what = "perhaps"
        elif Fraction(sum(short), len(short)) <= limit:
            what = "slowly"
        else:
            what = "burns, maybe by chance" if self.is_guarded and may_be_chance(rate, limit, len(long)) else "burns"
        return what, float(rate), len(long)

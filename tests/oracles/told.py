"""What every oracle says at a pane end: the words of docs/rules.md for what a reading means to an alert."""

from fractions import Fraction
from typing import NamedTuple

BREACH, BETWEEN, CLEAR, HELD, EMPTY = "breach", "between", "clear", "held", "empty"
Z = Fraction("1.959963984540054")  # 95 % of a normal distribution lies within so many standard deviations
ROUNDED = 1 / 64  # by how much a quantile may be told too high


class Told(NamedTuple):
    """A reading. `is_rounded`: the value told may be higher by ROUNDED of itself."""

    verdict: str
    value: float | None = None
    samples: int = 0
    is_rounded: bool = False


def may_be_chance(rate: Fraction, above: Fraction, samples: int) -> bool:
    """Tell whether `rate` lies no more than Z deviations from `above`: Wilson's interval, the other way round."""
    return (rate - above) ** 2 <= Z**2 * above * (1 - above) / samples


def pane_end(moment_ms: int, pane_ms: int) -> int:
    """Return the end of the pane that holds a moment, counted from 1970."""
    return moment_ms - moment_ms % pane_ms + pane_ms

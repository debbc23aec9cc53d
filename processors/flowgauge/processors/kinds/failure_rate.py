"""`failure_rate`: fires while the share of failed runs among finished ones is above a threshold.

    finished   ✓ ✓ ✗ ✓ ✗ ✗ ✗ ✓ ✓ ✓ ✓          above: 20%, clear_below: 10%, min_samples: 5
    rate       held…… 40% 50% … 18% … 8%
    alert                firing ………………… resolved

Rule: at a pane end, breach if failed / finished > `above`; clear if < `clear_below` (without one: if not above);
fewer than `min_samples` finished runs hold the alert as it is.

    guard: wilson     above 20% │   ├────•────┤  4 of 8 failed: 22% … 78%, breach
                             ├──│─•─────┤        2 of 5 failed: 12% … 77%, above by chance perhaps: no breach

With `guard: wilson` it breaches only if the lower end of the rate's 95 % score interval (E. B. Wilson, Probable
Inference, the Law of Succession, and Statistical Inference, JASA 22 (1927), 209-212) is > `above`; it clears as before.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import floor, sqrt
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import Field, model_validator

from flowgauge.processors.kinds.counted_panes import CountedPanes, CountedWindow, example_of
from flowgauge.processors.kinds.ends_of_runs import FAILED, EndsOfRuns
from flowgauge.processors.kinds.kind import Contradiction, Examples, Unit, Window
from flowgauge.processors.reading import Reading, Verdict
from flowgauge.schemas.counted import counted
from flowgauge.schemas.rule import IN_DIGITS, Share, WindowMs
from flowgauge.schemas.sample import Sample

Z_95 = 1.959963984540054  # standard deviations that hold 95 % of a normal distribution


class FailureRate(EndsOfRuns):
    """The fields of `failure_rate`."""

    name: ClassVar[str] = "failure_rate"
    unit: ClassVar[Unit | None] = "share"
    examples_as: ClassVar[Examples] = Examples(
        "Failing runs", "the first that counted, with their last error lines, UTC"
    )

    above: Annotated[Share, Field(description="Fires over this share, below 100%.")]
    within: Annotated[WindowMs, Field(description="In which window.")]
    min_samples: Annotated[int, Field(ge=1, description="Finished runs that the window must hold."), IN_DIGITS] = 5
    clear_below: Annotated[Share | None, Field(description="Clears under this share, not above `above`.")] = None
    guard: Annotated[Literal["wilson"] | None, Field(description="wilson: fires only where chance is ruled out.")] = (
        None
    )

    @model_validator(mode="after")
    def _possible(self) -> "FailureRate":
        if self.above >= 1:
            raise ValueError("`above: 100%` can never fire, a rate is never above 100%: write at most 99%")
        if self.clear_below is not None and self.clear_below > self.above:
            raise ValueError("`clear_below` lies over `above`: write it at or below")
        if self.clear_below == 0:
            raise ValueError("`clear_below: 0%` can never clear, a rate is never below 0%: write more, or remove it")
        return self

    @property
    def window_ms(self) -> int:
        """The length of `within`."""
        return self.within

    @property
    def smallest_samples(self) -> int:
        """The fewest finished runs with which it can breach: all of them failed."""
        if self.guard is None:
            return self.min_samples
        needed = floor(self.above * Z_95**2 / (1 - self.above)) + 1  # of n in n it is n / (n + z²)
        return max(self.min_samples, needed)

    def wavers(self) -> bool:
        """Waver where one run more or less both makes it fire and clears it."""
        has_gap = self.clear_below is not None and self.clear_below < self.above
        return self.guard is None and not has_gap

    def needed_at_once(self, states: frozenset[str]) -> tuple[str, int]:  # noqa: ARG002  # it looks at ends by itself
        """Need as many as can breach at all."""
        return "min_samples", self.smallest_samples

    def passed_by_one(self) -> Iterator[Contradiction]:
        """Find a rate of `min_samples` runs that one of them passes; `above: 0%` says so itself."""
        if self.guard is None and 0 < self.above < 1 / self.min_samples:
            place = "min_samples" if "min_samples" in self.model_fields_set else "above"
            few = "1 failed run" if self.min_samples == 1 else f"1 failed run of {self.min_samples}"
            message = f"{few} is above {self.above * 100:.4g}%: a single failure makes it fire"
            yield ("when", self.name, place), message, "raise `min_samples`, or add `guard: wilson`"

    def notes(self) -> Mapping[str, str]:
        """Tell what a guard asks for."""
        if self.guard is None:
            return {}
        fewest = counted(self.smallest_samples, "finished run")
        return {"guard": f"fewer than {fewest} in the window can never make it fire"}

    def new_window(self) -> Window:
        """Return an empty window."""
        return FailureRateWindow(self, CountedPanes(self.within))

    def load_window(self, dumped: Any) -> Window:
        """Return the window that was dumped."""
        return FailureRateWindow(self, CountedPanes(self.within, cast("Sequence[Any]", dumped)))


class FailureRateWindow(CountedWindow):
    """Finished and failed runs of the last `within`."""

    __slots__ = ("_rule",)

    def __init__(self, rule: FailureRate, panes: CountedPanes) -> None:
        super().__init__(panes)
        self._rule = rule

    def add(self, end_ms: int, samples: Sequence[Sample]) -> None:
        """Count a final pane."""
        failed = [example_of(sample) for sample in samples if sample.outcome == FAILED]
        self._panes.add(end_ms, len(samples), counted=len(failed), examples=failed)

    def read(self, end_ms: int) -> Reading:
        """Return the failure rate over the window."""
        self._panes.expire(end_ms)
        rule, finished = self._rule, self._panes.total
        if not finished:
            return Reading(Verdict.EMPTY, "no run finished in the window", threshold=rule.above)
        rate = self._panes.counted / finished
        verdict, reason = self._judge(rate, self._panes.counted, finished)
        return Reading(verdict, reason, rate, rule.above, finished)

    def _judge(self, rate: float, failed: int, finished: int) -> tuple[Verdict, str]:
        rule = self._rule
        if finished < rule.min_samples:
            return Verdict.HELD, f"fewer than {rule.min_samples} runs finished"
        if rate > rule.above:
            if rule.guard is None or wilson_lower_end(failed, finished) > rule.above:
                return Verdict.BREACH, "failure rate above threshold"
            return Verdict.BETWEEN, "failure rate above threshold, in too few runs to rule out chance"
        if rule.clear_below is not None and rate >= rule.clear_below:
            return Verdict.BETWEEN, "failure rate between clear_below and above"
        return Verdict.CLEAR, "failure rate back below threshold"


def wilson_lower_end(failed: int, finished: int) -> float:
    """Return the lower end of the 95 % Wilson score interval of the rate `failed` / `finished`; `finished` > 0."""
    rate, square = failed / finished, Z_95**2
    spread = Z_95 * sqrt(rate * (1 - rate) / finished + square / (4 * finished**2))
    return (rate + square / (2 * finished) - spread) / (1 + square / finished)

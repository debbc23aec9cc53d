"""`consecutive_failures`: fires while the last N runs of a key that ended all failed, however rarely they run.

    ends       ✓   ✗       ✗   –   ✗        ✗      ✓        times: 3, – is cancelled
    row        0   1       2       3        4      0
    alert                          firing …………… resolved

Rule: at a pane end, breach if the last `times` ends of runs are failures, and with `within` lie in that window; clear
if the last end is none; a row that is shorter, or spread wider, is neither. Ends count by their time, then by id.

Without `within` a row has no bound in time: a key whose last run failed is remembered until one succeeds. With it, a
row is forgotten once no end lies in the window, and that is no data.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Annotated, Any, ClassVar, cast

import msgspec
from pydantic import Field

from flowgauge.processors.kinds.counted_panes import example_of
from flowgauge.processors.kinds.ends_of_runs import FAILED, EndsOfRuns
from flowgauge.processors.kinds.kind import Contradiction, Examples, FiredNumbers, Unit, Window
from flowgauge.processors.panes import PANE_MS_MIN, pane_ms
from flowgauge.processors.reading import Reading, Verdict
from flowgauge.processors.selector import text_test
from flowgauge.schemas.rule import IN_DIGITS, Rule, WindowMs
from flowgauge.schemas.sample import Sample
from flowgauge.schemas.transition import EXAMPLES_MAX, ExampleRun

TIMES_MAX = 100  # with `within`, a key keeps the pane end of so many failures


class ConsecutiveFailures(EndsOfRuns):
    """The fields of `consecutive_failures`."""

    name: ClassVar[str] = "consecutive_failures"
    unit: ClassVar[Unit | None] = "count"
    of_failures_alone: ClassVar[str] = "what fires never clears"
    examples_as: ClassVar[Examples] = Examples("Failed runs", "the first in the row, with their last error lines, UTC")

    times: Annotated[int, Field(ge=1, le=TIMES_MAX, description="How many runs in a row."), IN_DIGITS]
    within: Annotated[WindowMs | None, Field(description="In which window; without it, however rarely they run.")] = (
        None
    )

    @classmethod
    def stays_open(cls, fired: FiredNumbers) -> str:  # noqa: ARG003  # the same for all
        """Say what clears it."""
        return "A run that ends without failing clears it."

    @property
    def window_ms(self) -> int:
        """The length of `within`; 0 where rows have no bound in time."""
        return self.within or 0

    @cached_property
    def pane_ms(self) -> int:
        """The size of its panes: without a window, of the smallest."""
        return pane_ms(self.within) if self.within else PANE_MS_MIN

    def needed_at_once(self, states: frozenset[str]) -> tuple[str, int]:  # noqa: ARG002  # it looks at ends by itself
        """Need a whole row."""
        return "times", self.times

    def contradictions(self, rule: Rule) -> Iterator[Contradiction]:
        """Refuse rows that could never end, and what a row without a bound in time cannot have."""
        if "state" in rule.match and not any(map(text_test(rule.match["state"]), {*self.finished} - {*self.failures})):
            yield ("match", "state"), "a row ends with a run that does not fail: none would be seen", "remove `state`"
        elif "state" in rule.match and not any(map(text_test(rule.match["state"]), self.failures)):
            yield ("match", "state"), "no run that fails would be seen", "remove `state`"
        if self.within is not None:
            return
        if rule.no_data != "hold":
            yield (
                ("no_data",),
                "without `within` there is no window that could be empty",
                "remove it, or write `within`",
            )
        for name in ("run", "task"):
            if name in rule.for_each:
                message = f"each {name} that failed would be remembered for ever"
                yield ("for_each",), message, "group by flow, or write `within`"

    def new_window(self) -> Window:
        """Return a window in which no run has ended."""
        return Row(self, _Ends())

    def load_window(self, dumped: Any) -> Window:
        """Return the window that was dumped."""
        return Row(self, msgspec.convert(cast("list[Any]", dumped), _Ends))


class _Ends(msgspec.Struct, array_like=True, gc=False):
    """The failures since the last success. `newest_ms`: pane end of the newest end, None where there is none."""

    length: int = 0
    newest_ms: int | None = None
    examples: list[ExampleRun] = []  # the first of the row
    recent: list[int] = []  # with `within`: pane ends of its last `times` failures in the window


class Row:
    """The row of failures of one key."""

    __slots__ = ("_ends", "_rule")

    def __init__(self, rule: ConsecutiveFailures, ends: _Ends) -> None:
        self._rule = rule
        self._ends = ends

    def add(self, end_ms: int, samples: Sequence[Sample]) -> None:
        """Count a final pane, end by end."""
        self._pass_time(end_ms - self._rule.pane_ms)
        for sample in samples:
            if sample.outcome != FAILED:
                self._begin_anew()
                continue
            self._ends.length += 1
            if self._rule.within is not None:
                self._ends.recent.append(end_ms)
                del self._ends.recent[: -self._rule.times]
            if len(self._ends.examples) < EXAMPLES_MAX:
                self._ends.examples.append(example_of(sample))
        self._ends.newest_ms = end_ms

    def _begin_anew(self) -> None:
        self._ends = _Ends()

    def _pass_time(self, end_ms: int) -> None:
        within, newest_ms = self._rule.within, self._ends.newest_ms
        if within is None or newest_ms is None:
            return
        if newest_ms <= end_ms - within:
            self._begin_anew()
        while self._ends.recent and self._ends.recent[0] <= end_ms - within:
            del self._ends.recent[0]

    def read(self, end_ms: int) -> Reading:
        """Return the length of the row."""
        self._pass_time(end_ms)
        length, times = self._ends.length, self._rule.times
        verdict, reason = self._judge()
        is_known = self._ends.newest_ms is not None
        return Reading(verdict, reason, float(length) if is_known else None, float(times), length)

    def _judge(self) -> tuple[Verdict, str]:
        length, times, within = self._ends.length, self._rule.times, self._rule.within
        if self._ends.newest_ms is None:
            if within is None:
                return Verdict.HELD, "no run has ended yet"
            return Verdict.EMPTY, "no run ended in the window"
        if not length:
            return Verdict.CLEAR, "a run ended without failing"
        if length < times:
            return Verdict.BETWEEN, "fewer runs failed in a row than the threshold"
        if within is not None and len(self._ends.recent) < times:
            return Verdict.BETWEEN, "the failures in a row lie further apart than the window"
        return Verdict.BREACH, "runs failed in a row"

    def examples(self) -> Sequence[ExampleRun]:
        """Return the first runs of the row."""
        return self._ends.examples

    def next_change_ms(self) -> int | None:
        """Return when the row is spread too wide or the last end leaves the window; None without one."""
        within, newest_ms = self._rule.within, self._ends.newest_ms
        if within is None or newest_ms is None:
            return None
        recent = self._ends.recent
        return (recent[0] if len(recent) == self._rule.times else newest_ms) + within

    def is_lasting(self) -> bool:
        """Tell whether there is a row without a bound in time."""
        return self._rule.within is None and self._ends.length > 0

    def take_refused(self) -> int:
        """Refuse none: a row is small by itself."""
        return 0

    def dump(self) -> Any:
        """Return the row."""
        ends = self._ends
        return [ends.length, ends.newest_ms, list(ends.examples), list(ends.recent)]

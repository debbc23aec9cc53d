"""`change`: fires while a figure of the last window differs from the same figure of windows before: its baseline.

    trailing: 4h      ├─ 12 ─┼─ 9 ──┼─ 11 ─┼─ 10 ─┤├─ 31 ─┤       within: 1h; mean 10.5, deviation 3.2 (by chance)
                                                      ▲             31 > 2 · 10.5 and 31 > 10.5 + 3 · 3.2: firing
    without           ├─ 40 ─┤ … a week … ├─ 38 ─┤ … a week … ├─ 41 ─┤   the same time of the four weeks before

Rule: at a pane end `e`, let v be the figure over `[e - within, e)`, m and s the mean and the standard deviation of the
baseline's figures; `up` breaches if v > m * `factor` and v > m + `sigma` * s, `down` if v < m / `factor` and
v < m - `sigma` * s; clear if not.

A key is known from the pane of its first sample on. A window counts in the baseline if it lies after that, for shares
and times only with `min_samples` runs; fewer than `min_windows` such windows are none to compare with. A share or time
of fewer than `min_samples` runs holds the alert; a count is clear where both it and the mean are fewer than that.

`s` is the sample deviation of the baseline's figures, and at least what chance alone makes: sqrt(m) for a count,
sqrt(m (1 - m) / n) for a share of n runs. Four windows may lie close together by luck.
"""

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from math import sqrt
from statistics import fmean
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, cast

import msgspec
from pydantic import Field, model_validator

from flowgauge.processors.kinds.counted_panes import example_of
from flowgauge.processors.kinds.ends_of_runs import FAILED, EndsOfRuns
from flowgauge.processors.kinds.kind import Contradiction, CountedEnds, Window
from flowgauge.processors.kinds.underway import (
    ENDED,
    GIVEN_UP_MS,
    STARTED,
    Underway,
    states_told_of,
    told_of,
    unpaired,
)
from flowgauge.processors.panes import pane_end, pane_ms
from flowgauge.processors.reading import Reading, Verdict
from flowgauge.schemas.event import Event
from flowgauge.schemas.rule import DURATION_MAX_MS, IN_DIGITS, IN_NUMBERS, Rule, WindowMs
from flowgauge.schemas.sample import Sample
from flowgauge.schemas.times import format_duration
from flowgauge.schemas.transition import EXAMPLES_MAX, ExampleRun

PANES_OF_A_WINDOW = 4  # a key keeps the panes of its whole baseline: 24 bytes each, at most 2,692 of four weeks
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
WEEK_MS = 7 * DAY_MS
WEEKS = 4
WEEKLY_MS_MIN = HOUR_MS  # shorter windows over four weeks would be too many panes
WINDOWS_MAX = 500  # of a trailing baseline

SEEN = "seen"
_COUNTS = frozenset({"events", "runs", "failures"})


class Change(EndsOfRuns):
    """The fields of `change`."""

    name: ClassVar[str] = "change"
    stand_ins: ClassVar[Mapping[str, object]] = {"of": "runs", "within": "1h"}

    of: Literal["events", "runs", "failures", "failure_rate", "duration"]
    within: WindowMs
    trailing: WindowMs | None = None
    direction: Literal["up", "down", "both"] = "up"
    factor: Annotated[float, Field(ge=1.1, le=1_000), IN_NUMBERS] = 2.0
    sigma: Annotated[float, Field(ge=0, le=100), IN_NUMBERS] = 3.0
    min_samples: Annotated[int, Field(ge=1), IN_DIGITS] = 10
    min_windows: Annotated[int, Field(ge=2, le=WINDOWS_MAX), IN_DIGITS] = 4

    @model_validator(mode="after")
    def _has_a_baseline(self) -> "Change":
        if self.trailing is None:
            self._check_weekly()
            if self.min_windows > WEEKS:
                raise ValueError(f"`min_windows` is more than the {WEEKS} weeks of the baseline: write {WEEKS} or less")
        else:
            self._check_trailing(self.trailing)
        if self.of == "duration" and "running" in self.finished:
            raise ValueError("`finished`: `running` begins a run and cannot finish it: remove it")
        return self

    def _check_weekly(self) -> None:
        """Raise ValueError where `within` cannot be compared with that of other weeks."""
        if self.within < WEEKLY_MS_MIN:
            raise ValueError("`within` is at least 1h to compare with other weeks: write 1h, or `trailing`")
        if self.within > WEEK_MS or WEEK_MS % self.pane_ms:
            raise ValueError("`within` does not fit into a week: write 1h, 6h or 1d, or `trailing`")

    def _check_trailing(self, trailing_ms: int) -> None:
        """Raise ValueError where `trailing` is no fitting number of whole windows, or none that it may be would be."""
        longest_ms = DURATION_MAX_MS // self.min_windows
        if self.within > longest_ms:
            even_ms = longest_ms - longest_ms % (DAY_MS if longest_ms >= DAY_MS else HOUR_MS)
            within, trailing = format_duration(even_ms), format_duration(even_ms * self.min_windows)
            raise ValueError(
                "`within` is too long: no `trailing` of up to 31d holds `min_windows` of it: "
                f"write {within} with `trailing: {trailing}`, or less"
            )
        windows, rest = divmod(trailing_ms, self.within)
        fitting = format_duration(min(max(windows, self.min_windows), WINDOWS_MAX) * self.within)
        if rest:
            raise ValueError(f"`trailing` is not a whole number of windows `within`: write {fitting}")
        if windows < self.min_windows:
            raise ValueError(f"`trailing` holds {windows} windows `within`, fewer than `min_windows`: write {fitting}")
        if windows > WINDOWS_MAX:
            raise ValueError(f"`trailing` holds {windows} windows `within`, more than {WINDOWS_MAX}: write {fitting}")

    @property
    def window_ms(self) -> int:
        """The length of `within`."""
        return self.within

    @cached_property
    def pane_ms(self) -> int:
        """The size of its panes, a quarter of the window where that is a whole number."""
        return pane_ms(self.within, PANES_OF_A_WINDOW)

    @property
    def stride_ms(self) -> int:
        """How far the windows of the baseline lie apart."""
        return WEEK_MS if self.trailing is None else self.within

    @property
    def windows(self) -> int:
        """How many windows the baseline has."""
        return WEEKS if self.trailing is None else self.trailing // self.within

    @property
    def kept_ms(self) -> int:
        """How far back panes are needed."""
        return self.windows * self.stride_ms + self.within

    @property
    def look_back_ms(self) -> int:
        """As far back as its baseline goes, and as far again: a key is known on while something of it lies in that."""
        return 2 * self.kept_ms

    @property
    def is_count(self) -> bool:
        """Whether nothing is a figure too: 0."""
        return self.of in _COUNTS

    @property
    def states(self) -> frozenset[str | None] | None:
        """Those of which the figure is made."""
        if self.of == "events":
            return None
        return states_told_of(self.finished) if self.of == "duration" else super().states

    @property
    def counted_ends(self) -> CountedEnds | None:
        """Of a figure of failures: their number may come of failures alone, their share may not."""
        if self.of not in {"failures", "failure_rate"}:
            return None
        alone = self.of_failures_alone if self.of == "failure_rate" else ""
        return CountedEnds(frozenset(self.failures), frozenset(self.finished), alone)

    def outcome(self, event: Event) -> str | None:
        """Return what an event is to the figure."""
        if self.of == "events":
            return SEEN
        return told_of(event, self.finished) if self.of == "duration" else super().outcome(event)

    def contradictions(self, rule: Rule) -> Iterator[Contradiction]:
        """Refuse what has no baseline, and figures that cannot be seen."""
        if self.of == "duration":
            yield from unpaired(rule)
        for name in ("run", "task"):
            if name in rule.for_each:
                yield ("for_each",), f"each {name} is new: there is none before to compare it with", "group by flow"
        if rule.no_data == "fire":
            yield ("no_data",), "it compares what there is", "write an absence rule to hear that nothing comes"
        elif rule.no_data == "resolve" and self.is_count:
            yield ("no_data",), "no event is a count of 0, not missing data", "remove `no_data`"

    def needed_by(self, sample: Sample, end_ms: int) -> int:
        """Return the pane end by which a sample is needed: what only begins a run, or ends it uncounted, may wait."""
        if self.of == "duration" and sample.outcome in {STARTED, ENDED}:
            return end_ms + self.deferred_ms
        return end_ms

    def new_window(self) -> Window:
        """Return a window without a baseline."""
        return ChangeWindow(self, _History())

    def load_window(self, dumped: Any) -> Window:
        """Return the window that was dumped."""
        return ChangeWindow(self, msgspec.convert(cast("list[Any]", dumped), _History))


class _Sums(NamedTuple):
    """Of a pane or window: how many there were, and how many failed or how many µs they took."""

    total: int
    weight: int


class _History(msgspec.Struct, array_like=True, gc=False):
    """What one key remembers. `since_ms`: the begin of the pane of its first sample, None where it is not known.

    Of its panes, the oldest first: `steps` from each to the next in panes, the first from 1970, and their sums.
    """

    since_ms: int | None = None
    read_ms: int = 0  # the last pane end read
    steps: list[int] = []
    totals: list[int] = []
    weights: list[int] = []
    examples: list[tuple[int, list[ExampleRun]]] = []  # pane end, some that count in it
    runs: list[ExampleRun] = []


class ChangeWindow:
    """The figures of one key: of its last window and of its baseline."""

    __slots__ = (
        "_ends",
        "_examples",
        "_read_ms",
        "_rule",
        "_runs",
        "_since_ms",
        "_totals",
        "_weights",
    )

    def __init__(self, rule: Change, history: _History) -> None:
        self._rule = rule
        self._since_ms = history.since_ms
        self._read_ms = history.read_ms
        self._ends = array("q", (place * rule.pane_ms for place in accumulate(history.steps)))
        self._totals = array("q", history.totals)
        self._weights = array("q", history.weights)
        self._examples = deque(history.examples)
        self._runs = Underway(history.runs)

    def add(self, end_ms: int, samples: Sequence[Sample]) -> None:
        """Count a final pane."""
        behind: Sequence[Sample]
        if self._rule.of == "duration":
            finished = list(self._runs.finished(samples))
            behind = samples = [sample for sample, _ in finished]
            weight = sum(took_us for _, took_us in finished)
        else:
            failed = [sample for sample in samples if sample.outcome == FAILED]
            weight = len(failed)
            behind = failed if self._rule.of in {"failures", "failure_rate"} else samples
        if not samples:
            return
        if self._since_ms is None:
            self._since_ms = end_ms - self._rule.pane_ms
        self._ends.append(end_ms)
        self._totals.append(len(samples))
        self._weights.append(weight)
        if behind:
            self._examples.append((end_ms, [example_of(sample) for sample in behind[:EXAMPLES_MAX]]))

    def read(self, end_ms: int) -> Reading:
        """Return the figure of the window against its baseline."""
        self._read_ms = end_ms
        self._expire(end_ms)
        rule, now = self._rule, self._sums(end_ms)
        figure = self._figure(now)
        samples = now.weight if rule.of == "failures" else now.total
        if figure is None:
            return Reading(Verdict.EMPTY, "no run finished in the window")
        if not rule.is_count and now.total < rule.min_samples:
            return Reading(Verdict.HELD, f"fewer than {rule.min_samples} runs finished", figure, samples=samples)
        baseline = self._baseline(end_ms)
        if len(baseline) < rule.min_windows:
            verdict = Verdict.HELD if self._is_full(end_ms) else Verdict.CLEAR  # open only if a rule before left it so
            return Reading(verdict, f"fewer than {rule.min_windows} windows to compare with", figure, samples=samples)
        verdict, reason, threshold = _judge(rule, figure, now.total, baseline)
        return Reading(verdict, reason, figure, threshold, samples)

    def _expire(self, end_ms: int) -> None:
        rule = self._rule
        gone = bisect_right(self._ends, end_ms - rule.kept_ms)
        if gone:
            del self._ends[:gone], self._totals[:gone], self._weights[:gone]
        while self._examples and self._examples[0][0] <= end_ms - rule.within:
            self._examples.popleft()
        self._runs.leave((end_ms - GIVEN_UP_MS) * 1000)
        if not self._ends:
            self._since_ms = None  # as if it had never been seen

    def _sums(self, end_ms: int) -> _Sums:
        begin = bisect_right(self._ends, end_ms - self._rule.within)
        end = bisect_right(self._ends, end_ms, begin)
        return _Sums(sum(self._totals[begin:end]), sum(self._weights[begin:end]))

    def _figure(self, sums: _Sums) -> float | None:
        """Return the figure of a window; None where it has none."""
        match self._rule.of:
            case "events" | "runs":
                return float(sums.total)
            case "failures":
                return float(sums.weight)
            case "failure_rate":
                return sums.weight / sums.total if sums.total else None
            case "duration":
                return sums.weight / sums.total / 1_000_000 if sums.total else None

    def _baseline(self, end_ms: int) -> list[float]:
        """Return the figures of the windows before that count, the newest first."""
        rule, found = self._rule, list[float]()
        for back in range(1, rule.windows + 1):
            before_ms = end_ms - back * rule.stride_ms
            if self._since_ms is None or before_ms - rule.within < self._since_ms:
                break
            sums = self._sums(before_ms)
            figure = self._figure(sums)
            if figure is not None and (rule.is_count or sums.total >= rule.min_samples):
                found.append(figure)
        return found

    def _is_full(self, end_ms: int) -> bool:
        return self._since_ms is not None and self._since_ms <= end_ms - self._rule.kept_ms

    def examples(self) -> Sequence[ExampleRun]:
        """Return runs or events of the window: the failed ones where these are counted."""
        found = [example for _, examples in self._examples for example in examples]
        return sorted(found, key=lambda run: (run.occurred_us, run.event_id))[:EXAMPLES_MAX]

    def next_change_ms(self) -> int | None:
        """Return the next pane end while there are panes, for each moves the baseline; else when a run is given up."""
        if self._ends:
            return self._read_ms + self._rule.pane_ms
        oldest = self._runs.oldest()
        if oldest is None:
            return None
        return pane_end(oldest.occurred_us // 1000 + GIVEN_UP_MS, self._rule.pane_ms)

    def is_lasting(self) -> bool:
        """Last no longer than the panes and the runs underway."""
        return False

    def take_refused(self) -> int:
        """Return how many runs were not watched for want of room since this was asked last."""
        return self._runs.take_refused()

    def dump(self) -> Any:
        """Return all of it."""
        places = [end_ms // self._rule.pane_ms for end_ms in self._ends]
        steps = [place - before for before, place in pairwise([0, *places])]
        totals, weights = self._totals.tolist(), self._weights.tolist()
        return _History(self._since_ms, self._read_ms, steps, totals, weights, list(self._examples), self._runs.dump())


def _judge(rule: Change, figure: float, samples: int, baseline: Sequence[float]) -> tuple[Verdict, str, float]:
    """Return the verdict, why, and the threshold that the figure would have to pass."""
    mean = fmean(baseline)
    spread = sqrt(sum((each - mean) ** 2 for each in baseline) / (len(baseline) - 1))
    apart = rule.sigma * max(spread, _by_chance(rule, mean, samples))
    is_up = rule.direction == "up" or (rule.direction == "both" and figure >= mean)
    if is_up:
        threshold = max(mean * rule.factor, mean + apart)
        has_changed, reason = figure > threshold, "more than the baseline by factor and sigma"
    else:
        threshold = min(mean / rule.factor, mean - apart)
        has_changed, reason = figure < threshold, "less than the baseline by factor and sigma"
    if rule.is_count and max(figure, mean) < rule.min_samples:
        return Verdict.CLEAR, f"fewer than {rule.min_samples}, and so was the baseline", threshold
    if has_changed:
        return Verdict.BREACH, reason, threshold
    return Verdict.CLEAR, "no such difference from the baseline", threshold


def _by_chance(rule: Change, mean: float, samples: int) -> float:
    """Return the standard deviation that chance alone makes of a count, or of a share of `samples` runs."""
    if rule.is_count:
        return sqrt(mean)
    return sqrt(mean * (1 - mean) / samples) if rule.of == "failure_rate" else 0.0

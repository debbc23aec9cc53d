"""`duration`: fires while a run takes longer than T, or while a quantile of the finished runs lies above T.

    {above: 30m}                     started                    ended
    run                              ├──────── T ───────┤·········■
    alert                                               firing… resolved

    {above: 30m, quantile: 95%, within: 1d}
    finished                         20m 25m 24m 41m … of each window 95 % took at most v: fires while v > T

Rule without `quantile`: at a pane end `e`, breach if a run that started before `e - above` has not ended, or passed
`above` and ended in the pane before `e`; clear if there is none. So each run that takes longer fires at the first pane
end after `started + above`, however soon it ends then. A run takes from its first `running` to its end: waits, pauses
and further attempts are in it.

Rule with `quantile`: breach if the quantile of the times that the runs took which finished in the window is > `above`;
clear if it is < `clear_below` (without one: if not above); fewer than `min_samples` hold the alert as it is. The
quantile is that of the nearest rank: the shortest time within which that share of the runs finished.

A run whose end is not told is given up 31 d after it passed `above`.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from math import floor
from typing import Annotated, Any, ClassVar, cast

import msgspec
from pydantic import AfterValidator, Field, model_validator

from flowgauge.processors.kinds.counted_panes import example_of
from flowgauge.processors.kinds.ends_of_runs import FINISHED
from flowgauge.processors.kinds.kind import Contradiction, Examples, FiredNumbers, Kind, Unit, Window
from flowgauge.processors.kinds.times_taken import TimesTaken, rank_of
from flowgauge.processors.kinds.underway import (
    AGAIN_MAX,
    ENDED,
    GIVEN_UP_MS,
    RUNS_MAX,
    STARTED,
    FinishedStates,
    Underway,
    place,
    states_told_of,
    told_of,
    unpaired,
)
from flowgauge.processors.panes import PANE_MS_MIN, pane_end, pane_ms
from flowgauge.processors.reading import Reading, Verdict
from flowgauge.schemas.counted import counted
from flowgauge.schemas.event import Event
from flowgauge.schemas.rule import IN_DIGITS, DurationMs, Rule, Share, WindowMs
from flowgauge.schemas.sample import Sample
from flowgauge.schemas.transition import EXAMPLES_MAX, ExampleRun

_OF_A_QUANTILE = ("within", "min_samples", "clear_below", "finished")


def _takes_time(duration_ms: int) -> int:
    if not duration_ms:
        raise ValueError("every run takes longer than 0s: write how long one may take, such as 30m")
    return duration_ms


def _some(share: float) -> float:
    if not share:
        raise ValueError("no run is within the first 0%: write 50% for the median, or 95%")
    return share


LimitMs = Annotated[DurationMs, AfterValidator(_takes_time)]
Quantile = Annotated[Share, AfterValidator(_some)]


class Duration(Kind):
    """The fields of `duration`."""

    name: ClassVar[str] = "duration"
    default_event_kinds: ClassVar[tuple[str, ...] | None] = ("flow-run",)
    stand_ins: ClassVar[Mapping[str, object]] = {"above": "31d"}
    unit: ClassVar[Unit | None] = "seconds"
    examples_as: ClassVar[Examples] = Examples(
        "Long runs", "the first that took too long, with their last error lines, UTC"
    )
    ends_with_its_run: ClassVar[bool] = True

    above: LimitMs
    quantile: Quantile | None = None
    within: WindowMs | None = None
    min_samples: Annotated[int, Field(ge=1), IN_DIGITS] = 5
    clear_below: LimitMs | None = None
    finished: FinishedStates = ("completed", "failed", "crashed")

    @model_validator(mode="after")
    def _of_one_form(self) -> "Duration":
        if self.quantile is None:
            for name in _OF_A_QUANTILE:
                if name in self.model_fields_set:
                    message = "is of finished runs, and without `quantile` each run counts by itself"
                    raise ValueError(f"`{name}` {message}: remove it, or write `quantile: 95%`")
        elif self.within is None:
            raise ValueError("`quantile` is one of the runs that finish in a window: write `within` too, such as 1d")
        if self.clear_below is not None and self.clear_below > self.above:
            raise ValueError("`clear_below` lies over `above`: write it at or below")
        return self

    @classmethod
    def stays_open(cls, fired: FiredNumbers) -> str:
        """Say what clears it."""
        if fired.window_ms:
            return ""  # a quantile: many runs move it
        if "run" in fired.key:
            return "The end of the run clears it."
        return "It stays open while a run takes longer than that."

    @property
    def window_ms(self) -> int:
        """The length of `within`; 0 where each run counts by itself."""
        return self.within or 0

    @property
    def look_back_ms(self) -> int:
        """To the start of a run that has run for `above` as its window begins; longer ones may begin before."""
        return self.above + self.window_ms

    @cached_property
    def pane_ms(self) -> int:
        """The size of its panes: without a window, of the smallest."""
        return pane_ms(self.within) if self.within else PANE_MS_MIN

    @property
    def states(self) -> frozenset[str | None] | None:
        """What begins a run and what ends it."""
        return states_told_of(self.finished)

    def wavers(self) -> bool:
        """Waver where one run more or less both makes the quantile fire and clears it."""
        has_gap = self.clear_below is not None and self.clear_below < self.above
        return self.quantile is not None and not has_gap

    def outcome(self, event: Event) -> str | None:
        """Return whether a run starts, finishes, or ends otherwise."""
        return told_of(event, self.finished)

    def contradictions(self, rule: Rule) -> Iterator[Contradiction]:
        """Refuse rules that cannot see starts and ends, and what a form cannot have."""
        yield from unpaired(rule)
        if self.quantile is None:
            if rule.no_data != "hold":
                message = "where no run takes too long there is nothing to miss: it is clear"
                yield ("no_data",), message, "remove it, or write `quantile`"
            return
        for name in ("run", "task"):
            if name in rule.for_each:
                yield ("for_each",), f"each {name} would be a window of its own, with one end", "group by flow"

    def notes(self) -> Mapping[str, str]:
        """Tell of how few runs a quantile is just the longest."""
        if self.quantile is None or self.quantile == 1:
            return {}
        enough = floor(1 / (1 - self.quantile) + 1e-9)
        while rank_of(self.quantile, enough) == enough:
            enough += 1
        if enough <= self.min_samples:
            return {}
        return {"quantile": f"of fewer than {counted(enough, 'finished run')} it is the longest"}

    def needed_by(self, sample: Sample, end_ms: int) -> int:
        """Return when the run is due that starts; an end is needed at once where it may clear, or counts."""
        if sample.outcome == FINISHED or (sample.outcome == ENDED and self.quantile is None):
            return end_ms
        may_move_ms = self.due_ms(sample.occurred_us) if self.within is None else end_ms + self.within
        return min(end_ms + self.deferred_ms, may_move_ms)

    def hears_late(self, outcome: str) -> bool:
        """Hear of the end of a run that is watched whenever it is told; no quantile counts it."""
        return self.quantile is None and outcome in {FINISHED, ENDED}

    def due_ms(self, started_us: int) -> int:
        """Return the first pane end at which a run that started then has run for longer than `above`."""
        return pane_end(started_us // 1000 + self.above, self.pane_ms)

    def given_up_ms(self, started_us: int) -> int:
        """Return the pane end at which the end of a run that started then is no longer waited for."""
        return pane_end(started_us // 1000 + self.above + GIVEN_UP_MS, self.pane_ms)

    def new_window(self) -> Window:
        """Return a window without a run."""
        if self.quantile is None:
            return LongRuns(self, _Runs())
        return QuantileWindow(self, Underway(), self._times_taken([]), None)

    def load_window(self, dumped: Any) -> Window:
        """Return the window that was dumped."""
        if self.quantile is None:
            return LongRuns(self, msgspec.convert(cast("list[Any]", dumped), _Runs))
        runs, panes, full_ms = cast("tuple[list[Any], list[Any], int | None]", dumped)
        underway = Underway(msgspec.convert(runs, list[ExampleRun]))
        return QuantileWindow(self, underway, self._times_taken(panes), full_ms)

    def _times_taken(self, dumped: Sequence[Any]) -> TimesTaken:
        bounds = [self.above * 1000]
        if self.clear_below is not None:
            bounds.insert(0, self.clear_below * 1000 - 1)  # < `clear_below` is at most this
        return TimesTaken(self.window_ms, bounds_us=bounds, dumped=dumped)


class _Ended(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A run that took too long and ended in the last pane; `is_news` if it passed its limit in that pane too."""

    start: ExampleRun
    took_us: int
    is_news: bool


class _Runs(msgspec.Struct, array_like=True, gc=False):
    """What `LongRuns` remembers: runs by their starts, and those that ended in the pane that ends at `ended_ms`."""

    in_time: list[ExampleRun] = []
    over: list[ExampleRun] = []
    ended_ms: int = 0
    ended: list[_Ended] = []
    again: dict[str, list[ExampleRun]] = {}  # of runs by id: when they were told to run since their start


class LongRuns:
    """The runs of one key that are underway: those still in time, and those that take too long."""

    __slots__ = ("_again", "_ended", "_ended_ms", "_in_time", "_over", "_rule")

    def __init__(self, rule: Duration, runs: _Runs) -> None:
        self._rule = rule
        self._in_time = Underway(runs.in_time)
        self._over = Underway(runs.over)
        self._ended_ms = runs.ended_ms
        self._ended = list(runs.ended)
        self._again = {run: list(starts) for run, starts in runs.again.items()}

    def add(self, end_ms: int, samples: Sequence[Sample]) -> None:
        """Take a final pane: begin and end runs."""
        self._pass_time(end_ms - self._rule.pane_ms)
        for sample in sorted(samples, key=place):
            if sample.outcome != STARTED:
                self._end(sample, end_ms)
            elif sample.run in self._over or sample.run in self._in_time:
                again = self._again.setdefault(sample.run, [])
                again.append(example_of(sample))
                del again[:-AGAIN_MAX]
            else:
                self._in_time.begin_of(sample, room=RUNS_MAX - len(self._over))

    def _end(self, sample: Sample, end_ms: int) -> None:
        was_over = sample.run in self._over
        runs = self._over if was_over else self._in_time
        start = runs.end(sample.run)
        if start is None:
            return
        if start.occurred_us > sample.occurred_us:  # the end, told late, of what it was before
            runs.begin(start)
            return
        since = [run for run in self._again.pop(sample.run, ()) if run.occurred_us > sample.occurred_us]
        if since:
            self._in_time.begin(since[0])
            self._again[sample.run] = since[1:]
        took_us = sample.occurred_us - start.occurred_us
        if took_us > self._rule.above * 1000:
            self._forget_ended(end_ms)
            self._ended.append(_Ended(start, took_us, not was_over))
            self._ended_ms = end_ms

    def _pass_time(self, end_ms: int) -> int:
        """Find the runs that take too long at `end_ms`; return how many were given up."""
        above_us, now_us = self._rule.above * 1000, end_ms * 1000
        for run in self._in_time.leave(now_us - above_us):
            self._over.begin(run)
        given_up = self._over.leave(now_us - above_us - GIVEN_UP_MS * 1000)
        for run in given_up:
            self._again.pop(run.run, None)
        return len(given_up)

    def _forget_ended(self, end_ms: int) -> None:
        if self._ended_ms != end_ms:
            self._ended.clear()

    def read(self, end_ms: int) -> Reading:
        """Return for how many seconds the longest run of the last pane has run, and how many took too long."""
        given_up = self._pass_time(end_ms)
        self._forget_ended(end_ms)
        longest = self._over.oldest() or self._in_time.oldest()
        took_us = [each.took_us for each in self._ended]
        if longest is not None:
            took_us.append(end_ms * 1000 - longest.occurred_us)
        is_breach = len(self._over) > 0 or any(each.is_news for each in self._ended)
        reason = "no run takes longer than the threshold"
        if is_breach:
            reason = "a run takes longer than the threshold"
        elif self._ended:
            reason = "the run that took too long has ended"
        elif given_up:
            reason = "no end of the run was told, and it is not watched any longer"
        return Reading(
            Verdict.BREACH if is_breach else Verdict.CLEAR,
            reason,
            max(took_us) / 1_000_000 if took_us else None,
            self._rule.above / 1000,
            len(self._over) + len(self._ended),
        )

    def examples(self) -> Sequence[ExampleRun]:
        """Return the starts of runs that took too long."""
        starts = [*self._over.first(EXAMPLES_MAX), *(each.start for each in self._ended)]
        return sorted(starts, key=lambda run: (run.occurred_us, run.event_id))[:EXAMPLES_MAX]

    def next_change_ms(self) -> int | None:
        """Return when the next run takes too long, one that did and ended is forgotten, or one is given up."""
        in_time, over = self._in_time.oldest(), self._over.oldest()
        moments = [self._ended_ms + self._rule.pane_ms] if self._ended else []
        if in_time is not None:
            moments.append(self._rule.due_ms(in_time.occurred_us))
        if over is not None:
            moments.append(self._rule.given_up_ms(over.occurred_us))
        return min(moments, default=None)

    def is_lasting(self) -> bool:
        """Last no longer than there are runs, each of which is given up at its time."""
        return False

    def take_refused(self) -> int:
        """Return how many runs were not watched for want of room since this was asked last."""
        return self._in_time.take_refused()

    def dump(self) -> Any:
        """Return the runs."""
        return _Runs(self._in_time.dump(), self._over.dump(), self._ended_ms, list(self._ended), self._again)


class QuantileWindow:
    """How long the runs of one key took that finished in the last `within`, and the runs underway.

    `full_ms` is the pane end from which on a window without a finished run is no data: at once where one has finished
    before, else one window after the first sight, for what has just begun cannot have finished. None before that.
    """

    __slots__ = ("_full_ms", "_rule", "_runs", "_times")

    def __init__(self, rule: Duration, runs: Underway, times: TimesTaken, full_ms: int | None) -> None:
        self._rule = rule
        self._full_ms = full_ms
        self._runs = runs
        self._times = times

    def add(self, end_ms: int, samples: Sequence[Sample]) -> None:
        """Take a final pane: begin runs, and count those that finish."""
        finished = list(self._runs.finished(samples))
        took_us = [took for _, took in finished]
        long = [example_of(sample) for sample, took in finished if took > self._rule.above * 1000]
        self._times.add(end_ms, took_us, long)
        if took_us:
            self._full_ms = 0
        elif self._full_ms is None:
            self._full_ms = end_ms + self._rule.window_ms

    def read(self, end_ms: int) -> Reading:
        """Return the quantile over the window, in seconds."""
        rule = self._rule
        self._times.expire(end_ms)
        self._runs.leave((end_ms - rule.above - GIVEN_UP_MS) * 1000)
        finished, threshold = self._times.total, rule.above / 1000
        if not finished and end_ms < (self._full_ms or 0):
            return Reading(Verdict.HELD, "no run has finished yet", threshold=threshold)
        if not finished:
            return Reading(Verdict.EMPTY, "no run finished in the window", threshold=threshold)
        took_us = self._times.quantile_us(rule.quantile or 1)
        verdict, reason = self._judge(took_us, finished)
        return Reading(verdict, reason, took_us / 1_000_000, threshold, finished)

    def _judge(self, took_us: int, finished: int) -> tuple[Verdict, str]:
        rule = self._rule
        if finished < rule.min_samples:
            return Verdict.HELD, f"fewer than {rule.min_samples} runs finished"
        if took_us > rule.above * 1000:
            return Verdict.BREACH, "runs take longer than the threshold"
        if rule.clear_below is not None and took_us >= rule.clear_below * 1000:
            return Verdict.BETWEEN, "runs take between clear_below and above"
        return Verdict.CLEAR, "runs take no longer than the threshold"

    def examples(self) -> Sequence[ExampleRun]:
        """Return runs that took longer than `above`."""
        return self._times.examples()

    def next_change_ms(self) -> int | None:
        """Return when the oldest pane leaves, or nothing that finishes is no data; else when a run is given up."""
        expiry_ms, oldest = self._times.next_expiry_ms(), self._runs.oldest()
        given_up_ms = None if oldest is None else self._rule.given_up_ms(oldest.occurred_us)
        moments = (expiry_ms, self._full_ms if expiry_ms is None else None, given_up_ms)
        return min((moment for moment in moments if moment), default=None)

    def is_lasting(self) -> bool:
        """Last no longer than the panes and the runs underway."""
        return False

    def take_refused(self) -> int:
        """Return how many runs were not watched for want of room since this was asked last."""
        return self._runs.take_refused()

    def dump(self) -> Any:
        """Return runs, panes and when the window is full."""
        return [self._runs.dump(), self._times.dump(), self._full_ms]

"""`missed`: fires where a slot of a schedule passes without a run.

    slots      02:00         03:00         04:00         05:00
    deadline        ├ grace       ├ grace       ├ grace       ├ grace
    starts       ·                                 ·         ·
    alert                         firing ………………… resolved

Rule: at a pane end `e`, breach if the first slot that no start has met is due before `e`: `grace` after it; clear if
every slot that is due has been met. A start meets the slot it is for and all before it. With `completes_within`, the
same again of runs that completed. A key is watched from its first event on.

A start is for the time that its orchestrator scheduled it for, else for the time at which it started. So each slot is
judged once, slots that pass while an incident is open add none, and a run within a grace longer than the time between
slots is early enough. A run counts once, by its first sign of having started: a retry or an end is no new start.

Time is that of the log, as in all kinds. `timetable` tells of early starts and of changes of the clock.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any, ClassVar, cast

import msgspec
from pydantic import AfterValidator, BeforeValidator, ValidationInfo, field_validator, model_validator

from flowgauge.processors.cron import DIALECTS, Dialect, parse_cron
from flowgauge.processors.kinds.counted_panes import example_of
from flowgauge.processors.kinds.kind import Contradiction, Kind, Unit, Window
from flowgauge.processors.panes import PANE_MS_MIN, pane_end
from flowgauge.processors.reading import Reading, Verdict
from flowgauge.processors.selector import text_test
from flowgauge.processors.slots import Interval, Schedule, zone_named
from flowgauge.processors.timetable import Due, Timetable
from flowgauge.schemas.event import STATES, TERMINAL_STATES, Event
from flowgauge.schemas.rule import DurationMs, Rule, WindowMs
from flowgauge.schemas.sample import Sample
from flowgauge.schemas.times import EPOCH, format_duration, parse_time_ms
from flowgauge.schemas.transition import ExampleRun

RUNS_MAX = 32  # of one key; past it the oldest is forgotten, the ended ones first: what comes of it is a start again

SEEN = "seen"  # a run is to come: the key is watched
STARTED = "started"
ENDED = "ended"
_EXPECTED = frozenset({"scheduled", "late", "pending"})  # states of runs that have not started
_STEPS = {SEEN: 0, STARTED: 1, ENDED: 2}  # of one time these are in this order: ids say nothing of what came first


def _zone(name: str) -> str:
    zone_named(name)
    return name


def _moment(value: object) -> int:
    return parse_time_ms(str(value))


class Missed(Kind):
    """The fields of `missed`."""

    name: ClassVar[str] = "missed"
    default_event_kinds: ClassVar[tuple[str, ...] | None] = ("flow-run",)
    unit: ClassVar[Unit | None] = "seconds"

    dialect: Dialect | None = None
    cron: str | None = None
    tz: Annotated[str, AfterValidator(_zone)] = "UTC"
    every: WindowMs | None = None
    anchor: Annotated[int, BeforeValidator(_moment)] | None = None
    grace: DurationMs

    @field_validator("cron")
    @classmethod
    def _can_be_read(cls, cron: str | None, info: ValidationInfo) -> str | None:
        dialect: Dialect | None = info.data.get("dialect")
        if cron is not None and dialect is not None:
            parse_cron(cron, dialect)
        return cron

    @model_validator(mode="after")
    def _has_one_schedule(self) -> "Missed":
        if self.every is not None:
            for name in ("cron", "dialect", "tz"):
                if name in self.model_fields_set:
                    raise ValueError(f"`{name}` does not go with `every`: remove one of them")
            return self
        if self.cron is None:
            raise ValueError("expected a schedule: write `cron` and `dialect`, or `every`")
        if self.anchor is not None:
            raise ValueError("`anchor` goes with `every`: a cron expression has its own times")
        if self.dialect is None:
            raise ValueError(f"`dialect` says which scheduler runs `cron`: add one of {', '.join(DIALECTS)}")
        return self

    @property
    def window_ms(self) -> int:
        """No window: a slot is missed until a run starts."""
        return 0

    @cached_property
    def pane_ms(self) -> int:
        """The size of its panes: the smallest."""
        return PANE_MS_MIN

    @cached_property
    def timetable(self) -> Timetable:
        """The slots, shared by all keys."""
        if self.cron is not None and self.dialect is not None:
            return Timetable(Schedule(parse_cron(self.cron, self.dialect), zone_named(self.tz)))
        every = timedelta(milliseconds=self.every or 0)
        return Timetable(Interval(every, EPOCH + timedelta(milliseconds=self.anchor or 0)))

    @property
    def states(self) -> frozenset[str | None] | None:
        """Every state says something about a run."""
        return frozenset(STATES)

    def contradictions(self, rule: Rule) -> Iterator[Contradiction]:
        """Refuse a second answer to what this kind asks, keys that have no schedule, and starts that are not seen."""
        if rule.no_data != "hold":
            yield ("no_data",), "that no run comes is what a missed rule is about", "remove `no_data`"
        for name in ("run", "task"):
            if name in rule.for_each:
                yield ("for_each",), f"a schedule is of a flow: no {name} comes again", "group by flow"
        if "state" in rule.match and not any(map(text_test(rule.match["state"]), {*STATES} - _EXPECTED)):
            yield ("match", "state"), "no run that starts would be seen", "remove `state`"

    def outcome(self, event: Event) -> str | None:
        """Return how far the run has come."""
        if event.state is None:
            return None
        if event.state in _EXPECTED:
            return SEEN
        return ENDED if event.state in TERMINAL_STATES else STARTED

    def new_window(self) -> Window:
        """Return a window that has seen nothing."""
        return MissedWindow(self, _Seen())

    def load_window(self, dumped: Any) -> Window:
        """Return the window that was dumped."""
        return MissedWindow(self, msgspec.convert(cast("list[Any]", dumped), _Seen))


class _Start(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A start that came when a slot had been missed. `is_for_later`: it is in time for one of the slots since."""

    slot_ms: int
    started_ms: int
    is_for_later: bool


class _Seen(msgspec.Struct, array_like=True, gc=False):
    """What is known of the runs of a key. `met_ms`: every slot up to then is met; None where nothing was seen."""

    met_ms: int | None = None
    last: ExampleRun | None = None  # the run that started last
    late: _Start | None = None  # the last start that ended a miss
    runs: dict[str, bool] = {}  # those that have started, and whether they have ended; in the order they were heard of


class MissedWindow:
    """How far the slots of one key are met."""

    __slots__ = ("_due", "_rule", "_seen")

    def __init__(self, rule: Missed, seen: _Seen) -> None:
        self._rule = rule
        self._seen = seen
        self._due: Due | None = None  # follows from what is met
        if seen.met_ms is not None:
            self._meet(seen.met_ms)

    def add(self, end_ms: int, samples: Sequence[Sample]) -> None:  # noqa: ARG002  # the event's own time counts
        """Take a final pane."""
        for sample in sorted(samples, key=_place):
            if self._seen.met_ms is None:
                self._meet(self._rule.timetable.met_by(sample.occurred_us // 1000, early_max_ms=0))
            if sample.outcome != SEEN:
                self._see_run(sample)

    def _see_run(self, sample: Sample) -> None:
        runs, has_ended = self._seen.runs, sample.outcome == ENDED
        is_new = sample.run not in runs
        if sample.run:
            runs[sample.run] = has_ended
            if len(runs) > RUNS_MAX:
                del runs[next((run for run, is_over in runs.items() if is_over), next(iter(runs)))]
        if is_new:
            self._start(sample)

    def _start(self, sample: Sample) -> None:
        timetable, seen, due = self._rule.timetable, self._seen, self._due
        started_ms = sample.occurred_us // 1000
        seen.last = example_of(sample)
        met_ms = timetable.met_by(self._place_ms(sample), seen.met_ms or 0)
        if met_ms == seen.met_ms:
            return
        if due is not None and due.slot_ms <= met_ms and due.deadline_ms < started_ms:
            in_time = next(timetable.after(max(started_ms - self._rule.grace - 1, due.slot_ms)), None)
            seen.late = _Start(due.slot_ms, started_ms, in_time is not None and in_time.at_ms <= met_ms)
        self._meet(met_ms)

    def _place_ms(self, sample: Sample) -> int:
        """Return for when a run started: it may be for the next slot ahead, but hides no other before that."""
        started_ms = sample.occurred_us // 1000
        if sample.scheduled_ms is None or sample.scheduled_ms <= started_ms:
            return started_ms if sample.scheduled_ms is None else sample.scheduled_ms
        ahead = next(self._rule.timetable.after(started_ms), None)
        return started_ms if ahead is None or ahead.at_ms < sample.scheduled_ms else sample.scheduled_ms

    def _meet(self, met_ms: int) -> None:
        self._seen.met_ms = met_ms
        self._due = self._rule.timetable.due(met_ms, self._rule.grace)

    def read(self, end_ms: int) -> Reading:
        """Return how long no run has started after its slot."""
        seen, due, rule = self._seen, self._due, self._rule
        threshold, samples = rule.grace / 1000, int(seen.last is not None)
        if seen.met_ms is None:
            return Reading(Verdict.HELD, "no matching event has been seen yet", threshold=threshold)
        if due is not None and due.deadline_ms < end_ms:
            reason = f"no run has started for the slot {rule.timetable.text(due.slot_ms)}"
            return Reading(Verdict.BREACH, reason, (end_ms - due.slot_ms) / 1000, threshold, samples)
        if seen.late is None:
            return Reading(Verdict.CLEAR, "every slot that is due has had its run", None, threshold, samples)
        after_ms = seen.late.started_ms - seen.late.slot_ms
        return Reading(Verdict.CLEAR, self._late_text(seen.late, after_ms), after_ms / 1000, threshold, samples)

    def _late_text(self, late: _Start, after_ms: int) -> str:
        slot = self._rule.timetable.text(late.slot_ms)
        if late.is_for_later:
            return f"a run started for a later slot: the one at {slot} had none"
        return f"a run started {format_duration(after_ms // 1000 * 1000)} after the slot {slot}"

    def examples(self) -> Sequence[ExampleRun]:
        """Return the run that started last."""
        return [self._seen.last] if self._seen.last else []

    def next_change_ms(self) -> int | None:
        """Return when the next slot is missed."""
        return None if self._due is None else pane_end(self._due.deadline_ms, self._rule.pane_ms)

    def is_lasting(self) -> bool:
        """Tell whether it is watched."""
        return self._seen.met_ms is not None

    def take_refused(self) -> int:
        """Refuse none: a run that is forgotten is none that was dropped."""
        return 0

    def dump(self) -> Any:
        """Return what is known of the runs."""
        return self._seen


def _place(sample: Sample) -> tuple[int, int]:
    return sample.occurred_us, _STEPS[sample.outcome]

"""`missed`: fires where a slot of a schedule passes without a run.

    slots      02:00         03:00         04:00         05:00
    deadline        ├ grace       ├ grace       ├ grace       ├ grace
    starts       ·                                 ·         ·
    alert                         firing ………………… resolved

Rule: at a pane end `e`, breach if the first slot that no start has met is due before `e`: `grace` after it; clear if
every slot that is due has been met. A start meets the slot it is for and all before it. With `completes_within`, the
same again of runs that have completed. A key is watched from its first event on.

A start is for the time that its orchestrator scheduled it for, else for the time at which it started. So each slot is
judged once, slots that pass while an incident is open add none, and a run within a grace longer than the time between
slots is early enough. A run counts once, by its first sign of having started: a retry or an end is no new start.

Time is that of the log, as in all kinds. `timetable` tells of early starts and of changes of the clock.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, cast

import msgspec
from pydantic import AfterValidator, ValidationInfo, field_validator, model_validator

from flowgauge.processors.cron import DIALECTS, Dialect, parse_cron
from flowgauge.processors.kinds.counted_panes import example_of
from flowgauge.processors.kinds.kind import Contradiction, Examples, FiredNumbers, Kind, Unit, Window
from flowgauge.processors.panes import PANE_MS_MIN, pane_end
from flowgauge.processors.reading import Reading, Verdict
from flowgauge.processors.selector import text_test
from flowgauge.processors.slots import Interval, Schedule, zone_named
from flowgauge.processors.timetable import EARLY_MAX_MS, Timetable
from flowgauge.schemas.event import STATES, TERMINAL_STATES, Event
from flowgauge.schemas.rule import DurationMs, MomentMs, Rule, WindowMs
from flowgauge.schemas.sample import Sample
from flowgauge.schemas.times import EPOCH, format_duration, millis
from flowgauge.schemas.transition import ExampleRun

RUNS_MAX = 32  # of one key; past it the oldest is forgotten, the ended ones first: what comes of it is a start again

Verb = Literal["started", "completed"]

SEEN = "seen"  # a run is to come: the key is watched
STARTED = "started"
COMPLETED = "completed"
ENDED = "ended"  # without completing
_EXPECTED = frozenset({"scheduled", "late", "pending"})  # states of runs that have not started
_STEPS = {
    SEEN: 0,
    STARTED: 1,
    COMPLETED: 2,
    ENDED: 2,
}  # of one time these are in this order: ids say nothing of what came first


def _zone(name: str) -> str:
    zone_named(name)
    return name


class Missed(Kind):
    """The fields of `missed`."""

    name: ClassVar[str] = "missed"
    default_event_kinds: ClassVar[tuple[str, ...] | None] = ("flow-run",)
    unit: ClassVar[Unit | None] = "seconds"
    examples_as: ClassVar[Examples] = Examples(
        "Last start", "the run that started last, with its last error lines, UTC"
    )

    dialect: Dialect | None = None
    cron: str | None = None
    tz: Annotated[str, AfterValidator(_zone)] = "UTC"
    every: WindowMs | None = None
    anchor: MomentMs | None = None
    grace: DurationMs
    completes_within: WindowMs | None = None
    if_failed: Literal["miss", "skip"] = "miss"

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

    @model_validator(mode="after")
    def _completes_after_it_starts(self) -> "Missed":
        if self.completes_within is None:
            if "if_failed" in self.model_fields_set:
                raise ValueError("`if_failed` goes with `completes_within`: write both, or neither")
        elif self.completes_within <= self.grace:
            raise ValueError("`completes_within` counts from the slot too: write more than `grace`")
        return self

    @classmethod
    def stays_open(cls, fired: FiredNumbers) -> str:  # noqa: ARG003  # the same for all
        """Say what clears it."""
        return "A run for this slot or a later one clears it."

    @property
    def window_ms(self) -> int:
        """No window: a slot is missed until a run starts."""
        return 0

    @property
    def look_back_ms(self) -> int:
        """To a start just after a slot, for the one after that: the next that may be missed follows on both."""
        return 2 * self.timetable.longest_ms + EARLY_MAX_MS + max(self.grace, self.completes_within or 0)

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

    def until_ms(self) -> tuple[str, int] | None:
        """Look until the last slot, where the years of a cron expression end."""
        if self.cron is None or self.dialect is None:
            return None
        wall = parse_cron(self.cron, self.dialect).last_wall()
        return None if wall is None else ("cron", millis(wall.replace(tzinfo=zone_named(self.tz), fold=1)))

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
        if "state" in rule.match:
            is_seen = text_test(rule.match["state"])
            if not any(map(is_seen, {*STATES} - _EXPECTED)):
                yield ("match", "state"), "no run that starts would be seen", "remove `state`"
            elif self.completes_within is not None and not is_seen("completed"):
                yield ("match", "state"), "no run that completes would be seen", "remove `state`"

    def outcome(self, event: Event) -> str | None:
        """Return how far the run has come."""
        if event.state is None:
            return None
        if event.state in _EXPECTED:
            return SEEN
        if event.state == "completed":
            return COMPLETED
        return ENDED if event.state in TERMINAL_STATES else STARTED

    def new_window(self) -> Window:
        """Return a window that has seen nothing."""
        return MissedWindow(self, _Seen())

    def load_window(self, dumped: Any) -> Window:
        """Return the window that was dumped."""
        return MissedWindow(self, msgspec.convert(cast("list[Any]", dumped), _Seen))


class _Late(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A run that started or completed when a slot had been missed. `is_for_later`: in time for one of those since."""

    verb: Verb
    slot_ms: int
    at_ms: int
    is_for_later: bool


class _Run(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A run that has started, and for when."""

    place_ms: int
    has_ended: bool


class _Seen(msgspec.Struct, array_like=True, gc=False):
    """What is known of the runs of a key. Every slot up to `started_ms` has had its start; None: nothing was seen."""

    started_ms: int | None = None
    completed_ms: int | None = None  # the same of completion, where the rule asks for that
    last: ExampleRun | None = None  # the run that started last
    late: _Late | None = None  # what ended the last miss
    runs: dict[str, _Run] = {}  # in the order in which they were heard of


class _Reach:
    """How far the slots are met by what runs have done, and which is due next: that follows."""

    __slots__ = ("due", "met_ms", "timetable", "verb", "within_ms")

    def __init__(self, timetable: Timetable, verb: Verb, within_ms: int, met_ms: int) -> None:
        self.timetable = timetable
        self.verb: Verb = verb
        self.within_ms = within_ms
        self._meet(met_ms)

    def move(self, place_ms: int, at_ms: int) -> _Late | None:
        """Meet what a run of this place meets; return what there is to tell if that was missed before `at_ms`."""
        met_ms = self.timetable.met_by(place_ms, self.met_ms)
        if met_ms == self.met_ms:
            return None
        due, late = self.due, None
        if due is not None and due.slot_ms <= met_ms and due.deadline_ms < at_ms:
            in_time = next(self.timetable.after(max(at_ms - self.within_ms - 1, due.slot_ms)), None)
            late = _Late(self.verb, due.slot_ms, at_ms, in_time is not None and in_time.at_ms <= met_ms)
        self._meet(met_ms)
        return late

    def is_missed(self, end_ms: int) -> bool:
        """Tell whether a slot was due before `end_ms`."""
        return self.due is not None and self.due.deadline_ms < end_ms

    def _meet(self, met_ms: int) -> None:
        self.met_ms = met_ms
        self.due = self.timetable.due(met_ms, self.within_ms)


class MissedWindow:
    """How far the slots of one key are met."""

    __slots__ = ("_completed", "_rule", "_seen", "_started")

    def __init__(self, rule: Missed, seen: _Seen) -> None:
        self._rule = rule
        self._seen = seen
        self._started: _Reach | None = None
        self._completed: _Reach | None = None
        if seen.started_ms is not None:
            self._watch(seen.started_ms, seen.completed_ms or seen.started_ms)

    def _watch(self, started_ms: int, completed_ms: int) -> None:
        rule = self._rule
        self._started = _Reach(rule.timetable, "started", rule.grace, started_ms)
        if rule.completes_within is not None:
            self._completed = _Reach(rule.timetable, "completed", rule.completes_within, completed_ms)

    def add(self, end_ms: int, samples: Sequence[Sample]) -> None:  # noqa: ARG002  # the event's own time counts
        """Take a final pane."""
        for sample in sorted(samples, key=_place):
            if self._started is None:
                first_ms = self._rule.timetable.met_by(sample.occurred_us // 1000, early_max_ms=0)
                self._watch(first_ms, first_ms)
            if sample.outcome != SEEN:
                self._see_run(sample)

    def _see_run(self, sample: Sample) -> None:
        known = self._seen.runs.get(sample.run) if sample.run else None
        run = _Run(known.place_ms if known else self._place_ms(sample), sample.outcome in {COMPLETED, ENDED})
        if sample.run:
            self._remember(sample.run, run)
        if known is None:
            self._seen.last = example_of(sample)
            self._move(self._started, run, sample)
        if sample.outcome == COMPLETED or (sample.outcome == ENDED and self._rule.if_failed == "skip"):
            self._move(self._completed, run, sample)

    def _remember(self, name: str, run: _Run) -> None:
        runs = self._seen.runs
        runs[name] = run
        if len(runs) > RUNS_MAX:
            del runs[next((each for each, other in runs.items() if other.has_ended), next(iter(runs)))]

    def _move(self, reach: _Reach | None, run: _Run, sample: Sample) -> None:
        late = None if reach is None else reach.move(run.place_ms, sample.occurred_us // 1000)
        if late is not None:
            self._seen.late = late

    def _place_ms(self, sample: Sample) -> int:
        """Return for when a run started: it may be for the next slot ahead, but hides no other before that."""
        started_ms = sample.occurred_us // 1000
        if sample.scheduled_ms is None or sample.scheduled_ms <= started_ms:
            return started_ms if sample.scheduled_ms is None else sample.scheduled_ms
        ahead = next(self._rule.timetable.after(started_ms), None)
        return started_ms if ahead is None or ahead.at_ms < sample.scheduled_ms else sample.scheduled_ms

    def _reaches(self) -> list[_Reach]:
        return [reach for reach in (self._started, self._completed) if reach is not None]

    def read(self, end_ms: int) -> Reading:
        """Return for how many seconds a slot has been without its run."""
        timetable, late, samples = self._rule.timetable, self._seen.late, int(self._seen.last is not None)
        threshold = self._rule.grace / 1000
        if self._started is None:
            return Reading(Verdict.HELD, "no matching event has been seen yet", threshold=threshold)
        for reach in self._reaches():
            if reach.due is not None and reach.is_missed(end_ms):
                reason = f"no run has {reach.verb} for the slot {timetable.text(reach.due.slot_ms)}"
                missing_s = (end_ms - reach.due.slot_ms) / 1000
                return Reading(Verdict.BREACH, reason, missing_s, reach.within_ms / 1000, samples)
        if late is None:
            return Reading(Verdict.CLEAR, "every slot that is due has had its run", None, threshold, samples)
        if late.verb == "completed" and self._completed is not None:
            threshold = self._completed.within_ms / 1000
        return Reading(
            Verdict.CLEAR, _late_text(late, timetable), (late.at_ms - late.slot_ms) / 1000, threshold, samples
        )

    def examples(self) -> Sequence[ExampleRun]:
        """Return the run that started last."""
        return [self._seen.last] if self._seen.last else []

    def next_change_ms(self) -> int | None:
        """Return when the next slot is missed; nothing that changes by itself is told of one that is."""
        deadlines = [reach.due.deadline_ms for reach in self._reaches() if reach.due is not None]
        return pane_end(min(deadlines), self._rule.pane_ms) if deadlines else None

    def is_lasting(self) -> bool:
        """Tell whether it is watched."""
        return self._started is not None

    def take_refused(self) -> int:
        """Refuse none: a run that is forgotten is none that was dropped."""
        return 0

    def dump(self) -> Any:
        """Return what is known of the runs."""
        self._seen.started_ms = self._started.met_ms if self._started else None
        self._seen.completed_ms = self._completed.met_ms if self._completed else None
        return self._seen


def _late_text(late: _Late, timetable: Timetable) -> str:
    slot = timetable.text(late.slot_ms)
    if late.is_for_later:
        return f"a run {late.verb} for a later slot: the one at {slot} had none"
    after_ms = late.at_ms - late.slot_ms
    return f"a run {late.verb} {format_duration(after_ms // 1000 * 1000)} after the slot {slot}"


def _place(sample: Sample) -> tuple[int, int]:
    return sample.occurred_us, _STEPS[sample.outcome]

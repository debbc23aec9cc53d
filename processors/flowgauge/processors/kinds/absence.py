"""`absence`: fires where no matching event has come for T: a heartbeat that stopped, data that went stale.

    events     ·    ·   ·                        ·              after: T
    silent              ├──────── T ────────┤firing… resolved   │
    run        ·    ·   ✓                                       for_each: [run]: its end ends the watch

Rule: at a pane end `e`, breach if the last matching event lies before `[e - after, e)`; clear if it lies within, or if
the run that is watched has ended; a key is watched from its first event on, never before.

Time is that of the log, as in all kinds: while nothing of the log is read it stands still, and what was appended
meanwhile is heard before its absence is judged. A run has ended with a terminal state of its own (event kind
`flow-run`), whatever `event`, `kind` and `state` the rule matches where it groups by nothing but run and flow. Of equal
times the end comes last, and what comes within `after` of it without a state of the run is an echo: it watches nothing.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, cast

import msgspec
from pydantic import Field

from flowgauge.processors.kinds.counted_panes import example_of
from flowgauge.processors.kinds.kind import Contradiction, Examples, FiredNumbers, Kind, Unit, Window
from flowgauge.processors.panes import pane_end
from flowgauge.processors.reading import Reading, Verdict
from flowgauge.schemas.event import TERMINAL_STATES, Event
from flowgauge.schemas.rule import Rule, WindowMs
from flowgauge.schemas.sample import Sample
from flowgauge.schemas.transition import ExampleRun

HEARD = "heard"
WENT_ON = "went on"  # a state of the run that is watched, and not its end
ENDED = "ended"
_RUN_KIND = "flow-run"  # of events whose state is that of the run itself, not of a task or a worker
_FIELDS_OF_AN_END = frozenset({"run", "flow"})  # what every event of a run's own has


class Absence(Kind):
    """The fields of `absence`."""

    name: ClassVar[str] = "absence"
    unit: ClassVar[Unit | None] = "seconds"
    examples_as: ClassVar[Examples] = Examples(
        "Last seen", "the last event that matched, with the last error lines of its run, UTC", "last event"
    )
    ends_with_its_run: ClassVar[bool] = True

    after: Annotated[WindowMs, Field(description="How long nothing may come.")]

    @classmethod
    def stays_open(cls, fired: FiredNumbers) -> str:
        """Say what clears it."""
        of_its_run = ", or the end of its run," if "run" in fired.key else ""
        return f"The next event that matches{of_its_run} clears it."

    @property
    def window_ms(self) -> int:
        """The length of `after`."""
        return self.after

    @property
    def look_back_ms(self) -> int:
        """The silence, and one before it: a watch begins with an event."""
        return 2 * self.after

    def grouped_by(self, fields: Sequence[str]) -> Kind:
        """Return this kind as it is for a rule with these `for_each` fields."""
        if "run" not in fields:
            return self
        kind = AbsenceOfRun if _FIELDS_OF_AN_END.issuperset(fields) else AbsenceInRun
        return kind.model_construct(after=self.after)

    def contradictions(self, rule: Rule) -> Iterator[Contradiction]:
        """Refuse a second answer to what this kind asks."""
        if rule.no_data != "hold":
            yield ("no_data",), "that nothing comes is what an absence rule is about", "remove `no_data`"
        if "task" in rule.for_each:
            yield ("for_each",), "nothing ends the watch of a task that is done", "group by run"

    def outcome(self, event: Event) -> str | None:  # noqa: ARG002  # every match is heard
        """Hear of every matching event."""
        return HEARD

    def new_window(self) -> Window:
        """Return a window that has seen nothing."""
        return Silence(self, _Seen())

    def load_window(self, dumped: Any) -> Window:
        """Return the window that was dumped."""
        return Silence(self, msgspec.convert(cast("list[Any]", dumped), _Seen))


class AbsenceInRun(Absence):
    """Where each key is of one run: with the end of the run, its watch ends."""

    def outcome(self, event: Event) -> str | None:
        """Return whether the run has ended, went on, or is only heard of."""
        if event.kind != _RUN_KIND or event.state is None:
            return HEARD
        return ENDED if event.state in TERMINAL_STATES else WENT_ON

    def hears_late(self, outcome: str) -> bool:
        """Hear of the end of a run whenever it is told: or its watch would last for ever."""
        return outcome == ENDED


class AbsenceOfRun(AbsenceInRun):
    """Where each key is one run and nothing more: every end of a run tells whose it is."""

    def always_sees(self, event_kind: str, state: str | None) -> bool:
        """See each end of a run."""
        return event_kind == _RUN_KIND and state in TERMINAL_STATES


class _Seen(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The last event of a key, and whether its run has ended with it; None where none was seen."""

    last: ExampleRun | None = None
    has_ended: bool = False
    went_on_us: int = 0  # when a state last told that the run goes on


class Silence:
    """When one key was heard of last."""

    __slots__ = ("_rule", "_seen")

    def __init__(self, rule: Absence, seen: _Seen) -> None:
        self._rule = rule
        self._seen = seen

    def add(self, end_ms: int, samples: Sequence[Sample]) -> None:  # noqa: ARG002  # the event's own time counts
        """Take a final pane."""
        for sample in sorted(samples, key=_place):
            if not self._is_echo(sample) and not self._is_overtaken(sample):
                went_on_us = sample.occurred_us if sample.outcome == WENT_ON else self._seen.went_on_us
                self._seen = _Seen(example_of(sample), sample.outcome == ENDED, went_on_us)

    def _is_overtaken(self, sample: Sample) -> bool:
        """Tell whether more came since that would count had this come in time: only what comes late is overtaken."""
        seen = self._seen
        if seen.last is None or seen.last.occurred_us < sample.occurred_us:
            return False
        if seen.last.occurred_us == sample.occurred_us:
            return seen.has_ended and sample.event_id <= seen.last.event_id  # in the order of a pane's samples
        is_past_echo = seen.last.occurred_us > sample.occurred_us + self._rule.after * 1000
        return seen.has_ended or seen.went_on_us > sample.occurred_us or is_past_echo

    def _is_echo(self, sample: Sample) -> bool:
        last = self._seen.last
        if last is None or not self._seen.has_ended or sample.outcome != HEARD:
            return False
        return sample.occurred_us <= last.occurred_us + self._rule.after * 1000

    def read(self, end_ms: int) -> Reading:
        """Return for how many seconds nothing came."""
        last, after_ms = self._seen.last, self._rule.after
        threshold = after_ms / 1000
        if last is None:
            return Reading(Verdict.HELD, "no matching event has been seen yet", threshold=threshold)
        silent_s = (end_ms - last.occurred_us // 1000) / 1000
        verdict, reason = Verdict.CLEAR, "a matching event came"
        if self._seen.has_ended:
            reason = "the run has ended"
        elif last.occurred_us < (end_ms - after_ms) * 1000:
            verdict, reason = Verdict.BREACH, "no matching event came in time"
        return Reading(verdict, reason, silent_s, threshold, 1)

    def examples(self) -> Sequence[ExampleRun]:
        """Return the last event."""
        return [self._seen.last] if self._seen.last else []

    def next_change_ms(self) -> int | None:
        """Return when it has been silent for too long, or no echo of an end is to be expected any more."""
        last = self._seen.last
        return None if last is None else pane_end(last.occurred_us // 1000 + self._rule.after, self._rule.pane_ms)

    def is_lasting(self) -> bool:
        """Tell whether it is watched."""
        return self._seen.last is not None and not self._seen.has_ended

    def take_refused(self) -> int:
        """Refuse none: it holds one event."""
        return 0

    def dump(self) -> Any:
        """Return the last event."""
        return self._seen


def _place(sample: Sample) -> tuple[int, bool]:
    return sample.occurred_us, sample.outcome == ENDED

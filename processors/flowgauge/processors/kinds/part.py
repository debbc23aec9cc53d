"""A part of a compound rule: one condition for one key, kept as the detector keeps a rule of its own.

    samples  ──► wait for the part's own pane ──► its window ──► its alert ──► holds, and for how long after

It is evaluated at the same pane ends as a rule of its own would be, so it fires exactly when that rule fires. Samples
wait here because the panes of a compound are as fine as the finest of its parts. See `compound` for what reads it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from flowgauge.processors.alert_state import Alert, Policy, next_timer_ms, step
from flowgauge.processors.kinds.kind import Kind
from flowgauge.processors.panes import pane_end, pane_end_at_or_after
from flowgauge.processors.selector import Predicate
from flowgauge.schemas.event import Event
from flowgauge.schemas.sample import Sample
from flowgauge.schemas.transition import AlertState, ExampleRun

FIRING_STATES: frozenset[AlertState] = frozenset(
    {"firing", "recovering", "no_data"}
)  # people were told, and it is open


class Condition(Protocol):
    """What a part needs of a compiled rule."""

    @property
    def name(self) -> str:
        """The rule's name, or what stands for it in a condition without one."""
        ...

    @property
    def uid(self) -> str:
        """What it means."""
        ...

    @property
    def kind(self) -> Kind:
        """How it reads its window."""
        ...

    @property
    def predicates(self) -> tuple[Predicate, ...]:
        """What an event must be, beyond a glance."""
        ...

    @property
    def policy(self) -> Policy:
        """How its alert lives."""
        ...

    def moment_ms(self, sample: Sample) -> int:
        """Return the time that says which pane a sample is in."""
        ...

    def hears(self, sample: Sample) -> bool:
        """Tell whether a sample that is not too far ahead enters windows."""
        ...

    def could_match(self, event: str | None, kind: str, state: str | None) -> bool:
        """Tell from a glance whether an event could match."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """A condition as its compound reads it; it holds for `lingers_ms` after it last fired."""

    condition: Condition
    kind: Kind
    lingers_ms: int

    @property
    def look_back_ms(self) -> int:
        """How long before a pane end of the compound events may decide whether it fires: it has panes of its own."""
        policy = self.condition.policy
        return self.kind.look_back_ms + self.kind.pane_ms + policy.for_ms + policy.keep_firing_for_ms

    def pane_end(self, sample: Sample) -> int:
        """Return the end of the pane that a sample is in."""
        return pane_end(self.condition.moment_ms(sample), self.kind.pane_ms)

    def outcome(self, event: Event) -> str | None:
        """Return what the condition calls an event; None where it does not match, or means nothing."""
        condition = self.condition
        if not condition.could_match(event.event, event.kind, event.state):
            return None
        for test in condition.predicates:
            if not test(event):
                return None
        return self.kind.outcome(event)


class PartRecord(msgspec.Struct, array_like=True, gc=False):
    """A part's state as stored. `samples` and `examples` are those of its last reading while it fired."""

    window: Any
    alert: Alert
    waiting: list[Sample]
    evaluated_ms: int = 0
    fired_until_ms: int | None = None  # the pane end at which it stopped, while that counts
    samples: int = 0
    examples: list[ExampleRun] = []


class PartState:
    """One part for one key. Ends of panes never go backwards."""

    __slots__ = ("_needed_ms", "_record", "_window", "part")

    def __init__(self, part: Part, record: PartRecord | None = None) -> None:
        self.part = part
        self._record = record or PartRecord(None, Alert(), [])
        self._window = part.kind.load_window(record.window) if record else part.kind.new_window()
        self._needed_ms = self._first_needed_ms()

    @property
    def samples(self) -> int:
        """How many samples its last reading had while it fired."""
        return self._record.samples

    @property
    def examples(self) -> Sequence[ExampleRun]:
        """The runs behind that reading."""
        return self._record.examples

    def wait(self, sample: Sample) -> None:
        """Take a sample that is final, after those before it in (occurred, id); a late one goes by its append time."""
        self._record.waiting.append(sample)
        needed_ms = self._needed_by(sample)
        if self._needed_ms is None or needed_ms < self._needed_ms:
            self._needed_ms = needed_ms

    def advance(self, end_ms: int) -> None:
        """Evaluate it at each of its pane ends up to `end_ms` at which something can change."""
        while (next_ms := self.next_end_ms()) is not None and next_ms <= end_ms:
            self._evaluate(next_ms)
        lapses_ms = self.lapses_ms()
        if lapses_ms is not None and lapses_ms <= end_ms:
            self._record.fired_until_ms = None

    def holds(self) -> bool:
        """Tell whether it fires where it was advanced to, or did not long before."""
        return self._is_firing or self._record.fired_until_ms is not None

    def lapses_ms(self) -> int | None:
        """Return when it no longer holds though nothing comes, if it holds only because it fired before."""
        fired_until_ms = self._record.fired_until_ms
        return None if fired_until_ms is None else fired_until_ms + self.part.lingers_ms

    def next_end_ms(self) -> int | None:
        """Return its next pane end at which something can change without new samples."""
        record, kind = self._record, self.part.kind
        moments = (self._window.next_change_ms(), next_timer_ms(record.alert, self.part.condition.policy))
        ends = [
            pane_end_at_or_after(moment_ms, kind.pane_ms)
            for moment_ms in moments
            if moment_ms is not None and moment_ms > record.evaluated_ms
        ]
        if self._needed_ms is not None:
            ends.append(self._needed_ms)
        return min(ends, default=None)

    def is_lasting(self) -> bool:
        """Tell whether it must be kept though nothing in it changes by itself."""
        return self._record.alert.state != "inactive" or self._window.is_lasting()

    def take_refused(self) -> int:
        """Return how many samples were dropped at a bound since this was asked last."""
        return self._window.take_refused()

    def dump(self) -> PartRecord:
        """Return what is stored of it."""
        return msgspec.structs.replace(self._record, window=self._window.dump(), waiting=list(self._record.waiting))

    @property
    def _is_firing(self) -> bool:
        return self._record.alert.state in FIRING_STATES

    def _pane_end(self, sample: Sample) -> int:
        return self.part.pane_end(sample)

    def _needed_by(self, sample: Sample) -> int:
        return self.part.kind.needed_by(sample, self._pane_end(sample))

    def _first_needed_ms(self) -> int | None:
        return min((self._needed_by(sample) for sample in self._record.waiting), default=None)

    def _evaluate(self, end_ms: int) -> None:
        record, has_fired = self._record, self._is_firing
        self._add_final(end_ms)
        reading = self._window.read(end_ms)
        record.evaluated_ms = end_ms
        step(record.alert, reading.verdict, end_ms, self.part.condition.policy)
        if self._is_firing:
            record.fired_until_ms = None
            record.samples = reading.samples
            record.examples = list(self._window.examples())
        elif has_fired:
            record.fired_until_ms = end_ms

    def _add_final(self, end_ms: int) -> None:
        """Add the panes up to `end_ms` to the window, in their order; of equal ids in a pane the first counts."""
        panes: dict[int, dict[str, Sample]] = {}
        later: list[Sample] = []
        for sample in self._record.waiting:
            pane_end_ms = self._pane_end(sample)
            if pane_end_ms > end_ms:
                later.append(sample)
            else:
                panes.setdefault(pane_end_ms, {}).setdefault(sample.event_id, sample)
        self._record.waiting = later
        self._needed_ms = self._first_needed_ms()
        for pane_end_ms, samples in panes.items():
            self._window.add(pane_end_ms, list(samples.values()))

"""`sequence`: fires when events follow one another in a given order for one key, or when one that must follow does not.

    steps: [A, B], within: T           fires_when: complete            fires_when: incomplete
    A ──── B                           B came within T: firing,        it is as it should be
    ├───── T ─────┤                    until T after B
    A ───────────────── B              B came too late: nothing        firing from T after A on, B resolves it
    B ─ A                              the wrong order: nothing        firing from T after A on

Rule (complete): at a pane end `e`, breach if the last step of a whole sequence lies in `[e - within, e)`; a sequence is
whole if events of all steps came in the order of the steps, the last at most `within` after the first.
Rule (incomplete): at a pane end `e`, breach if a first step lies before `e - within` that no whole rest has followed by
then; clear if there is none.

Order is that of `occurred`, among events that came within the allowed lateness; of equal times an earlier step comes
first, since clocks are coarse. One event is one step of a sequence, and may be a step of several sequences.

What a key must know is small, whatever comes. Of sequences that have come equally far, only one matters:
 * complete: the one that began last. If any of them becomes whole in time, it does.
 * incomplete: the one that began first. It is overdue before the others are, and what completes it completes them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, cast

import msgspec
from pydantic import BeforeValidator, Field

from flowgauge.processors.kinds.counted_panes import example_of
from flowgauge.processors.kinds.kind import Contradiction, Examples, FiredNumbers, Kind, Unit, Window, WrittenMatch
from flowgauge.processors.panes import pane_end
from flowgauge.processors.reading import Reading, Verdict
from flowgauge.processors.selector import Predicate, predicate, text_test
from flowgauge.schemas.event import KINDS, STATES, Event
from flowgauge.schemas.rule import Match, Rule, WindowMs
from flowgauge.schemas.sample import Sample
from flowgauge.schemas.times import format_duration
from flowgauge.schemas.transition import EXAMPLES_MAX, ExampleRun

STEPS_MIN, STEPS_MAX = 2, EXAMPLES_MAX  # a transition shows each event of a sequence

Chain = tuple[ExampleRun, ...]  # the events of a sequence so far, one a step
_KNOWN = {"kind": KINDS, "state": STATES}


def _some_fields(step: object) -> object:
    if not isinstance(step, dict):
        raise ValueError("expected fields as `match` has them, such as {event: deploy.finished}")  # noqa: TRY004  # pydantic's way
    if not step:
        raise ValueError("a step without fields matches every event: write which, such as {event: deploy.finished}")
    return cast("dict[str, object]", step)


Step = Annotated[Match, BeforeValidator(_some_fields)]


def _steps(value: object) -> object:
    if not isinstance(value, list | tuple) or not STEPS_MIN <= len(cast("Sequence[object]", value)) <= STEPS_MAX:
        raise ValueError(f"expected a list of {STEPS_MIN} to {STEPS_MAX} steps, each with fields as `match` has them")
    return cast("Sequence[object]", value)


class EventsInOrder(Kind):
    """The fields of `sequence`."""

    name: ClassVar[str] = "sequence"
    unit: ClassVar[Unit | None] = "count"
    examples_as: ClassVar[Examples] = Examples(
        "Events", "those of the sequence in their order, with the last error lines of their runs, UTC", "events"
    )

    steps: Annotated[
        tuple[Step, ...],
        BeforeValidator(_steps),
        Field(json_schema_extra={"minItems": STEPS_MIN, "maxItems": STEPS_MAX}),
    ]
    within: WindowMs
    fires_when: Literal["complete", "incomplete"] = "complete"

    @classmethod
    def stays_open(cls, fired: FiredNumbers) -> str:
        """Say what clears it."""
        if fired.value != fired.threshold:
            return "The steps that have not come yet clear it."
        return f"It stays open for {format_duration(fired.window_ms)} after the last whole sequence."

    @property
    def window_ms(self) -> int:
        """The length of `within`."""
        return self.within

    @property
    def look_back_ms(self) -> int:
        """To the first step; of a whole sequence the window counts from the last one."""
        return self.within if self.fires_when == "incomplete" else 2 * self.within

    @cached_property
    def _tests(self) -> tuple[tuple[Predicate, ...], ...]:
        return tuple(tuple(predicate(name, step[name]) for name in step) for step in self.steps)

    @cached_property
    def _glances(self) -> tuple[Mapping[str, Callable[[str], bool]], ...]:
        names = ("event", "kind", "state")
        return tuple({name: text_test(step[name]) for name in names if name in step} for step in self.steps)

    def could_be(self, event: str | None, event_kind: str, state: str | None) -> bool:
        """Tell from a glance whether an event could be a step."""
        values = {"event": event, "kind": event_kind, "state": state}
        return any(
            all(
                (name == "event" and event is None) or ((value := values[name]) is not None and test(value))
                for name, test in tests.items()
            )
            for tests in self._glances
        )

    def outcome(self, event: Event) -> str | None:
        """Return the numbers of the steps that the event can be, from 0, such as `0` or `0 2`."""
        found = (str(number) for number, tests in enumerate(self._tests) if all(test(event) for test in tests))
        return " ".join(found) or None

    def refusal(self, event: Event) -> str | None:
        """Say that it is none of the steps."""
        return None if self.outcome(event) is not None else "none of the `steps` is like it"

    def contradictions(self, rule: Rule) -> Iterator[Contradiction]:
        """Refuse steps that nothing can be, and an answer to what cannot be asked."""
        if rule.no_data != "hold":
            yield ("no_data",), "a sequence has no window that could be empty", "remove `no_data`"
        for number, step in enumerate(self.steps):
            for name, known in _KNOWN.items():
                if name not in step:
                    continue
                path = ("when", self.name, "steps", number, name)
                matching = [value for value in known if text_test(step[name])(value)]
                if not matching:
                    yield path, f"no {name} is {' or '.join(step[name])}", f"known: {', '.join(known)}"
                elif name in rule.match and not any(map(text_test(rule.match[name]), matching)):
                    yield path, f"`match` of the rule lets no such {name} through", f"remove `{name}` there"

    def matches(self) -> Iterator[WrittenMatch]:
        """Yield the steps."""
        for number, step in enumerate(self.steps):
            yield ("when", self.name, "steps", number), step

    def new_window(self) -> Window:
        """Return a window that has seen nothing."""
        return self._window(_Chains([None] * len(self.steps)))

    def load_window(self, dumped: Any) -> Window:
        """Return the window that was dumped."""
        return self._window(msgspec.convert(cast("list[Any]", dumped), _Chains))

    def _window(self, chains: "_Chains") -> Window:
        return Completed(self, chains) if self.fires_when == "complete" else Overdue(self, chains)


class _Chains(msgspec.Struct, array_like=True, gc=False):
    """For each number of steps done, from 1 up to all, the one sequence that matters; None where there is none."""

    done: list[Chain | None]
    has_seen: bool = False


class _SequenceWindow:
    """The sequences of one key."""

    __slots__ = ("_chains", "_rule")

    def __init__(self, rule: EventsInOrder, chains: _Chains) -> None:
        self._rule = rule
        self._chains = chains

    def add(self, end_ms: int, samples: Sequence[Sample]) -> None:  # noqa: ARG002  # the event's own time counts
        """Take a final pane, event by event."""
        self._chains.has_seen = True
        for sample in sorted(samples, key=_place):
            event = example_of(sample)
            for step in reversed(_steps_of(sample)):  # from the last: no sequence takes one event twice
                self._take(step, event)

    def _take(self, step: int, event: ExampleRun) -> None:
        raise NotImplementedError

    def _end_ms(self, from_us: int) -> int:
        """Return the first pane end before which all has happened that lies at most `within` after `from_us`."""
        return pane_end(from_us // 1000 + self._rule.within, self._rule.pane_ms)

    def _reading(self, verdict: Verdict, reason: str, steps: int) -> Reading:
        return Reading(verdict, reason, float(steps), float(len(self._rule.steps)), steps)

    def take_refused(self) -> int:
        """Refuse none: it holds one sequence a step."""
        return 0

    def dump(self) -> Any:
        """Return the sequences."""
        return self._chains


class Completed(_SequenceWindow):
    """Fires on whole sequences. Of those that have come equally far it keeps the one that began last."""

    __slots__ = ()

    def _take(self, step: int, event: ExampleRun) -> None:
        done = self._chains.done
        if step == 0:
            done[0] = (event,)
        elif (before := done[step - 1]) and event.occurred_us - before[0].occurred_us <= self._rule.within * 1000:
            done[step] = (*before, event)

    def read(self, end_ms: int) -> Reading:
        """Return how many steps of the sequence that came farthest lie in the window."""
        done, from_us = self._chains.done, (end_ms - self._rule.within) * 1000
        for number, chain in enumerate(done):
            if chain and self._counts_from(number, chain) < from_us:
                done[number] = None
        reached = max((number + 1 for number, chain in enumerate(done) if chain), default=0)
        if reached == len(done):
            return self._reading(Verdict.BREACH, "the events came in this order, in time", reached)
        return self._reading(Verdict.CLEAR, "no whole sequence in the window", reached)

    def _counts_from(self, number: int, chain: Chain) -> int:
        """Return when a sequence counts from: a whole one from its last event, for it is told of after that."""
        return chain[-1 if number == len(self._rule.steps) - 1 else 0].occurred_us

    def examples(self) -> Sequence[ExampleRun]:
        """Return the events of the whole sequence."""
        return self._chains.done[-1] or ()

    def next_change_ms(self) -> int | None:
        """Return when the first of the sequences leaves the window."""
        chains = enumerate(self._chains.done)
        return min((self._end_ms(self._counts_from(number, chain)) for number, chain in chains if chain), default=None)

    def is_lasting(self) -> bool:
        """Last no longer than the window."""
        return False


class Overdue(_SequenceWindow):
    """Fires on sequences that began and do not become whole. Of those equally far it keeps the one that began first."""

    __slots__ = ()

    def _take(self, step: int, event: ExampleRun) -> None:
        done = self._chains.done
        chain: Chain = (event,)
        if step:
            before = done[step - 1]
            if before is None:
                return
            done[step - 1], chain = None, (*before, event)
        kept = done[step]
        if step < len(done) - 1 and (kept is None or chain[0].occurred_us < kept[0].occurred_us):
            done[step] = chain

    def _oldest(self) -> Chain | None:
        return min(
            (chain for chain in self._chains.done if chain), key=lambda chain: chain[0].occurred_us, default=None
        )

    def read(self, end_ms: int) -> Reading:
        """Return how many steps of the sequence that waits longest have come."""
        oldest, count = self._oldest(), len(self._rule.steps)
        if oldest is None:
            if not self._chains.has_seen:
                return self._reading(Verdict.HELD, "no step has been seen yet", 0)
            return self._reading(Verdict.CLEAR, "every sequence that began is complete", 0)
        reached = len(oldest)
        if oldest[0].occurred_us < (end_ms - self._rule.within) * 1000:
            return self._reading(Verdict.BREACH, f"step {reached + 1} of {count} did not come in time", reached)
        return self._reading(Verdict.CLEAR, f"step {reached + 1} of {count} may still come in time", reached)

    def examples(self) -> Sequence[ExampleRun]:
        """Return the events of the sequence that waits longest."""
        return self._oldest() or ()

    def next_change_ms(self) -> int | None:
        """Return when the sequence that waits longest is overdue; the others count once it is whole."""
        oldest = self._oldest()
        return None if oldest is None else self._end_ms(oldest[0].occurred_us)

    def is_lasting(self) -> bool:
        """Tell whether a sequence is not whole yet."""
        return self._oldest() is not None


def _steps_of(sample: Sample) -> list[int]:
    return [int(number) for number in sample.outcome.split()]


def _place(sample: Sample) -> tuple[int, int]:
    return sample.occurred_us, _steps_of(sample)[0]

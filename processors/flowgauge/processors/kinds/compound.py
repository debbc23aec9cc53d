"""What `all_of` and `any_of` have in common: conditions together, for the same key.

    orders failing    ──────┤ firing ├· · · · within · · · ·┤
    workers silent                       ├ firing ├· · · · within · · · ·┤
    all_of                               ├──── firing ──────┤

Rule: at a pane end, `all_of` breaches if every condition holds and `any_of` if `at_least` of them do, else it is clear;
a condition holds while it fires as a rule of its own would, and with `within` for that long after it last did.

A condition is a rule by its name, or what a rule has under `match`, `when` and `for`. Either is evaluated here once
more, from samples of the compound: one sample carries what an event means to each part, so all of them have one key,
come to one samples partition, and are final together. `processors.compounds` finds what a name means and refuses what
could not be exact; `part` keeps each of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from math import gcd
from typing import Annotated, Any, ClassVar, Self, cast

import msgspec
from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr

from flowgauge.processors.kinds.event import EventHappened
from flowgauge.processors.kinds.kind import Contradiction, Kind, Unit, Window
from flowgauge.processors.kinds.part import Condition, Part, PartRecord, PartState
from flowgauge.processors.panes import PANE_MS_MIN
from flowgauge.processors.reading import Reading, Verdict
from flowgauge.schemas.event import Event
from flowgauge.schemas.rule import Rule, WindowMs
from flowgauge.schemas.sample import Sample
from flowgauge.schemas.transition import EXAMPLES_MAX, ExampleRun

CONDITIONS_MIN, CONDITIONS_MAX = 2, 8
OUTCOMES_MAX = 4_096  # remembered ways to write what an event means to the parts: few differ

ConditionFields = dict[str, Any]
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(tuple[tuple[int, str], ...]).decode


def _condition(value: object) -> object:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, dict) and "when" in value:
        return cast("ConditionFields", value)
    raise ValueError("expected the name of a rule, or a condition such as {match: {flow: x}, when: {…}}")


def _conditions(conditions: tuple[str | ConditionFields, ...]) -> tuple[str | ConditionFields, ...]:
    if not CONDITIONS_MIN <= len(conditions) <= CONDITIONS_MAX:
        raise ValueError(f"expected {CONDITIONS_MIN} to {CONDITIONS_MAX} conditions, got {len(conditions)}")
    names = [each for each in conditions if isinstance(each, str)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"the rule {twice!r} stands twice: remove one")
    return conditions


class Compound(Kind):
    """The fields that such kinds have in common. `conditions` are as written, `of` gives them their meaning."""

    unit: ClassVar[Unit | None] = "count"

    conditions: Annotated[
        tuple[Annotated[Any, BeforeValidator(_condition)], ...],
        AfterValidator(_conditions),
        Field(json_schema_extra={"minItems": CONDITIONS_MIN, "maxItems": CONDITIONS_MAX}),
    ]
    within: WindowMs | None = None

    _parts: tuple[Part, ...] = PrivateAttr(default=())

    def of(self, conditions: Sequence[Condition]) -> Self:
        """Return this kind over compiled conditions, one for each that is written."""
        kind = type(self).model_construct(**self.model_dump())
        kind._parts = tuple(kind._part(condition) for condition in conditions)  # noqa: SLF001  # of its own class
        return kind

    def _part(self, condition: Condition) -> Part:
        lingers_ms = self.within or 0
        if condition.kind.pane_ms:
            return Part(condition, condition.kind, lingers_ms)
        # Told at once, it fires for no time: here for the smallest pane, which counts to `within`.
        momentary = EventHappened.model_construct(times=1, within=PANE_MS_MIN)
        return Part(condition, momentary, lingers_ms - PANE_MS_MIN)

    @property
    def needed(self) -> int:
        """How many conditions must hold."""
        raise NotImplementedError

    @property
    def parts(self) -> tuple[Part, ...]:
        """The conditions; none before `of`."""
        return self._parts

    @property
    def window_ms(self) -> int:
        """The length of `within`; 0 without one."""
        return self.within or 0

    @property
    def look_back_ms(self) -> int:
        """As far back as a part looks, as long as its alert lives on by that, and `within`."""
        return self.window_ms + max((part.look_back_ms for part in self._parts), default=0)

    @cached_property
    def pane_ms(self) -> int:
        """The size of panes whose ends are at all pane ends of every part."""
        return gcd(*(part.kind.pane_ms for part in self._parts)) or PANE_MS_MIN

    def meaning(self) -> Mapping[str, Any]:
        """Return what it means: the conditions in their order, a rule by its name and what that means."""
        written = self.model_dump(mode="json", exclude={"conditions"}, exclude_defaults=True)
        return written | {"conditions": [part.condition.uid for part in self._parts]}

    def contradictions(self, rule: Rule) -> Iterator[Contradiction]:
        """Refuse what only a condition can have."""
        if rule.match:
            yield ("match",), "each condition says what it matches", "move `match` into the conditions"
        if rule.no_data != "hold":
            yield ("no_data",), "a condition that has no data says itself what follows", "move `no_data` into it"

    def names(self) -> Iterator[str]:
        """Yield the conditions that are rules by their names."""
        yield from (each for each in self.conditions if isinstance(each, str))

    def could_be(self, event: str | None, event_kind: str, state: str | None) -> bool:
        """Tell from a glance whether an event could mean something to a part."""
        return any(part.condition.could_match(event, event_kind, state) for part in self._parts)

    def outcome(self, event: Event) -> str | None:
        """Return what an event means to each part, as one text."""
        found: list[tuple[int, str]] = []
        for place, part in enumerate(self._parts):
            outcome = part.outcome(event)
            if outcome is not None:
                found.append((place, outcome))
        return _joined(tuple(found)) if found else None

    def refusal(self, event: Event) -> str | None:
        """Say that no condition counts it."""
        return None if self.outcome(event) is not None else "none of the `conditions` counts it"

    def needed_by(self, sample: Sample, end_ms: int) -> int:  # noqa: ARG002  # the panes of the parts count
        """Return the first pane end by which a part needs what the sample is to it."""
        heard = ((self._parts[place], own) for place, own in _split(sample) if self._parts[place].condition.hears(own))
        return min(part.kind.needed_by(own, part.pane_end(own)) for part, own in heard)

    def hears_late(self, outcome: str) -> bool:
        """Hear what a condition hears."""
        return any(self._parts[place].kind.hears_late(own) for place, own in _outcomes(outcome))

    def new_window(self) -> Window:
        """Return a window in which no condition holds."""
        return CompoundWindow(self, [PartState(part) for part in self._parts])

    def load_window(self, dumped: Any) -> Window:
        """Return the window that was dumped."""
        records = msgspec.convert(cast("list[Any]", dumped), list[PartRecord])
        return CompoundWindow(self, [PartState(*pair) for pair in zip(self._parts, records, strict=True)])


class CompoundWindow:
    """What the parts of one key are. `_held` are those that held when it was read last."""

    __slots__ = ("_held", "_kind", "_states")

    def __init__(self, kind: Compound, states: Sequence[PartState]) -> None:
        self._kind = kind
        self._states = states
        self._held: Sequence[PartState] = ()

    def add(self, end_ms: int, samples: Sequence[Sample]) -> None:  # noqa: ARG002  # each waits for its part's pane
        """Hand the samples of a final pane to the parts."""
        for sample in samples:
            for place, own in _split(sample):
                state = self._states[place]
                if state.part.condition.hears(own):
                    state.wait(own)

    def read(self, end_ms: int) -> Reading:
        """Return how many conditions hold, and which."""
        for state in self._states:
            state.advance(end_ms)
        held = self._held = [state for state in self._states if state.holds()]
        names = ", ".join(state.part.condition.name for state in held)
        return Reading(
            Verdict.BREACH if len(held) >= self._kind.needed else Verdict.CLEAR,
            f"{len(held)} of {len(self._states)} conditions hold: {names}" if held else "no condition holds",
            float(len(held)),
            float(self._kind.needed),
            sum(state.samples for state in held),
        )

    def examples(self) -> Sequence[ExampleRun]:
        """Return the runs behind the conditions that hold, an event that counts for several of them once."""
        found = {(run.occurred_us, run.event_id): run for state in self._held for run in state.examples}
        return [found[place] for place in sorted(found)][:EXAMPLES_MAX]

    def next_change_ms(self) -> int | None:
        """Return when a part may change by itself, or the time in which it still holds runs out."""
        moments = [moment for state in self._states for moment in (state.next_end_ms(), state.lapses_ms())]
        return min((moment for moment in moments if moment is not None), default=None)

    def is_lasting(self) -> bool:
        """Last as long as a part does."""
        return any(state.is_lasting() for state in self._states)

    def take_refused(self) -> int:
        """Return how many samples the parts dropped at a bound since this was asked last."""
        return sum(state.take_refused() for state in self._states)

    def dump(self) -> Any:
        """Return the parts."""
        return [state.dump() for state in self._states]


@lru_cache(OUTCOMES_MAX)
def _joined(outcomes: tuple[tuple[int, str], ...]) -> str:
    return _encode(outcomes).decode()


_outcomes = lru_cache(OUTCOMES_MAX)(_decode)


def _split(sample: Sample) -> Iterator[tuple[int, Sample]]:
    """Yield the place of each part that a sample of the compound is for, and what it is to it."""
    for place, outcome in _outcomes(sample.outcome):
        yield place, msgspec.structs.replace(sample, outcome=outcome)

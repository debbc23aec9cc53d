"""What a kind of rule is: how it names events (matcher) and how it reads a window (detector).

To add a kind: one file with its fields and its window, and one line in the registry of this package.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias

from flowgauge.processors.panes import pane_ms
from flowgauge.processors.reading import Reading
from flowgauge.processors.selector import Getter, Predicate, Test, getter
from flowgauge.schemas.counted import counted
from flowgauge.schemas.event import Event
from flowgauge.schemas.rule import Rule, Written
from flowgauge.schemas.sample import Sample
from flowgauge.schemas.times import format_duration
from flowgauge.schemas.transition import ExampleRun

DEFERRED_MAX_MS = 60_000  # how long a sample that moves no alert may wait for others, to be taken with them

Contradiction = tuple[tuple[str | int, ...], str, str]  # path in the rule, what is wrong, remedy
Unit: TypeAlias = Literal["share", "count", "seconds"]
Shows: TypeAlias = Literal["runs", "starts", "events", "last event"]
WrittenMatch = tuple[tuple[str | int, ...], Mapping[str, tuple[str, ...]]]  # path in the rule, patterns by field


class CountedEnds(NamedTuple):
    """Of a kind that tells runs that fail from others: the states of each, and what it is where only failures come."""

    failures: frozenset[str]
    finished: frozenset[str]
    of_failures_alone: str  # empty where that is as it should be


class Examples(NamedTuple):
    """What the examples behind a firing are called, what is said of them all, and what is shown of each."""

    title: str
    note: str
    shows: Shows = "runs"


class FiredNumbers(Protocol):
    """The numbers with which an incident last fired, as they are stored."""

    @property
    def key(self) -> Mapping[str, str]:
        """What it was grouped by."""
        ...

    @property
    def value(self) -> float | None:
        """What was read."""
        ...

    @property
    def threshold(self) -> float | None:
        """What it was read against."""
        ...

    @property
    def window_ms(self) -> int:
        """The window, 0 without one."""
        ...


class Window(Protocol):
    """What one (rule, key) remembers. Pure: time is a parameter, everything else came as samples."""

    def add(self, end_ms: int, samples: Sequence[Sample]) -> None:
        """Take the final pane that ends at `end_ms`: samples in (occurred, id) order, ids distinct.

        A late one stands at its append time.
        """
        ...

    def read(self, end_ms: int) -> Reading:
        """Return the reading over `[end_ms - within, end_ms)`; ends never go backwards."""
        ...

    def examples(self) -> Sequence[ExampleRun]:
        """Return up to EXAMPLES_MAX runs behind the last reading's value: the smallest by time and id."""
        ...

    def next_change_ms(self) -> int | None:
        """Return the next pane end at which the reading may differ without new samples."""
        ...

    def is_lasting(self) -> bool:
        """Tell whether it must be kept though nothing in it changes by itself: a new one would not read the same."""
        ...

    def take_refused(self) -> int:
        """Return how many samples were dropped at a bound since this was asked last."""
        ...

    def dump(self) -> Any:
        """Return what `Kind.load_window` needs, in types that msgpack has."""
        ...


class Kind(Written):
    """The fields of one kind under `when`, and its behaviour."""

    name: ClassVar[str]
    default_event_kinds: ClassVar[tuple[str, ...] | None] = None  # `match.kind` where the rule has none
    # What a required field is read as where it is wrong, where the usual one would be wrong too.
    stand_ins: ClassVar[Mapping[str, object]] = {}
    unit: ClassVar[Unit | None] = None  # of its value and threshold; None where that differs from rule to rule
    happens_to_runs: ClassVar[str] = "ends"  # what `needed_at_once` counts, once to a run
    ends_with_its_run: ClassVar[bool] = False  # whether nothing is kept of a run that has ended, where each is a key
    examples_as: ClassVar[Examples] = Examples("Runs", "the first that counted, with their last error lines, UTC")
    by_arrival: ClassVar[bool] = False  # samples are in panes by when the log got them; its readings tell of firings

    @classmethod
    def stays_open(cls, fired: FiredNumbers) -> str:  # noqa: ARG003  # of most kinds only a reading can tell
        """Return in a sentence what keeps a firing incident open, where that is sure by its numbers alone; else ""."""
        return ""

    @property
    def window_ms(self) -> int:
        """How far back the rule looks; 0 where no window bounds that, or for a kind that is told at once."""
        raise NotImplementedError

    @property
    def look_back_ms(self) -> int:
        """How long before a moment events may still decide what the rule says at it, as far as anything bounds that.

        It counts from a pane end. What holds on by itself, such as a row of failures without `within`, has no bound.
        """
        return self.window_ms

    @cached_property
    def pane_ms(self) -> int:
        """The size of its panes; 0 for a kind that is told at once."""
        return pane_ms(self.window_ms)

    @cached_property
    def deferred_ms(self) -> int:
        """How many ms of whole panes a sample that moves no alert may wait."""
        return DEFERRED_MAX_MS // self.pane_ms * self.pane_ms

    @property
    def states(self) -> frozenset[str | None] | None:
        """The states of events that can be samples; None when the state does not matter."""
        return None

    def grouped_by(self, fields: Sequence[str]) -> "Kind":  # noqa: ARG002  # most kinds mean the same for every key
        """Return this kind as it is for a rule with these `for_each` fields."""
        return self

    def always_sees(self, event_kind: str, state: str | None) -> bool:  # noqa: ARG002  # most kinds see what matches
        """Tell whether an event that looks so could be a sample whatever `match` says of event, kind and state."""
        return False

    def could_be(self, event: str | None, event_kind: str, state: str | None) -> bool:  # noqa: ARG002  # most take what matches
        """Tell whether an event that matches and looks so could be a sample; `event` is None for one of any name."""
        return True

    def meaning(self) -> Mapping[str, Any]:
        """Return what its fields mean: the same however they are written, and with defaults written out."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def glance_tests(self) -> Mapping[str, Test]:
        """Return the tests of event, kind and state that the kind adds to those of `match`."""
        return {}

    def predicates(self) -> tuple[Predicate, ...]:
        """Return the tests of the whole event that the kind adds to those of `match`."""
        return ()

    def getters(self, rule: Rule) -> tuple[Getter, ...]:
        """Return how to read each part of the key from an event."""
        return tuple(getter(name) for name in rule.for_each)

    def key_names(self, rule: Rule) -> tuple[str, ...]:
        """Return what the parts of the key of an incident are called; an event that is told at once has its id last."""
        return rule.for_each if self.pane_ms else (*rule.for_each, "event_id")

    def outcome(self, event: Event) -> str | None:
        """Return what this kind calls a matching event, None when it means nothing to it."""
        raise NotImplementedError

    def refusal(self, event: Event) -> str | None:
        """Return in words why an event that `match` lets through is no sample, None where it is one."""
        return None if self.outcome(event) is not None else f"`{self.name}` does not look at its state"

    def hears_late(self, outcome: str) -> bool:  # noqa: ARG002  # most count what came in time alone
        """Tell whether a sample that came too late to count still matters: then it is in the pane of its append time.

        Its own time lies before that pane, so a window that hears such samples goes by that alone.
        """
        return False

    def contradictions(self, rule: Rule) -> Iterator[Contradiction]:  # noqa: ARG002  # most kinds go with all
        """Yield each field of `rule` that does not go with this kind: its path, why not, and a remedy."""
        yield from ()

    def wavers(self) -> bool:
        """Tell whether its value may cross the threshold to and fro with each step, and nothing damps that."""
        return False

    @property
    def counted_ends(self) -> CountedEnds | None:
        """Which ends of runs it counts, and which as failures; None where it does not tell these apart."""
        return None

    def needed_at_once(self, states: frozenset[str]) -> tuple[str, int]:  # noqa: ARG002  # most need one, or count no ends
        """Return how many runs of a key must end in a window before it can fire, after the field that says so.

        `states` are those that `match` lets through. What is said once of each run is told by `happens_to_runs`.
        """
        return "", 1

    def out_of_reach(self) -> Iterator[Contradiction]:
        """Yield each threshold that nothing ever passes."""
        yield from ()

    def passed_by_one(self) -> Iterator[Contradiction]:
        """Yield each share that a single failed run passes, though more than one seems to be asked for."""
        yield from ()

    def names(self) -> Iterator[str]:
        """Yield the names of the rules that it looks at."""
        yield from ()

    def matches(self) -> Iterator[WrittenMatch]:
        """Yield what is written in it as `match` is, such as steps."""
        yield from ()

    def until_ms(self) -> tuple[str, int] | None:
        """Return the field that says for how long it looks, and until when; None where nothing ends that."""
        return None

    def notes(self) -> Mapping[str, str]:
        """Return by field what the author of such a rule should know of it, though nothing is wrong."""
        return {}

    def needed_by(self, sample: Sample, end_ms: int) -> int:  # noqa: ARG002  # most kinds need it at once
        """Return the pane end by which a sample of the pane that ends at `end_ms` must be in the window.

        A kind that returns a later one promises that the reading is the same until then, so the detector saves
        evaluations, and that a window that was forgotten as blank meanwhile would come to the same by it alone.
        """
        return end_ms

    def new_window(self) -> Window:
        """Return an empty window."""
        raise NotImplementedError

    def load_window(self, dumped: Any) -> Window:
        """Return the window that `Window.dump` described."""
        raise NotImplementedError


def while_counted(one: str, fired: FiredNumbers) -> str:
    """Say what a count must come down to, of a kind that knows each count: none is held. `one` is what is counted."""
    if fired.threshold is None:
        return ""
    last = format_duration(fired.window_ms)
    return f"It stays open while the last {last} hold {counted(round(fired.threshold), one)} or more."

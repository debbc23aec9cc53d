"""`event`: fires when a matching event happens, or when it happens `times` in `within`.

    {}                         each event is an incident of its own: told at once, closed without a message
    {times: 3, within: 10m}    ·  ·   ···      firing while the window holds >= 3

The first form waits for nothing: no pane, no lateness test. The event id is part of its key, so the same event
makes the same incident however often it is sent.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, cast

from pydantic import ConfigDict, Field, model_validator

from flowgauge.processors.kinds.counted_panes import CountedPanes, CountedWindow, example_of
from flowgauge.processors.kinds.kind import Examples, FiredNumbers, Kind, Unit, Window, while_counted
from flowgauge.processors.reading import Reading, Verdict
from flowgauge.schemas.event import TERMINAL_STATES, Event
from flowgauge.schemas.rule import IN_DIGITS, WindowMs
from flowgauge.schemas.sample import Sample

SEEN = "seen"


class EventHappened(Kind):
    """The fields of `event`."""

    model_config = ConfigDict(json_schema_extra={"dependentRequired": {"times": ["within"], "within": ["times"]}})

    name: ClassVar[str] = "event"
    unit: ClassVar[Unit | None] = "count"
    examples_as: ClassVar[Examples] = Examples(
        "Events", "the first that counted, with the last error lines of their runs, UTC", "events"
    )

    times: Annotated[Annotated[int, Field(ge=1), IN_DIGITS] | None, Field(description="How often, at least.")] = None
    within: Annotated[WindowMs | None, Field(description="In which window.")] = None

    @model_validator(mode="after")
    def _both_or_none(self) -> "EventHappened":
        if (self.times is None) != (self.within is None):
            raise ValueError("`times` and `within` go together: write both, or neither to be told of each event")
        return self

    @classmethod
    def stays_open(cls, fired: FiredNumbers) -> str:
        """Say what clears it."""
        return while_counted("event", fired)

    @property
    def window_ms(self) -> int:
        """The length of `within`; 0 when each event is told at once."""
        return self.within or 0

    def needed_at_once(self, states: frozenset[str]) -> tuple[str, int]:
        """Need `times` of them where what matches are ends of runs."""
        return ("times", self.times or 1) if states <= TERMINAL_STATES else ("", 1)

    def outcome(self, event: Event) -> str | None:  # noqa: ARG002  # every match counts
        """Every matching event counts."""
        return SEEN

    def new_window(self) -> Window:
        """Return an empty window."""
        return EventWindow(self, CountedPanes(self.window_ms))

    def load_window(self, dumped: Any) -> Window:
        """Return the window that was dumped."""
        return EventWindow(self, CountedPanes(self.window_ms, cast("Sequence[Any]", dumped)))


class EventWindow(CountedWindow):
    """How often it happened in the last `within`."""

    __slots__ = ("_times",)

    def __init__(self, rule: EventHappened, panes: CountedPanes) -> None:
        super().__init__(panes)
        self._times = rule.times or 1

    def add(self, end_ms: int, samples: Sequence[Sample]) -> None:
        """Count a final pane."""
        self._panes.add(end_ms, len(samples), counted=len(samples), examples=[example_of(sample) for sample in samples])

    def read(self, end_ms: int) -> Reading:
        """Return the count over the window. No event is a count of 0, not missing data."""
        self._panes.expire(end_ms)
        count = self._panes.total
        breached = count >= self._times
        return Reading(
            Verdict.BREACH if breached else Verdict.CLEAR,
            "happened often enough" if breached else "happens less often than the threshold",
            float(count),
            threshold=float(self._times),
            samples=count,
        )

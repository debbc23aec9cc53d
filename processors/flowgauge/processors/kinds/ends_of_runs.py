"""What kinds have in common that look at the ends of runs: which ends count, and which of these are failures."""

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from flowgauge.processors.kinds.kind import CountedEnds, Kind
from flowgauge.schemas.event import Event, State

FAILED = "failed"
FINISHED = "finished"


class EndsOfRuns(Kind):
    """The fields of such a kind. What is neither in `failures` nor in `finished` is no sample."""

    default_event_kinds: ClassVar[tuple[str, ...] | None] = ("flow-run",)
    of_failures_alone: ClassVar[str] = "the rate is always 100%"

    failures: Annotated[tuple[State, ...], Field(description="States that count as failed.")] = ("failed", "crashed")
    finished: Annotated[tuple[State, ...], Field(description="States that count as finished.")] = (
        "completed",
        "failed",
        "crashed",
    )

    @model_validator(mode="after")
    def _failures_are_finished(self) -> "EndsOfRuns":
        if not set(self.failures) <= set(self.finished):
            raise ValueError("`failures` must be finished too: add each of them to `finished`")
        return self

    @property
    def states(self) -> frozenset[str | None] | None:
        """Finished runs only."""
        return frozenset(self.finished)

    @property
    def counted_ends(self) -> CountedEnds | None:
        """As they are written."""
        return CountedEnds(frozenset(self.failures), frozenset(self.finished), self.of_failures_alone)

    def outcome(self, event: Event) -> str | None:
        """Return whether a finished run failed."""
        if event.state not in self.finished:
            return None
        return FAILED if event.state in self.failures else FINISHED

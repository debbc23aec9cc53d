"""What the running parts know about themselves: written by shells, shown by the console, never read by detection.

*Unknown* lives here: when the slowest source clock lags behind the wall clock, detection says so; it never says
that something was missed because it was itself slow.
"""

from dataclasses import dataclass, field

UNKNOWN_AFTER_MS = 30_000  # pulses come each second: a clock this far behind means detection cannot know


@dataclass(slots=True)
class Health:
    """The present state of one process's parts. Times are ms since 1970; 0 means not yet."""

    started_ms: int = 0
    loading: bool = False  # history is being loaded: the clock is the history's
    clock_ms: int = 0  # the detector's slowest source clock
    rules_version: int = 0
    accepted: int = 0  # events the gateway appended
    refused: int = 0  # events the gateway sent to the dlq
    sink_behind: int = 0  # records in the log that ClickHouse does not have yet
    stored: int = 0  # rows the sink has inserted since start
    undelivered_since_ms: int = 0  # transition time of the oldest delivery still owed; 0 when none
    undelivered: int = 0
    problems: dict[str, str] = field(default_factory=dict[str, str])  # part → one clear line, while it lasts

    def unknown_since_ms(self, now_ms: int) -> int:
        """Return since when detection is unknown, 0 when it is not."""
        if self.loading or now_ms - max(self.clock_ms, self.started_ms) <= UNKNOWN_AFTER_MS:
            return 0
        return self.clock_ms or self.started_ms

"""The backlog: how much each lane is owed, since when, and why it waits. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flowgauge.sinks.webhooks.policy import Lane
from flowgauge.sinks.webhooks.telling import Owed

NEVER_MS = 2**62  # later than every event


@dataclass(slots=True)
class Backlog:
    """What one lane is owed."""

    count: int = 0
    since_ms: int = NEVER_MS  # event time of the oldest transition
    waiting: int = 0  # incidents whose newest attempt failed
    reason: str = ""  # of the newest of these failures
    failed_ms: int = 0  # and when that was

    def count_in(self, owed: Owed, at_ms: int) -> None:
        """Count one transition of `at_ms`."""
        self.count += 1
        if at_ms < self.since_ms:
            self.since_ms = at_ms
        if owed.failures or owed.early:
            self.waiting += 1
            if owed.recorded_ms >= self.failed_ms:
                self.reason, self.failed_ms = owed.reason, owed.recorded_ms

    def add(self, more: "Backlog") -> None:
        """Count `more` of the same lane."""
        self.count += more.count
        self.since_ms = min(self.since_ms, more.since_ms)
        self.waiting += more.waiting
        if more.failed_ms >= self.failed_ms:
            self.reason, self.failed_ms = more.reason, more.failed_ms


def merged(backlogs: Iterable[Mapping[Lane, Backlog]]) -> dict[Lane, Backlog]:
    """Return what each lane is owed by all partitions together."""
    found: dict[Lane, Backlog] = {}
    for each in backlogs:
        for lane, backlog in each.items():
            found.setdefault(lane, Backlog()).add(backlog)
    return found

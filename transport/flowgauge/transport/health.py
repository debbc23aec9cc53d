"""What the running parts know about themselves: written by shells, shown by the console, never read by detection.

*Unknown* lives here: when the slowest source clock lags behind the wall clock, detection says so; it never says
that something was missed because it was itself slow.

What concerns one tenant alone stands in `tenants`: others neither see it nor is it mixed up with theirs. What may name
others stands in `operator_problems`: in its place a tenant sees the plain line of that part in `problems`, or nothing.
"""

from dataclasses import dataclass, field, replace

from flowgauge.schemas.left_out import LeftOutTally

UNKNOWN_AFTER_MS = 30_000  # pulses come each second: a clock this far behind means detection cannot know


@dataclass(slots=True)
class TenantHealth:
    """One tenant's share. Problems are named as in Health."""

    accepted: int = 0
    refused: int = 0
    limited: int = 0
    undelivered_since_ms: int = 0
    undelivered: int = 0
    problems: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(slots=True)
class Health:
    """The present state of one process's parts. Times are ms since 1970; 0 means not yet."""

    started_ms: int = 0
    loading: bool = False  # history is being loaded: the clock is the history's
    clock_ms: int = 0  # the detector's slowest source clock
    source_clocks_ms: dict[int, int] = field(default_factory=dict[int, int])  # of each partition of the events
    pulse_ms: int = 0  # sent time of the newest pulse that the log took from this process
    rules_version: int = 0
    accepted: int = 0  # events the gateway appended
    refused: int = 0  # events the gateway sent to the dlq
    limited: int = 0  # requests to publish that were over a bound of their sender
    sink_behind: int = 0  # records in the log that ClickHouse does not have yet
    stored: int = 0  # rows the sink has inserted since start
    undelivered_since_ms: int = 0  # transition time of the oldest delivery still owed; 0 when none
    undelivered: int = 0
    problems: dict[str, str] = field(default_factory=dict[str, str])  # part → one clear line, while it lasts
    operator_problems: dict[str, str] = field(default_factory=dict[str, str])  # the same, in full, for the operator
    left_out: LeftOutTally = field(default_factory=LeftOutTally)  # samples that no window took
    tenants: dict[str, TenantHealth] = field(default_factory=dict[str, TenantHealth])

    def of(self, tenant: str) -> TenantHealth:
        """Return the share of `tenant`, to be written by the parts."""
        return self.tenants.setdefault(tenant, TenantHealth())

    def seen_by(self, tenant: str, *, is_operator: bool) -> "Health":
        """Return what may be shown to `tenant`: its own and what all share. An operator sees everybody's."""
        own = self.tenants.get(tenant, TenantHealth())
        if is_operator:
            others = ((name, other) for name, other in self.tenants.items() if name != tenant)
            problems = {**self.problems, **self.operator_problems, **own.problems} | {
                f"tenant {name}: {part}": line for name, other in others for part, line in other.problems.items()
            }
            return replace(self, problems=problems)
        return replace(
            self,
            accepted=own.accepted,
            refused=own.refused,
            limited=own.limited,
            stored=0,
            undelivered_since_ms=own.undelivered_since_ms,
            undelivered=own.undelivered,
            problems={**self.problems, **own.problems},
            operator_problems={},
            left_out=self.left_out.seen_by(tenant),
            tenants={},
        )

    def unknown_since_ms(self, now_ms: int) -> int:
        """Return since when detection is unknown, 0 when it is not."""
        if self.loading or now_ms - max(self.clock_ms, self.started_ms) <= UNKNOWN_AFTER_MS:
            return 0
        return self.clock_ms or self.started_ms

    def holding_back(self, now_ms: int) -> list[int]:
        """Return the partitions of the events that keep detection unknown while others go on; none where none does."""
        if not self.unknown_since_ms(now_ms) or not self.source_clocks_ms:
            return []
        going_ms = max(self.source_clocks_ms.values()) - UNKNOWN_AFTER_MS
        return sorted(source for source, clock_ms in self.source_clocks_ms.items() if clock_ms < going_ms)

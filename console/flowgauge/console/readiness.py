"""How a process stands: what it is waiting for before it is ready, in sentences. Pure.

Ready means that it does its share: it is in its groups, which may have given it no partition, they keep up, none of
its parts is in trouble, and nobody has told it to end.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from flowgauge.console.metrics import ITSELF, Knows
from flowgauge.transport.health import Health
from flowgauge.transport.lag import Lag

READY_LAG_S = 60.0  # a group that is further behind catches up before a rollout goes on


class Ended(Protocol):
    """Whether the end has come: an asyncio.Event."""

    def is_set(self) -> bool:
        """Tell it."""
        ...


@dataclass(frozen=True, slots=True)
class Readiness:
    """What a process knows of itself. `own` are the groups that it takes part in, `others` those that it watches."""

    role: str
    instance: str
    health: Health
    owned: Callable[[str, str], frozenset[int] | None]
    own: Sequence[Lag]
    others: Sequence[Lag]
    stop: Ended
    knows: Knows = ITSELF
    told_of_others: set[str] = field(default_factory=set[str])  # problems that are not this process's own

    @property
    def lags(self) -> Sequence[Lag]:
        """Every group whose lag it measures."""
        return [*self.own, *self.others]

    def waiting(self) -> Iterator[str]:
        """Yield a sentence for each thing that keeps it from being ready."""
        if self.stop.is_set():
            yield "it is ending"
        if self.health.loading:
            yield "history is being loaded"
        for lag in self.own:
            name = f"group {lag.group} on {lag.topic}"
            if self.owned(lag.topic, lag.group) is None:
                yield f"it is not in {name} yet"
            elif lag.records is None:
                yield f"how far {name} is behind is not known yet"
            elif lag.seconds > READY_LAG_S:
                yield f"{name} is {lag.seconds:.0f} s behind"
        for part, problem in sorted(self.health.problems.items()):
            if part not in self.told_of_others:
                yield f"{part}: {problem}"

    def body(self) -> dict[str, object]:
        """Return it for programs."""
        waiting = list(self.waiting())
        return {
            "role": self.role,
            "instance": self.instance,
            "ready": not waiting,
            "waiting": waiting,
            "groups": [
                {
                    "topic": lag.topic,
                    "group": lag.group,
                    "partitions": sorted(self.owned(lag.topic, lag.group) or ()),
                    "lag_records": lag.records,
                    "lag_seconds": lag.seconds,
                }
                for lag in self.own
            ],
        }

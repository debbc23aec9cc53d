"""The runs seen lately, so that a log can be given its flow.

A Prefect log names only its flow run. The run's own events, published before, name the flow. What this
cache has forgotten or never saw stays without a flow and is filled by run in ClickHouse.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

# Runs remembered, about 400 bytes each: 8 MB, and room for any site's runs of the last minutes.
RUNS_SEEN_MAX: Final = 20_000


@dataclass(frozen=True, slots=True)
class RunSeen:
    """What a run's events said of it: the flow's name and, if known, the run's own."""

    flow: str
    name: str | None = None


class FlowCache:
    """Least recently used runs, at most `runs_max`; the oldest is evicted and counted.

    Not thread-safe: its owner calls it from one thread.
    """

    def __init__(self, runs_max: int = RUNS_SEEN_MAX) -> None:
        self._runs: OrderedDict[str, RunSeen] = OrderedDict()
        self._runs_max = runs_max
        self.evicted = 0
        self.missed = 0

    def __len__(self) -> int:
        return len(self._runs)

    def learn(self, run: str, seen: RunSeen) -> None:
        """Remember the run as the one seen last. A name once known is not lost to an event without it."""
        known = self._runs.pop(run, None)
        if known is not None and seen.name is None:
            seen = RunSeen(seen.flow, known.name)
        self._runs[run] = seen
        if len(self._runs) > self._runs_max:
            self._runs.popitem(last=False)
            self.evicted += 1

    def find(self, run: str | None) -> RunSeen | None:
        """Return what is known of the run, counting a run that is not known; None asks about no run."""
        if run is None:
            return None
        seen = self._runs.get(run)
        if seen is None:
            self.missed += 1
        else:
            self._runs.move_to_end(run)
        return seen

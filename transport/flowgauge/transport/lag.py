"""How far groups are behind the end of what they read: in records, and in seconds.

    committed ─────────────── end       records: the offsets in between
        └ append time … now             seconds: the age of the first of them

A group that has passed what was the end at the last look keeps up, and its lag counts as 0 s: so no record is read for
the lag unless there is one to speak of. On Kafka markers of transactions may be all that stands before the end.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from flowgauge.schemas.errors import BadEnvironment, Transient
from flowgauge.transport import metrics, wall_clock
from flowgauge.transport.health import Health
from flowgauge.transport.log import Log
from flowgauge.transport.patience import pause

LOOK_EVERY_MS = 2_000
PART = "lag"


@dataclass(slots=True)
class Lag:
    """How far `group` is behind on `topic`. None until it was looked at."""

    topic: str
    group: str
    records: int | None = None
    seconds: float = 0.0
    ends: Mapping[int, int] = field(default_factory=dict[int, int])  # at the last look

    async def look(self, log: Log, now_ms: int) -> None:
        """Measure it now."""
        stands = await log.committed(self.topic, self.group)
        ends = await log.ends(self.topic)
        before, self.ends = self.ends, ends
        records, oldest_ms = 0, now_ms
        for partition, end in ends.items():
            at = stands[partition].next_offset
            if at >= end:
                continue
            if partition not in before or at < before[partition]:
                first = await log.read(self.topic, partition, at, 1)
                if not first:
                    continue
                oldest_ms = min(oldest_ms, first[0].append_ms)
            records += end - at
        self.records, self.seconds = records, (now_ms - oldest_ms) / 1000
        metrics.of(metrics.LAG_RECORDS, self.topic, self.group).set(self.records)
        metrics.of(metrics.LAG_SECONDS, self.topic, self.group).set(self.seconds)


async def run_lag(
    log: Log,
    lags: Sequence[Lag],
    *,
    stop: asyncio.Event,
    health: Health,
    now_ms: Callable[[], int] = wall_clock.now_ms,
) -> None:
    """Look at each of `lags` again and again until `stop`; while the log cannot be asked they stay as they were."""
    while not stop.is_set():
        try:
            for lag in lags:
                await lag.look(log, now_ms())
        except (Transient, BadEnvironment) as error:
            health.problems[PART] = str(error)
        else:
            health.problems.pop(PART, None)
        await pause(stop, LOOK_EVERY_MS)

"""Until when detection has seen everything, for processes that run no detector: read from the log alone.

    samples  p0   … [s0 ≤ 09:59:58] [s1 ≤ 09:59:59] [s0 ≤ 10:00:01] …
                                              ▲ where the detectors stand
    clock of p0 = min over its sources of what stands before ▲; of detection = min over partitions

Each message tells its source's clock, and each source is told of each second. A source that was not heard of since the
start has no clock yet, and neither has detection then: *unknown* is never taken for fine. That holds for sources too
which join with the rule set of a message.
"""

import asyncio
from dataclasses import dataclass, field

from flowgauge.processors.detector_app import GROUP, slowest
from flowgauge.processors.ruletopic import RuleBook
from flowgauge.processors.source_set import sources_at
from flowgauge.schemas.errors import FlowgaugeError
from flowgauge.schemas.sample import read_message
from flowgauge.schemas.topics import EVENTS, SAMPLES
from flowgauge.transport.health import Health
from flowgauge.transport.log import Log
from flowgauge.transport.patience import pause

PART = "detection watch"
LOOK_EVERY_MS = 1_000
BACK_MAX = 2_000  # messages read at the start: minutes of every source
READ_RECORDS_MAX = 500


async def run_detection_watch(log: Log, *, stop: asyncio.Event, health: Health) -> None:
    """Keep `health.clock_ms` at the clock of all detectors together until `stop`."""
    watch = DetectionWatch(log)
    while not stop.is_set():
        try:
            clock_ms = await watch.look()
        except FlowgaugeError as error:  # it only watches: whoever consumes ends by it
            health.problems[PART] = str(error)
        else:
            health.problems.pop(PART, None)
            health.clock_ms = max(health.clock_ms, clock_ms)
            health.source_clocks_ms = watch.source_clocks_ms()
        await pause(stop, LOOK_EVERY_MS)


class DetectionWatch:
    """Reads on in the samples, up to where the detectors stand."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._book = RuleBook(log)
        self._watched = [_Watched(partition) for partition in range(log.partitions(SAMPLES))]

    async def look(self) -> int:
        """Return the clock of detection now, in ms; 0 while it is not known."""
        stands = await self._log.committed(SAMPLES, GROUP)
        for each in self._watched:
            await each.read(self._log, stands[each.partition].next_offset)
        await self._book.know({each.version for each in self._watched})
        return min(each.clock_ms(self._sources(each.version)) for each in self._watched)

    def source_clocks_ms(self) -> dict[int, int]:
        """Return the clock of each source at the last look, where it was read least far; 0 while it is not known."""
        return slowest(
            [[each.clocks.get(source, 0) for source in range(self._sources(each.version))] for each in self._watched]
        )

    def _sources(self, version: int) -> int:
        return sources_at(self._book.rulesets, self._log.partitions(EVENTS), version)


@dataclass(slots=True)
class _Watched:
    partition: int
    next_offset: int | None = None
    version: int = 0  # newest rule set that a message was of
    clocks: dict[int, int] = field(default_factory=dict[int, int])  # source → its clock

    async def read(self, log: Log, end: int) -> None:
        """Read on to where the detectors stand."""
        offset = max(0, end - BACK_MAX) if self.next_offset is None else self.next_offset
        while offset < end:
            records = await log.read(SAMPLES, self.partition, offset, min(READ_RECORDS_MAX, end - offset))
            for record in records:
                if record.offset < end and record.value is not None:
                    message = read_message(record.value, f"{SAMPLES} partition {self.partition} offset {record.offset}")
                    self.version = max(message.rules_version, self.version)
                    self.clocks[message.source] = max(message.clock_ms, self.clocks.get(message.source, 0))
            offset = records[-1].offset + 1 if records else end
        self.next_offset = offset

    def clock_ms(self, sources: int) -> int:
        """Return the clock of the slowest source, 0 while one is not known."""
        return min(self.clocks.values()) if len(self.clocks) == sources else 0

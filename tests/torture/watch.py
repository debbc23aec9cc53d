"""Looks at the log all the while, in a thread of its own, through a connection of its own: how far each group is.

    lag of a group     the age of the oldest record that it has not committed, as seen from here
    detection behind   now, less the clock of the slowest detector

A broker that is away makes a gap, and the first look after it shows how far everything fell behind.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TypeVar

from aiokafka.errors import KafkaError
from tests.torture.transactions import Transactions

from flowgauge.processors.detection_watch import DetectionWatch
from flowgauge.schemas.errors import FlowgaugeError
from flowgauge.schemas.topics import EVENTS, SAMPLES, TRANSITIONS
from flowgauge.transport.kafka import KafkaLog, open_kafka_log
from flowgauge.transport.kafka_client import Connection
from flowgauge.transport.wall_clock import now_ms

LOOK_S = 0.3
LIBRARY = "aiokafka"  # it would tell of every try to reach a broker that we killed
ANSWER_S_MAX = 30.0
GROUPS = {"match": (EVENTS, "matcher"), "detect": (SAMPLES, "detector"), "sink": (EVENTS, "clickhouse")}
GROUPS["notify"] = (TRANSITIONS, "notifier")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Look:
    """What one look saw."""

    at_s: float  # monotonic
    lag_s: dict[str, float]  # role → age of the oldest record it has not done
    behind_s: float  # detection


@dataclass(slots=True)
class _Seen:
    """When the ends of a topic's partitions were first seen."""

    ends: dict[int, deque[tuple[float, int]]] = field(default_factory=dict[int, "deque[tuple[float, int]]"])

    def note(self, now_s: float, ends: dict[int, int]) -> None:
        for partition, end in ends.items():
            known = self.ends.setdefault(partition, deque())
            if not known or end > known[-1][1]:
                known.append((now_s, end))

    def lag_s(self, now_s: float, committed: dict[int, int]) -> float:
        oldest = now_s
        for partition, known in self.ends.items():
            for seen_s, end in known:
                if end > committed.get(partition, 0):
                    oldest = min(oldest, seen_s)
                    break
        return now_s - oldest

    def forget(self, committed: dict[int, int]) -> None:
        """Drop what every group that is asked about has passed."""
        for partition, known in self.ends.items():
            while len(known) > 1 and known[0][1] <= committed.get(partition, 0):
                known.popleft()


class Watch:
    """Looks until the block ends. `looks` holds all that it saw."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._seen = {topic: _Seen() for topic, _ in GROUPS.values()}
        self._read_to: dict[int, int] = {}
        self._looking: asyncio.Task[None] | None = None
        self.looks: list[Look] = []
        self._library = logging.getLogger(LIBRARY)
        self._level = self._library.level
        self.log: KafkaLog
        self.transactions = Transactions(connection.bootstrap)

    def __enter__(self) -> "Watch":
        self._library.setLevel(logging.CRITICAL)
        self._thread.start()
        self.run(self._open)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.run(self._close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.transactions.close()
        self._library.setLevel(self._level)

    def run(self, action: Callable[[], Awaitable[_T]], wait_s: float = ANSWER_S_MAX) -> _T:
        """Run something in the watch's thread and return what it returns."""

        async def bounded() -> _T:
            async with asyncio.timeout(wait_s):
                return await action()

        return asyncio.run_coroutine_threadsafe(bounded(), self._loop).result()

    async def committed(self) -> dict[str, dict[int, int]]:
        """Return where the group of each role stands, by partition; wait for a broker that is just starting."""
        while True:
            try:
                return {role: await self._committed(*group) for role, group in GROUPS.items()}
            except (FlowgaugeError, KafkaError, OSError):
                await asyncio.sleep(LOOK_S)

    async def _open(self) -> None:
        self.log = await open_kafka_log(self._connection)
        self._looking = asyncio.create_task(self._look_on())

    async def _close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self.log.close()

    async def _look_on(self) -> None:
        detection = DetectionWatch(self.log)
        while True:
            with contextlib.suppress(FlowgaugeError, KafkaError, TimeoutError, OSError):
                async with asyncio.timeout(ANSWER_S_MAX):
                    self.looks.append(await self._look(detection))
            await asyncio.sleep(LOOK_S)

    async def _look(self, detection: DetectionWatch) -> Look:
        now_s = time.monotonic()
        for topic, seen in self._seen.items():
            seen.note(now_s, await self._ends(topic))
        committed = {role: await self._committed(*group) for role, group in GROUPS.items()}
        lags = {role: self._seen[topic].lag_s(now_s, committed[role]) for role, (topic, _) in GROUPS.items()}
        for topic, seen in self._seen.items():
            theirs = [committed[role] for role, (of, _) in GROUPS.items() if of == topic]
            lowest = {partition: min(each.get(partition, 0) for each in theirs) for partition in seen.ends}
            seen.forget(lowest)
        clock_ms = await detection.look()
        behind_s = (now_ms() - clock_ms) / 1000 if clock_ms else 0.0
        return Look(now_s, lags, behind_s)

    async def _ends(self, topic: str) -> dict[int, int]:
        """Return the offset after the last record of each partition; markers of transactions are no records."""
        if topic != TRANSITIONS:
            return dict(await self.log.ends(topic))
        for partition in range(self.log.partitions(topic)):
            while found := await self.log.read(topic, partition, self._read_to.get(partition, 0), 5_000):
                self._read_to[partition] = found[-1].offset + 1
        return dict(self._read_to)

    async def _committed(self, topic: str, group: str) -> dict[int, int]:
        return {partition: at.next_offset for partition, at in (await self.log.committed(topic, group)).items()}

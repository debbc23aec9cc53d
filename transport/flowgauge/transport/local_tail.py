"""Where the partitions of the SQLite log end, as this process knows, and who waits for them to grow.

Appends of this process wake waiting polls at once. Those of another process on the same file (a tool) are seen
by the read that every poll ends with.
"""

import asyncio
from collections.abc import Mapping

from flowgauge.schemas.errors import InvariantBroken


class LocalTail:
    """The ends of all partitions. Used on one event loop only."""

    def __init__(self, ids: Mapping[tuple[str, int], int], ends: Mapping[int, int]) -> None:
        self._ids: dict[str, dict[int, int]] = {}
        self._topics: dict[int, str] = {}
        for (topic, partition), partition_id in sorted(ids.items()):
            self._ids.setdefault(topic, {})[partition] = partition_id
            self._topics[partition_id] = topic
        self._ends = dict(ends)
        self._grown = {topic: asyncio.Event() for topic in self._ids}
        self._loop = asyncio.get_running_loop()
        self._closed = False

    def partition_ids(self, topic: str) -> Mapping[int, int]:
        """Return the row id of each partition of `topic`."""
        if topic not in self._ids:
            raise InvariantBroken(f"this log has no topic {topic}: name it where the log is opened")
        return self._ids[topic]

    def partition_id(self, topic: str, partition: int) -> int:
        """Return the row id of one partition."""
        ids = self.partition_ids(topic)
        if partition not in ids:
            raise InvariantBroken(f"{topic} has no partition {partition} in this log")
        return ids[partition]

    def ends(self, topic: str) -> dict[int, int]:
        """Return the next offset of each partition of `topic`, as known here."""
        return {partition: self._ends[partition_id] for partition, partition_id in self._ids[topic].items()}

    def grow(self, ends: Mapping[int, int]) -> None:
        """Take note of new ends and wake who waits for them."""
        self._ends.update(ends)
        for topic in {self._topics[partition_id] for partition_id in ends}:
            self._wake(topic)

    def close(self) -> None:
        """Wake everybody: nothing more will come."""
        self._closed = True
        for topic in self._grown:
            self._wake(topic)

    def deadline(self, timeout_ms: int) -> float:
        """Return the loop time at which a wait of `timeout_ms` ends."""
        return self._loop.time() + timeout_ms / 1000

    async def wait_past(self, topic: str, offsets: Mapping[int, int], deadline: float) -> bool:
        """Wait until a partition of `topic` ends past its offset; return False at the deadline.

        Raises InvariantBroken once the log is closed.
        """
        while True:
            if self._closed:
                raise InvariantBroken("the log was closed while this poll waited")
            grown = self._grown[topic]
            if any(self._ends[at] > offsets[partition] for partition, at in self._ids[topic].items()):
                return True
            try:
                async with asyncio.timeout_at(deadline):
                    await grown.wait()
            except TimeoutError:
                return False

    def _wake(self, topic: str) -> None:
        self._grown[topic].set()
        self._grown[topic] = asyncio.Event()

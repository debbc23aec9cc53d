"""Asking Kafka without being in a group: records, ends, and where groups stand.

One consumer holds all partitions, each paused but while it is read, so that a read costs one fetch and nothing is
fetched in vain. It reads what is committed only; a second one knows where the uncommitted ends.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

from aiokafka import errors as kafka_errors

from flowgauge.transport.kafka_client import (
    Admin,
    Connection,
    Consumer,
    OffsetNoted,
    TopicPartition,
    leave,
    new_consumer,
    start,
    told,
)
from flowgauge.transport.kafka_records import from_kafka
from flowgauge.transport.log import Committed, Record

READ_BYTES_MAX = 16 * 1_048_576  # returned by one read, one fetch over at most
FETCH_WAIT_MS = 5  # a fetch that found nothing holds up the next request on its connection for so long
GETMANY_MS = 1_000
LOADING_PAUSE_MS = 100  # between questions to a broker that has not yet read what groups committed
LATEST_MS = 1 << 46  # after anything that a clock says


class KafkaReading:
    """Everything that only asks. Made by KafkaLog, with the partitions that each topic has."""

    def __init__(self, connection: Connection, admin: Admin, partitions: Mapping[str, int]) -> None:
        self._connection = connection
        self._admin = admin
        self._partitions = partitions
        self._committed: Consumer | None = None
        self._uncommitted: Consumer | None = None
        self._lock = asyncio.Lock()  # one read at a time
        self._starting = asyncio.Lock()

    async def read(self, topic: str, partition: int, offset: int, records_max: int) -> list[Record]:
        """Return records from `offset` on, up to `records_max`, READ_BYTES_MAX, or what stands there now.

        Every step that was committed before is among them: a broker says that a transaction is committed before
        readers see it, so this waits for those that are open now, at most for their timeout.
        """
        if records_max < 1:
            return []
        where = f"{topic} partition {partition}"
        async with self._lock, told(self._connection, f"read {where}"):
            consumer, at = await self._consumer(), self._at(topic, partition)
            end = await self.high_watermark(topic, partition)
            if offset >= end:
                return []
            consumer.seek(at, offset)
            consumer.resume(at)
            try:
                return await _read_to(consumer, at, end, records_max)
            finally:
                consumer.pause(at)
                consumer.seek(at, offset)  # drops what was fetched ahead: it would hold up the next fetch

    async def ends(self, topic: str) -> dict[int, int]:
        """Return the offset after what is committed of each partition."""
        async with told(self._connection, f"ask for the ends of {topic}"):
            found = await (await self._consumer()).end_offsets(self._all(topic))
        return {at.partition: offset for at, offset in sorted(found.items())}

    async def begins(self, topic: str) -> dict[int, int]:
        """Return the first offset that each partition still has."""
        async with told(self._connection, f"ask for the beginnings of {topic}"):
            found = await (await self._consumer()).beginning_offsets(self._all(topic))
        return {at.partition: offset for at, offset in sorted(found.items())}

    async def first_at(self, topic: str, append_ms: int) -> dict[int, int | None]:
        """Return the first offset of each partition that the broker stamped `append_ms` or later."""
        asked = dict.fromkeys(self._all(topic), min(append_ms, LATEST_MS))
        async with told(self._connection, f"ask {topic} for a time"):
            found = await (await self._consumer()).offsets_for_times(asked)
        return {at.partition: first.offset if first else None for at, first in found.items()}

    def partitions(self, topic: str) -> int:
        """Return how many partitions `topic` had when the log was opened."""
        return self._partitions[topic]

    async def high_watermark(self, topic: str, partition: int) -> int:
        """Return the offset after everything in a partition, open transactions included."""
        at = self._at(topic, partition)
        async with told(self._connection, f"ask for the end of {topic} partition {partition}"):
            async with self._starting:
                self._uncommitted = self._uncommitted or await self._start("read_uncommitted")
            return (await self._uncommitted.end_offsets([at]))[at]

    async def committed(self, group: str, topic: str) -> dict[int, Committed]:
        """Return what `group` committed on `topic`; partitions without anything are missing.

        AIOKafkaConsumer.committed() drops the metadata, this call of the admin client does not.
        """
        name = self._connection.names.group(group, topic)
        return await self._committed_by(name, topic)

    async def lowest_committed(self, topic: str) -> dict[int, int]:
        """Return for each partition the lowest offset that any group of ours has committed there."""
        async with told(self._connection, "list its groups"):
            names = [name for name, *_ in await self._admin.list_consumer_groups()]
        lowest: dict[int, int] = {}
        for name in filter(lambda name: self._connection.names.is_group_on(name, topic), names):
            for partition, at in (await self._committed_by(name, topic)).items():
                lowest[partition] = min(at.next_offset, lowest.get(partition, at.next_offset))
        return lowest

    async def close(self) -> None:
        """Let go of the connections."""
        for consumer in filter(None, (self._committed, self._uncommitted)):
            await leave(consumer)

    async def _committed_by(self, name: str, topic: str) -> dict[int, Committed]:
        """Ask until every partition is answered for: aiokafka passes over the error of a group that is being loaded.

        Its answer holds no partition then, which would read as a group that never committed anything. Raises Transient
        when that takes as long as a broker may.
        """
        asked, answer_s = self._all(topic), self._connection.answer_ms / 1000
        async with told(self._connection, f"ask where group {name} is"), asyncio.timeout(answer_s):
            while True:
                found: Mapping[TopicPartition, OffsetNoted] = {}
                with contextlib.suppress(kafka_errors.GroupCoordinatorNotAvailableError):  # it never had a group yet
                    found = await self._admin.list_consumer_group_offsets(name, partitions=asked)
                if found.keys() >= set(asked):
                    break
                await asyncio.sleep(LOADING_PAUSE_MS / 1000)
        return {at.partition: Committed(o.offset, o.metadata or "") for at, o in found.items() if o.offset >= 0}

    async def _consumer(self) -> Consumer:
        async with self._starting:
            self._committed = self._committed or await self._start("read_committed")
        return self._committed

    async def _start(self, isolation: str) -> Consumer:
        consumer = new_consumer(self._connection, isolation=isolation, wait_ms=FETCH_WAIT_MS)
        try:
            await start(consumer)
        except BaseException:
            await leave(consumer)
            raise
        everything = [at for topic in self._partitions for at in self._all(topic)]
        consumer.assign(everything)
        consumer.pause(*everything)
        for at in everything:
            consumer.seek(at, 0)  # else it would ask where each begins
        return consumer

    def _at(self, topic: str, partition: int) -> TopicPartition:
        return TopicPartition(self._connection.names.topic(topic), partition)

    def _all(self, topic: str) -> Sequence[TopicPartition]:
        return [self._at(topic, partition) for partition in range(self._partitions[topic])]


async def _read_to(consumer: Consumer, at: TopicPartition, end: int, records_max: int) -> list[Record]:
    """Read on to `end`, which markers of transactions may be all that stands before."""
    records: list[Record] = []
    size = 0
    while len(records) < records_max and size < READ_BYTES_MAX and await consumer.position(at) < end:
        found = await consumer.getmany(at, timeout_ms=GETMANY_MS, max_records=records_max - len(records))
        for fetched in found.values():
            records += from_kafka(fetched, f"{at.topic} partition {at.partition}")
            size += sum(len(each.value or b"") for each in fetched)
    return records

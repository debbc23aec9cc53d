"""The Kafka adapter of the `Log` port, on aiokafka.

    append ──► idempotent producer, acks of all replicas ──► topics PREFIX.*
    open_reader ──► KafkaReader ──┐
    open_steps  ──► KafkaSteps  ──┴── Membership: one consumer in one Kafka group
    read, ends, trim ──► KafkaReading: no group

It keeps the contract of flowgauge.transport.log with what a broker can promise: an append that raises Transient may
have been appended all the same, and a former owner may be given records for a while, though it can commit nothing.
Compacted topics are compacted by the broker, in its own time. Next files: kafka_members, then kafka_steps.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TypeVar

from aiokafka.admin import RecordsToDelete

from flowgauge.schemas.errors import BadEnvironment, InvariantBroken
from flowgauge.schemas.topics import COMPACTED, OUTBOX, STATE
from flowgauge.transport.kafka_client import (
    Admin,
    Connection,
    TopicPartition,
    new_admin,
    new_producer,
    start,
    told,
)
from flowgauge.transport.kafka_members import Membership
from flowgauge.transport.kafka_reader import KafkaReader
from flowgauge.transport.kafka_reading import KafkaReading
from flowgauge.transport.kafka_records import check_outgoing
from flowgauge.transport.kafka_state import log_id_of
from flowgauge.transport.kafka_steps import KafkaSteps, StepsPlace
from flowgauge.transport.kafka_topics import existing_topics
from flowgauge.transport.kafka_writer import Writer
from flowgauge.transport.log import NEW, Committed, Outgoing, Reader, Record, Steps

LOG_ID_RECORDS_MAX = 100  # it is the first record of its partition; racing creators may have written some
TRIM_RECORDS_MAX = 1_000  # read at a time to find recorded times

_Opening = TypeVar("_Opening", KafkaReader, KafkaSteps)


async def open_kafka_log(connection: Connection) -> "KafkaLog":
    """Open the log that the topics of `connection.prefix` are.

    Raises BadEnvironment when no broker answers or topics are missing, with the remedy.
    """
    admin, producer = new_admin(connection), new_producer(connection)
    writer = Writer(connection, producer)
    log: KafkaLog | None = None
    try:
        async with told(connection, "connect"):
            await start(admin)
            partitions = await existing_topics(connection, admin)
            await start(producer)
        log = KafkaLog(connection, admin, writer, partitions)
        await log.find_log_id()
    except BaseException:
        await (log.close() if log else _close(admin, writer))
        raise
    return log


class KafkaLog:
    """A partitioned, durable, append-only log that is the topics of one prefix."""

    def __init__(self, connection: Connection, admin: Admin, writer: Writer, partitions: Mapping[str, int]) -> None:
        self._connection = connection
        self._admin = admin
        self._writer = writer
        self._partitions = partitions
        self._reading = KafkaReading(connection, admin, partitions)
        self._log_id = ""
        self._open: set[KafkaReader | KafkaSteps] = set()
        self._appends: set[asyncio.Task[object] | None] = set()
        self._idle = asyncio.Event()
        self._closed = False

    @property
    def log_id(self) -> str:
        """The identity of this log."""
        return self._log_id

    async def find_log_id(self) -> None:
        """Read the identity that was made with the topics. Raises BadEnvironment where they were not."""
        if STATE not in self._partitions:
            raise BadEnvironment(
                f"Kafka at {self._connection.bootstrap} has no topic {self._connection.names.topic(STATE)}: "
                "create the topics first (flowgauge topics apply), or correct kafka.prefix"
            )
        # The first record alone first: reading on would wait for a transaction that a dead process left open.
        first = await self._reading.read(STATE, 0, 0, 1)
        self._log_id = log_id_of(first) or log_id_of(await self._reading.read(STATE, 0, 0, LOG_ID_RECORDS_MAX))
        if not self._log_id:
            raise BadEnvironment(
                f"the topic {self._connection.names.topic(STATE)} does not begin with the identity of a log: "
                "create the topics with flowgauge topics apply, or choose another kafka.prefix"
            )

    def partitions(self, topic: str) -> int:
        """Return how many partitions `topic` has."""
        if topic not in self._partitions:
            raise BadEnvironment(
                f"Kafka at {self._connection.bootstrap} has no topic {self._connection.names.topic(topic)}: "
                "create it (flowgauge topics apply) and start again"
            )
        return self._partitions[topic]

    async def append(self, topic: str, records: Sequence[Outgoing]) -> Sequence[int]:
        """Append and return each record's offset, once all replicas have them. Order per partition is kept.

        Waits while what is on its way to a partition fills a batch. Raises Transient when brokers do not take them
        in time; they may have been appended, or be so later.
        """
        check_outgoing(topic, records, self.partitions(topic))
        if self._closed:
            raise InvariantBroken("the log is closed")
        if not records:
            return ()
        task = asyncio.current_task()
        self._appends.add(task)
        try:
            return await self._writer.append(self._connection.names.topic(topic), records)
        finally:
            self._appends.discard(task)
            if not self._appends:
                self._idle.set()

    async def open_reader(self, topic: str, group: str) -> Reader:
        """Join `group` on `topic`, in the place of whoever joined under the same instance id."""
        self.partitions(topic)
        membership = Membership(self._connection, group, topic)
        return await self._opened(KafkaReader(self._reading, membership, group=group, topic=topic))

    async def open_steps(self, topic: str, group: str) -> Steps:
        """Join `group` on `topic` and fence the former owners of the partitions that become ours."""
        self.partitions(topic)
        place = StepsPlace(self._connection, self._reading, self._partitions, self._log_id)
        membership = Membership(self._connection, group, topic)
        return await self._opened(KafkaSteps(place, membership, group=group, topic=topic))

    async def ends(self, topic: str) -> Mapping[int, int]:
        """Return the offset after the last record of each partition, as far as one can know it.

        Transactions leave markers at the end, which nobody reads: they are left out where a reader of ours is there.
        """
        self.partitions(topic)
        ends: Mapping[int, int] = await self._reading.ends(topic)
        for each in self._open:
            if each.membership.topic == topic:
                ends = await each.membership.readable_ends(ends)
        return ends

    async def committed(self, topic: str, group: str) -> Mapping[int, Committed]:
        """Return where `group` stands on each partition of `topic`, whoever owns it; (0, "") where it never was."""
        count = self.partitions(topic)
        found = await self._reading.committed(group, topic)
        return {partition: found.get(partition, NEW) for partition in range(count)}

    def owned(self, topic: str, group: str) -> frozenset[int] | None:
        """Return the partitions of `topic` that are this process's in `group`; None while it is not in the group."""
        for each in self._open:
            if each.membership.topic == topic and each.membership.group == self._connection.names.group(group, topic):
                return frozenset(each.membership.owned)
        return None

    async def read(self, topic: str, partition: int, offset: int, records_max: int) -> Sequence[Record]:
        """Return records from `offset` on without any group."""
        if not 0 <= partition < self.partitions(topic):
            raise InvariantBroken(f"{topic} has no partition {partition} in this log")
        return await self._reading.read(topic, partition, offset, records_max)

    async def trim(self, topic: str, *, before_ms: int) -> int:
        """Drop records appended before `before_ms` that every group has passed; return about how many.

        Markers of transactions are counted too. A compacted topic is left to the broker.
        """
        self.partitions(topic)
        if topic in COMPACTED or topic in {STATE, OUTBOX}:
            return 0
        begins, ends = await self._reading.begins(topic), await self._reading.ends(topic)
        passed, stamped = await self._reading.lowest_committed(topic), await self._reading.first_at(topic, before_ms)
        cuts: dict[int, int] = {}
        for partition, begin in begins.items():
            end = min(passed.get(partition, ends[partition]), ends[partition])
            first = stamped[partition]
            cut = end if first is None else min(first, end)
            cut = await self._past_recorded(topic, partition, range(max(cut, begin), end), before_ms)
            if cut > begin:
                cuts[partition] = cut
        await self._delete_before(topic, cuts)
        return sum(cut - begins[partition] for partition, cut in cuts.items())

    async def close(self) -> None:
        """Finish what is queued, let go of readers and steps, then close. Twice is the same as once."""
        if self._closed:
            return
        self._closed = True
        if self._appends:
            self._idle.clear()
            await self._idle.wait()
        for each in list(self._open):
            await each.close()
        await self._reading.close()
        await _close(self._admin, self._writer)

    async def _opened(self, opening: _Opening) -> _Opening:
        try:
            await opening.open()
        except BaseException:
            await opening.close()
            raise
        self._open.add(opening)
        opening.on_close = lambda: self._open.discard(opening)
        return opening

    async def _past_recorded(self, topic: str, partition: int, offsets: range, before_ms: int) -> int:
        """Return the first of `offsets` to keep, else their end: history that was loaded is older than its stamp."""
        offset, end = offsets.start, offsets.stop
        while offset < end:
            records = await self._reading.read(topic, partition, offset, TRIM_RECORDS_MAX)
            for record in records:
                if record.offset >= end:
                    return end
                if record.append_ms >= before_ms:
                    return record.offset
            offset = records[-1].offset + 1 if records else end
        return offset

    async def _delete_before(self, topic: str, cuts: Mapping[int, int]) -> None:
        name = self._connection.names.topic(topic)
        if cuts:
            async with told(self._connection, f"delete old records of {topic}"):
                await self._admin.delete_records(
                    {TopicPartition(name, partition): RecordsToDelete(cut) for partition, cut in cuts.items()}
                )


async def _close(admin: Admin, writer: Writer) -> None:
    try:
        await writer.close()
    finally:
        await admin.close()

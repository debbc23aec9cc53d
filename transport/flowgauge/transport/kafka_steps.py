"""Exactly-once stages on Kafka: one transactional producer for each input partition that is ours.

    told of a partition:  start the producer ──► restore state and position ──► seek ──► Assigned
    commit of a step:     begin ──► group offset ──► state, position, outputs ──► commit      one transaction

The order is what keeps the promise. Starting a producer fences whoever had the partition and settles the transaction
it left open; only after that is its state read, up to the high watermark, committed records only. (aiokafka has no
fencing by group membership: with one producer a process, a former owner could still commit.) The offset goes into a
transaction before the records: the other order made brokers answer NOT_ENOUGH_REPLICAS and wait 100 ms. Whatever goes
wrong in a transaction ends the process: its outcome is unknown here, and the next owner reads it from the log.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from flowgauge.schemas.errors import BadEnvironment, Fenced, FlowgaugeError, InvariantBroken
from flowgauge.transport import metrics
from flowgauge.transport.kafka_batch import batches_of
from flowgauge.transport.kafka_client import (
    Connection,
    Consumer,
    Producer,
    RecordMetadata,
    TopicPartition,
    broken_by,
    end_transactions,
    explain,
    leave,
    new_consumer,
    new_producer,
    start,
    told,
)
from flowgauge.transport.kafka_members import Changes, Membership
from flowgauge.transport.kafka_reader import check_positions, register
from flowgauge.transport.kafka_reading import KafkaReading
from flowgauge.transport.kafka_records import Fetched, check_outgoing, check_state_size, from_kafka
from flowgauge.transport.kafka_state import Position, Restored, StateKeys, encode_position, state_topic
from flowgauge.transport.log import Assigned, Batch, Outgoing, Output, Record, Revoked
from flowgauge.transport.wall_clock import now_ms

COMMIT_MS_MAX = 60_000  # aiokafka tries again by itself; a transaction that takes longer was given up by the broker
RESTORE_RECORDS_MAX = 10_000
RESTORE_WAIT_MS = 100
STOP_MS_MAX = 5_000


@dataclass(slots=True)
class _Owned:
    """A partition that is ours."""

    producer: Producer
    keys: StateKeys
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True)
class StepsPlace:
    """Where steps stand and write: the log as they see it."""

    connection: Connection
    reading: KafkaReading
    partitions: Mapping[str, int]
    log_id: str


class KafkaSteps:
    """Steps of a group on a topic. `open_steps` of KafkaLog makes it."""

    def __init__(self, place: StepsPlace, membership: Membership, *, group: str, topic: str) -> None:
        self._place = place
        self._group = group
        self._topic = topic
        self._owned: dict[int, _Owned] = {}
        self._untold: list[Assigned | Revoked] = []
        self._ended: FlowgaugeError | None = None
        self._transactions = metrics.of(metrics.TRANSACTION_SECONDS, topic, group)
        self._restores = metrics.of(metrics.RESTORE_SECONDS, topic, group)
        self.membership = membership
        self.on_close: Callable[[], None] = lambda: None

    async def open(self) -> None:
        """Join, fence the former owners of what is ours, and restore its state."""
        await self.membership.join()
        await self._take_changes()

    async def poll(self, *, records_max: int, timeout_ms: int) -> Sequence[Assigned | Revoked | Batch]:
        """Return changes of what is owned, with restored state, else records, else wait for either.

        Raises Fenced when another process joined under our instance id, or the group put us out.
        """
        await self._take_changes()
        if not self._untold:
            if batches := await self.membership.fetch(records_max, timeout_ms):
                return batches
            await self._take_changes()
        untold, self._untold = self._untold, []
        return untold

    async def commit(
        self,
        partition: int,
        *,
        next_offset: int | None,
        state: Mapping[str, bytes | None],
        outputs: Sequence[Output],
    ) -> None:
        """Make one step of `partition` durable; `next_offset` None keeps the offset; a None value deletes.

        Raises Fenced when another process owns the partition. After that or any other error of the transaction
        these steps are of no more use: what was committed is read by whoever opens them next.
        """
        where = f"{self._topic} partition {partition}, group {self._group}"
        self._check(partition, where)
        owned = self._owned[partition]
        records = [*self._state_records(owned.keys, next_offset, state, where), *outputs]
        for output in outputs:
            self._check_output(output)
        if not records:
            return
        async with owned.lock:
            try:
                async with asyncio.timeout(COMMIT_MS_MAX / 1000):
                    with self._transactions.time():
                        await self._transact(owned.producer, partition, next_offset, records)
            except BaseException as error:
                self._ended = _ending(broken_by(owned.producer, error), self._place.connection, where)
                if isinstance(error, asyncio.CancelledError):
                    raise
                raise self._ended from error

    async def close(self) -> None:
        """Let go; what was not committed is as if it never happened."""
        self.on_close()
        self._ended = self._ended or InvariantBroken(f"these steps of group {self._group} on {self._topic} are closed")
        await self._drop(list(self._owned))
        await self.membership.leave()

    async def _take_changes(self) -> None:
        """Stop the producers of what is gone, start those of what is new, all at once."""
        if self._ended is not None:
            raise self._ended
        while (changes := self.membership.changes()) is not None:
            opened = await self._open_changes(changes)
            if self.membership.note_told(changes):
                self._untold += [*(Revoked(partition) for partition in changes.revoked), *opened]
            else:
                await self._drop(changes.assigned)

    async def _open_changes(self, changes: Changes) -> list[Assigned]:
        await self._drop(changes.revoked)
        if changes.assigned:
            await register(self._place.reading, self.membership, self._group, self._topic)
        try:
            async with asyncio.TaskGroup() as tasks:
                opening = [tasks.create_task(self._own(partition)) for partition in changes.assigned]
        except BaseExceptionGroup as errors:
            await self._drop(changes.assigned)
            raise errors.exceptions[0] from None
        return [task.result() for task in opening]

    async def _own(self, partition: int) -> Assigned:
        connection = self._place.connection
        producer = new_producer(connection, connection.names.transaction(self._group, self._topic, partition))
        self._owned[partition] = _Owned(producer, StateKeys(self._group, self._topic, partition))
        with self._restores.time():
            async with told(connection, f"begin transactions of {self._topic} partition {partition}"):
                await start(producer)
            restored = await self._restore(self._owned[partition].keys)
        next_offset = restored.next_offset or 0
        await check_positions(self._place.reading, self._topic, {partition: next_offset}, self._group)
        self.membership.seek(partition, next_offset)
        return Assigned(partition, next_offset, restored.state)

    async def _restore(self, keys: StateKeys) -> Restored:
        """Read the state partition up to the high watermark of now.

        Not up to the last stable offset of now: another partition's open transaction, which shares the state
        partition, may stand before records of ours. It ends within its timeout, and the reading waits for that. Raises
        Transient when the reading has not moved for as long as brokers may take to answer.
        """
        restored, connection = Restored(keys, self._place.log_id), self._place.connection
        topic = state_topic(self._topic)
        at = TopicPartition(connection.names.topic(topic), keys.partition % self._place.partitions[topic])
        end = await self._place.reading.high_watermark(topic, at.partition)
        if not end:  # a consumer that is stopped before it read fails
            return restored
        consumer = new_consumer(connection, wait_ms=RESTORE_WAIT_MS)
        try:
            async with told(connection, f"connect to restore {keys.position}"):
                await start(consumer)
            consumer.assign([at])
            consumer.seek(at, 0)
            while await consumer.position(at) < end:
                async with told(connection, f"restore {keys.position} from {at.topic} partition {at.partition}"):
                    fetched = await _next_of(consumer, at)
                restored.see(from_kafka(fetched, f"{at.topic} partition {at.partition}"))
        finally:
            await leave(consumer)
        return restored

    async def _transact(
        self, producer: Producer, partition: int, next_offset: int | None, records: Sequence[Output]
    ) -> None:
        names = self._place.connection.names
        await producer.begin_transaction()
        if next_offset is not None:
            at = TopicPartition(names.topic(self._topic), partition)
            await producer.send_offsets_to_transaction({at: (next_offset, "")}, self.membership.group)
        to: dict[tuple[str, int], list[Outgoing]] = {}
        for topic, record in records:
            to.setdefault((topic, record.partition), []).append(record)
        sent: list[asyncio.Future[RecordMetadata]] = []
        try:
            for (topic, number), of in to.items():
                for batch in batches_of(of, now_ms(), is_transactional=True):
                    sent.append(await producer.send_batch(batch, names.topic(topic), partition=number))  # noqa: PERF401  # each may wait for room
        finally:
            await asyncio.gather(*sent)
        await producer.commit_transaction()

    def _state_records(
        self, keys: StateKeys, next_offset: int | None, state: Mapping[str, bytes | None], where: str
    ) -> list[Output]:
        topic = state_topic(self._topic)
        partition = keys.partition % self._place.partitions[topic]
        records: list[Output] = []
        for name, value in state.items():
            check_state_size(name, value, where)
            records.append(Output(topic, Outgoing(partition, keys.of(name), value)))
        if next_offset is not None:
            position = encode_position(Position(next_offset, self._place.log_id))
            records.append(Output(topic, Outgoing(partition, keys.position, position)))
        return records

    def _check_output(self, output: Output) -> None:
        count = self._place.partitions.get(output.topic, 0)
        check_outgoing(output.topic, [output.record], count)

    def _check(self, partition: int, where: str) -> None:
        if self._ended is not None:
            raise self._ended
        if partition not in self.membership.held() or partition not in self._owned:
            raise Fenced(f"{where} is no longer ours")

    async def _drop(self, partitions: Sequence[int]) -> None:
        owned = [self._owned.pop(partition) for partition in partitions if partition in self._owned]
        await asyncio.gather(*(end_transactions(each.producer, STOP_MS_MAX) for each in owned))


async def _next_of(consumer: Consumer, at: TopicPartition) -> Sequence[Fetched | Record]:
    """Return the next records, none where markers of transactions were passed. Waits as long as its caller lets it."""
    place = await consumer.position(at)
    while await consumer.position(at) == place:
        if found := await consumer.getmany(at, timeout_ms=RESTORE_WAIT_MS, max_records=RESTORE_RECORDS_MAX):
            return found[at]
    return ()


def _ending(error: BaseException, connection: Connection, where: str) -> FlowgaugeError:
    doing = f"commit a step of {where}"
    if isinstance(error, AssertionError):  # all that aiokafka says when a commit meets a fenced producer
        return Fenced(f"cannot {doing}: another process has taken over; this one ends")
    if isinstance(error, Exception):
        told_as = explain(error, connection, doing)
        if isinstance(told_as, InvariantBroken | BadEnvironment):
            return told_as
    return InvariantBroken(f"cannot {doing}: {error!r}; whether it counts is read at the next start: this process ends")

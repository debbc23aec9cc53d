"""Appends to Kafka in whole batches, each answered once: order per partition, and a bound on what waits.

    append ─┐                                     ┌─ waits: one batch in aiokafka, until the one before is on its way
    append ─┼─► open batch of a partition ─► turn ─┤
    append ─┘   (they share it while it waits)    └─ on its way: one batch

Whoever comes next in a partition's turn passes on its open batch, with what others have added since: so large appends
travel as they are, and many small ones that wait for the broker travel together. At most four batches of a partition
are in memory; past that an append waits. No task of its own: a caller that gives up leaves its batch to the next one.

A batch that brokers refuse for good leaves a gap in the producer's sequence: aiokafka counts it as sent, and brokers
refuse whatever follows. So the next append takes a new producer, once the old one has sent what it has.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial

from flowgauge.schemas.errors import Transient
from flowgauge.transport.kafka_batch import RecordBatch
from flowgauge.transport.kafka_client import (
    STOP_MS_MAX,
    Connection,
    Producer,
    RecordMetadata,
    new_producer,
    start,
    stop,
    told,
)
from flowgauge.transport.log import Outgoing
from flowgauge.transport.wall_clock import now_ms

Sent = asyncio.Future[RecordMetadata]


@dataclass(slots=True, eq=False)
class _Waiting:
    """A batch and, once aiokafka has it, the future of its answer."""

    batch: RecordBatch
    sent: Sent | None = None


@dataclass(slots=True)
class _Partition:
    """What is on its way to one partition."""

    open: _Waiting | None = None  # takes records still
    order: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while records are added
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while a batch waits for aiokafka to take it


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some of an append's records, in one batch."""

    waiting: _Waiting
    first: int  # its first record's place in the batch
    count: int


class Writer:
    """What the appends of one log share. Made by KafkaLog."""

    def __init__(self, connection: Connection, producer: Producer) -> None:
        self._connection = connection
        self._producer = producer
        self._is_spoilt = False  # the producer's sequence has a gap
        self._renewing = asyncio.Lock()
        self._partitions: dict[tuple[str, int], _Partition] = defaultdict(_Partition)

    async def append(self, name: str, records: Sequence[Outgoing]) -> list[int]:
        """Append to the topic that Kafka knows as `name`; return each record's offset. Raises as KafkaLog.append."""
        places: dict[int, list[int]] = {}
        for place, record in enumerate(records):
            places.setdefault(record.partition, []).append(place)
        async with told(self._connection, f"append to {name}"):
            pieces = {number: await self._put(name, number, records, of) for number, of in places.items()}
            sent = {
                number: [await self._pass_on(name, number, piece.waiting) for piece in found]
                for number, found in pieces.items()
            }
            answer = [0] * len(records)
            for number, of in places.items():
                offsets = await _offsets(f"{name} partition {number}", pieces[number], sent[number])
                for place, offset in zip(of, offsets, strict=True):
                    answer[place] = offset
        return answer

    async def close(self) -> None:
        """Send what is queued, then let go."""
        await stop(self._producer, STOP_MS_MAX)

    async def _put(self, name: str, number: int, records: Sequence[Outgoing], places: Sequence[int]) -> list[_Piece]:
        """Add those of `records` that are for one partition to its open batch and as many more as they need."""
        partition, pieces = self._partitions[name, number], list[_Piece]()
        async with partition.order:
            waiting = partition.open = partition.open or _Waiting(RecordBatch(now_ms()))
            first = waiting.batch.record_count()
            for place in places:
                if not waiting.batch.add(records[place]):
                    pieces.append(_Piece(waiting, first, waiting.batch.record_count() - first))
                    await self._pass_on(name, number, waiting)
                    waiting, first = _Waiting(RecordBatch(now_ms())), 0
                    waiting.batch.add(records[place])
                    partition.open = waiting
            pieces.append(_Piece(waiting, first, waiting.batch.record_count() - first))
        return pieces

    async def _pass_on(self, name: str, number: int, waiting: _Waiting) -> Sent:
        """Give a batch to aiokafka, unless another that has records in it did; wait while the one before waits."""
        partition = self._partitions[name, number]
        while True:
            await self._renew()
            async with partition.turn:
                if waiting.sent is not None:
                    return waiting.sent
                if self._is_spoilt:
                    continue
                if partition.open is waiting:
                    partition.open = None
                waiting.sent = await self._send(name, number, waiting.batch)
                return waiting.sent

    async def _send(self, name: str, number: int, batch: RecordBatch) -> Sent:
        producer = self._producer
        try:
            sent = await producer.send_batch(batch, name, partition=number)
        except Exception:
            self._is_spoilt = True  # it takes nothing any more
            raise
        sent.add_done_callback(partial(self._see, producer))
        return sent

    def _see(self, producer: Producer, sent: Sent) -> None:
        """Look at what became of a batch: unread, the loop would complain where every caller has given up."""
        if not sent.cancelled() and sent.exception() is not None and producer is self._producer:
            self._is_spoilt = True

    async def _renew(self) -> None:
        """Take a new producer in the place of a spoilt one. Nothing is passed on meanwhile, so no order changes."""
        if not self._is_spoilt:
            return
        async with self._renewing, AsyncExitStack() as turns:
            if not self._is_spoilt:
                return
            for partition in list(self._partitions.values()):
                await turns.enter_async_context(partition.turn)
            await stop(self._producer, STOP_MS_MAX)
            self._producer = new_producer(self._connection)
            await start(self._producer)
            self._is_spoilt = False


async def _offsets(where: str, pieces: Sequence[_Piece], sent: Sequence[Sent]) -> list[int]:
    found: list[int] = []
    for piece, answer in zip(pieces, sent, strict=True):
        await asyncio.wait({answer})  # awaiting it would cancel it for all, when one gives up
        begin = answer.result().offset
        if begin < 0:
            raise Transient(f"{where} has the records already, at offsets that it does not tell")
        found += range(begin + piece.first, begin + piece.first + piece.count)
    return found

"""Groups on the SQLite log: the at-least-once Reader and the exactly-once Steps.

One process owns all partitions of a topic for a group: the one that opened it last. The one before is fenced:
its next poll or commit raises Fenced.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from flowgauge.schemas.errors import InvariantBroken
from flowgauge.transport.local_blocks import pack_request
from flowgauge.transport.local_reading import LocalReading, Position
from flowgauge.transport.local_tail import LocalTail
from flowgauge.transport.local_transaction import GroupTopic
from flowgauge.transport.local_writer import LocalWriter
from flowgauge.transport.log import (
    METADATA_BYTES_MAX,
    STATE_RECORD_BYTES_MAX,
    Assigned,
    Batch,
    Committed,
    Outgoing,
    Output,
    Revoked,
)


class _Shared(Protocol):
    """What readers and steps use of the log they belong to."""

    reading: LocalReading
    writer: LocalWriter
    tail: LocalTail


class _Cursor:
    """Polls the partitions of one topic in turn and remembers where it is."""

    def __init__(self, shared: _Shared, owner: GroupTopic, offsets: Mapping[int, int]) -> None:
        self._shared = shared
        self._owner = owner
        self._ids = shared.tail.partition_ids(owner.topic)
        self._offsets = dict(offsets)
        self._turn = 0
        self._closed = False

    async def poll(self, records_max: int, timeout_ms: int) -> list[Batch]:
        """Return what can be read, waiting up to `timeout_ms` for the first record; nothing when none is asked for."""
        if records_max < 1:
            self.check_open()
            await asyncio.sleep(timeout_ms / 1000)
            return []
        tail = self._shared.tail
        deadline = tail.deadline(timeout_ms)
        while True:
            self.check_open()
            in_time = await tail.wait_past(self._owner.topic, self._offsets, deadline)
            ends = tail.ends(self._owner.topic)
            batches = await self._shared.reading.poll(self._owner, self._positions(), records_max)
            self._advance(batches, ends)
            if batches or not in_time:
                return batches

    def seek(self, partition: int, offset: int) -> None:
        """Go on at `offset`."""
        self._shared.tail.partition_id(self._owner.topic, partition)  # raises when there is none
        self._offsets[partition] = offset

    def close(self) -> None:
        """Refuse further use."""
        self._closed = True

    def check_open(self) -> None:
        """Raise when closed."""
        if self._closed:
            raise InvariantBroken(f"this reader of group {self._owner.group} on {self._owner.topic} is closed")

    def _positions(self) -> list[Position]:
        """Begin with another partition each time: a full one must not starve the others."""
        order = sorted(self._ids)
        self._turn = (self._turn + 1) % len(order)
        order = order[self._turn :] + order[: self._turn]
        return [Position(partition, self._ids[partition], self._offsets[partition]) for partition in order]

    def _advance(self, batches: Sequence[Batch], ends: Mapping[int, int]) -> None:
        for batch in batches:
            self._offsets[batch.partition] = batch.next_offset
        if not batches:  # nothing stands between here and the ends of before the read: trimmed or compacted away
            for partition, end in ends.items():
                self._offsets[partition] = max(self._offsets[partition], end)


class LocalReader:
    """At-least-once reading of a topic of the SQLite log."""

    def __init__(self, shared: _Shared, owner: GroupTopic, committed: Mapping[int, Committed]) -> None:
        self._shared = shared
        self._owner = owner
        self._assigned = [  # until the first poll has told them
            Assigned(partition, at.next_offset, metadata=at.metadata) for partition, at in committed.items()
        ]
        self._cursor = _Cursor(shared, owner, {p: at.next_offset for p, at in committed.items()})

    async def poll(self, *, records_max: int, timeout_ms: int) -> Sequence[Assigned | Revoked | Batch]:
        """Return the assignments at the first poll, at most `records_max` records at each later one.

        Never Revoked: when the group was opened again this raises Fenced.
        """
        if self._assigned:
            self._cursor.check_open()
            assigned, self._assigned = self._assigned, []
            return assigned
        return await self._cursor.poll(records_max, timeout_ms)

    async def commit(self, offsets: Mapping[int, Committed]) -> None:
        """Note where each partition goes on, durably. Raises Fenced when the group was opened again."""
        self._cursor.check_open()
        for partition, committed in offsets.items():
            size = len(committed.metadata.encode())
            if size > METADATA_BYTES_MAX:
                where = f"{self._owner.topic} partition {partition}, group {self._owner.group}"
                raise InvariantBroken(f"metadata of {size} bytes, more than {METADATA_BYTES_MAX}: {where}")
        frozen = dict(offsets)
        await self._shared.writer.run(lambda transaction: transaction.commit_offsets(self._owner, frozen))

    async def committed(self) -> Mapping[int, Committed]:
        """Return the committed offset of each partition; (0, "") where nothing was committed."""
        return await self._shared.reading.committed(self._owner.group, self._owner.topic)

    async def seek(self, partition: int, offset: int) -> None:
        """Read `partition` from `offset` at the next poll."""
        self._cursor.check_open()
        self._cursor.seek(partition, offset)

    async def close(self) -> None:
        """Let go; nothing is committed."""
        self._cursor.close()


class LocalSteps:
    """Exactly-once stages on the SQLite log."""

    def __init__(self, shared: _Shared, owner: GroupTopic, assigned: Sequence[Assigned]) -> None:
        self._shared = shared
        self._owner = owner
        self._assigned = list(assigned)  # until the first poll has told them
        self._cursor = _Cursor(shared, owner, {each.partition: each.next_offset for each in assigned})

    async def poll(self, *, records_max: int, timeout_ms: int) -> Sequence[Assigned | Revoked | Batch]:
        """Return the assignments at the first poll, batches at each later one.

        Never Revoked: when the group was opened again this raises Fenced.
        """
        if self._assigned:
            self._cursor.check_open()
            assigned, self._assigned = self._assigned, []
            return assigned
        return await self._cursor.poll(records_max, timeout_ms)

    async def commit(
        self,
        partition: int,
        *,
        next_offset: int | None,
        state: Mapping[str, bytes | None],
        outputs: Sequence[Output],
    ) -> None:
        """Make one step of `partition` durable; `next_offset` None keeps the offset; a None value deletes.

        Raises Fenced when the group was opened again, Transient when the disk is full: then nothing changed.
        """
        self._cursor.check_open()
        for key, value in state.items():
            if value is not None and len(value) > STATE_RECORD_BYTES_MAX:
                where = f"state {key!r} of {self._owner.topic} partition {partition}, group {self._owner.group}"
                raise InvariantBroken(f"{where} has {len(value)} bytes, more than {STATE_RECORD_BYTES_MAX}: split it")
        by_topic: dict[str, list[Outgoing]] = {}
        for output in outputs:
            by_topic.setdefault(output.topic, []).append(output.record)
        requests = [(topic, pack_request(records)) for topic, records in by_topic.items()]
        frozen = dict(state)
        size = sum(request.size for _, request in requests) + sum(map(len, filter(None, frozen.values())))
        await self._shared.writer.run(
            lambda transaction: transaction.commit_step(
                self._owner, partition, next_offset, state=frozen, outputs=requests
            ),
            size=size,
        )

    async def close(self) -> None:
        """Let go; what was not committed is as if it never happened."""
        self._cursor.close()

"""The SQLite adapter of the `Log` port: one file, one writer thread, one reading thread.

    append, commit ──► LocalWriter ──► log.db ──► LocalReading ──► poll, read
                           └──────► LocalTail: who waits is woken ──────┘

It keeps the contract of flowgauge.transport.log in one process; other processes may open the same file (tools
do), they share groups and fencing, and see appends a poll later. Nothing here blocks the event loop.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from flowgauge.schemas.topics import COMPACTED
from flowgauge.transport.data_folder import lock_data_folder
from flowgauge.transport.local_blocks import offsets_in_call_order, pack_request
from flowgauge.transport.local_file import FILE_NAME, open_file
from flowgauge.transport.local_groups import LocalReader, LocalSteps
from flowgauge.transport.local_reading import LocalReading
from flowgauge.transport.local_tail import LocalTail
from flowgauge.transport.local_transaction import Ends
from flowgauge.transport.local_writer import LocalWriter
from flowgauge.transport.log import NEW, Committed, Outgoing, Reader, Record, Steps
from flowgauge.transport.wall_clock import now_ms as wall_clock_ms

__all__ = ["LocalLog", "lock_data_folder", "open_local_log"]


async def open_local_log(
    folder: Path,
    *,
    partitions: Mapping[str, int],
    now_ms: Callable[[], int] = wall_clock_ms,
    page_count_max: int | None = None,
) -> "LocalLog":
    """Open the log in `folder`, creating what is missing: folder, file, topics of `partitions`.

    Topics that the file has and `partitions` does not name stay as they are. `page_count_max` bounds the file
    in pages of 8 KiB; beyond it appends raise Transient, as on a full disk. Raises LogMismatch when a topic has
    another number of partitions, or when the file is no log or damaged; BadEnvironment when it cannot be written.
    """

    def open_both() -> tuple[sqlite3.Connection, str, Ends]:
        connection = open_file(folder, partitions, page_count_max=page_count_max)
        ends = Ends(connection, COMPACTED)
        ends.refresh()
        log_id: str = connection.execute("SELECT value FROM meta WHERE name = 'log_id'").fetchone()[0]
        return connection, log_id, ends

    connection, log_id, ends = await asyncio.to_thread(open_both)
    return LocalLog(folder / FILE_NAME, connection, log_id=log_id, ends=ends, now_ms=now_ms)


class LocalLog:
    """A partitioned, durable, append-only log in one SQLite file."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, *, log_id: str, ends: Ends, now_ms: Callable[[], int]
    ) -> None:
        self._log_id = log_id
        self.tail = LocalTail(ends.ids, {at: end.next_offset for at, end in ends.by_id.items()})
        self.reading = LocalReading(path, compacted_ids=frozenset(ends.compacted_ids))
        self.writer = LocalWriter(connection, ends, path=str(path), now_ms=now_ms, on_growth=self.tail.grow)

    @property
    def log_id(self) -> str:
        """The identity of this log."""
        return self._log_id

    def partitions(self, topic: str) -> int:
        """Return how many partitions `topic` has."""
        return len(self.tail.partition_ids(topic))

    async def append(self, topic: str, records: Sequence[Outgoing]) -> Sequence[int]:
        """Append and return each record's offset, once all are durable.

        Waits while QUEUE_REQUESTS_MAX requests or QUEUE_BYTES_MAX bytes are queued. Raises Transient when the
        disk is full: nothing was appended.
        """
        if not records:
            return ()
        request = pack_request(records)
        bases = await self.writer.run(lambda transaction: transaction.append(topic, request), size=request.size)
        return offsets_in_call_order(request, bases)

    async def open_reader(self, topic: str, group: str) -> Reader:
        """Join `group` on `topic`, fencing whoever had it."""
        self.tail.partition_ids(topic)
        owner = await self.writer.run(lambda transaction: transaction.open_group(group, topic))
        return LocalReader(self, owner, await self.reading.committed(group, topic))

    async def open_steps(self, topic: str, group: str) -> Steps:
        """Own `topic` for `group`, fencing whoever did before."""
        self.tail.partition_ids(topic)
        owner = await self.writer.run(lambda transaction: transaction.open_group(group, topic))
        return LocalSteps(self, owner, await self.reading.assigned(group, topic))

    async def ends(self, topic: str) -> Mapping[int, int]:
        """Return the next offset of each partition of `topic`."""
        self.tail.partition_ids(topic)
        return await self.reading.ends(topic)

    async def committed(self, topic: str, group: str) -> Mapping[int, Committed]:
        """Return where `group` stands on each partition of `topic`, whoever owns it; (0, "") where it never was."""
        found = await self.reading.committed(group, topic)
        return {partition: found.get(partition, NEW) for partition in sorted(self.tail.partition_ids(topic))}

    async def read(self, topic: str, partition: int, offset: int, records_max: int) -> Sequence[Record]:
        """Return records from `offset` on, up to `records_max` and POLL_BYTES_MAX, without any group."""
        return await self.reading.read(self.tail.partition_id(topic, partition), offset, records_max)

    async def trim(self, topic: str, *, before_ms: int) -> int:
        """Drop records appended before `before_ms` that every group has passed; return how many.

        A partition is trimmed from its front, up to the first record to keep. A compacted topic loses only
        tombstones. Pages that become free are given back to the disk, some at each call.
        """
        self.tail.partition_ids(topic)
        dropped, more = 0, True
        while more:
            count, more = await self.writer.run(lambda transaction: transaction.trim(topic, before_ms))
            dropped += count
        await self.writer.run(lambda transaction: transaction.give_back())
        return dropped

    async def close(self) -> None:
        """Finish what is queued, then close. Twice is the same as once."""
        self.tail.close()
        await self.writer.close()
        await self.reading.close()

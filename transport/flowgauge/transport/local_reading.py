"""Reading the SQLite log: one connection of its own in one thread of its own.

Matcher and sink read the same records shortly after one another, so the newest decoded blocks are kept: the
second reader pays nothing for them.
"""

import asyncio
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from flowgauge.schemas.errors import Fenced, InvariantBroken
from flowgauge.schemas.topics import RecordKind
from flowgauge.transport.local_blocks import decode_block
from flowgauge.transport.local_file import connect, explain
from flowgauge.transport.local_transaction import GroupTopic
from flowgauge.transport.log import Assigned, Batch, Committed, Record

POLL_BYTES_MAX = 16 * 1_048_576  # stored bytes read at a time, one block over at most
KEPT_BYTES_MAX = 16 * 1_048_576  # memory of the decoded blocks that are kept for the next reader, about
RECORD_OVERHEAD_BYTES = 250  # what a decoded record takes beside its bytes: a tuple, an int, two headers

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Position:
    """Where to read on in one partition."""

    partition: int
    partition_id: int
    offset: int


class LocalReading:
    """Everything that only reads. Each call runs in the reading thread, in a snapshot of its own."""

    def __init__(self, path: Path, *, compacted_ids: frozenset[int]) -> None:
        self._path = str(path)
        self._compacted_ids = compacted_ids
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="flowgauge-log-reader")
        self._connection = connect(path)
        self._kept: OrderedDict[tuple[int, int], tuple[int, list[Record]]] = OrderedDict()
        self._kept_bytes = 0
        self._closed = False

    async def close(self) -> None:
        """Close the connection once what was asked is answered."""
        if not self._closed:
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
            self._thread.shutdown(wait=False)

    async def poll(self, owner: GroupTopic, positions: Sequence[Position], records_max: int) -> list[Batch]:
        """Return about `records_max` records from `positions` on, earlier positions first.

        Raises Fenced when `owner` is no longer the newest opening of its group.
        """
        return await self._run(lambda: self._poll(owner, positions, records_max))

    async def read(self, partition_id: int, offset: int, records_max: int) -> list[Record]:
        """Return up to `records_max` records from `offset` on, POLL_BYTES_MAX bytes at most."""
        if records_max < 1:
            return []
        return await self._run(lambda: self._read(partition_id, offset, records_max, POLL_BYTES_MAX)[0])

    async def ends(self, topic: str) -> dict[int, int]:
        """Return the next offset of each partition of `topic`."""
        statement = "SELECT number, next_offset FROM partitions WHERE topic = ? ORDER BY number"
        return await self._run(lambda: dict(self._connection.execute(statement, (topic,)).fetchall()))

    async def committed(self, group: str, topic: str) -> dict[int, Committed]:
        """Return what `group` committed for each partition of `topic`."""
        return await self._run(lambda: self._committed(group, topic))

    async def assigned(self, group: str, topic: str) -> list[Assigned]:
        """Return offset and state of each partition of `topic` for `group`."""
        return await self._run(lambda: self._assigned(group, topic))

    async def _run(self, function: Callable[[], T]) -> T:
        if self._closed:
            raise InvariantBroken(f"the log {self._path} is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._in_snapshot, function)

    def _in_snapshot(self, function: Callable[[], T]) -> T:
        try:
            with self._snapshot():
                return function()
        except sqlite3.Error as error:
            raise explain(error, self._path) from error

    @contextmanager
    def _snapshot(self) -> Generator[None]:
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _poll(self, owner: GroupTopic, positions: Sequence[Position], records_max: int) -> list[Batch]:
        row = self._connection.execute(
            "SELECT generation FROM groups WHERE name = ? AND topic = ?", (owner.group, owner.topic)
        ).fetchone()
        if row is None or row[0] != owner.generation:
            raise Fenced(f"group {owner.group} on {owner.topic} was opened again elsewhere: this one ends")
        batches: list[Batch] = []
        bytes_left = POLL_BYTES_MAX
        for position in positions:
            records, size = self._read(position.partition_id, position.offset, records_max, bytes_left)
            records_max -= len(records)
            bytes_left -= size
            if records:
                batches.append(Batch(position.partition, records))
            if records_max <= 0 or bytes_left <= 0:
                break
        return batches

    def _read(self, partition_id: int, offset: int, records_max: int, bytes_max: int) -> tuple[list[Record], int]:
        if partition_id in self._compacted_ids:
            return self._read_compacted(partition_id, offset, records_max, bytes_max)
        blocks = self._connection.execute(
            "SELECT id, base_offset, length(records) FROM blocks WHERE partition_id = ? AND last_offset >= ? "
            "ORDER BY last_offset",
            (partition_id, offset),
        )
        records: list[Record] = []
        size = 0
        for block_id, base, length in blocks:
            block = self._block(block_id, base, length)
            begin = max(offset - base, 0)
            end = begin + records_max - len(records)
            records += block[begin:end]
            size += length
            if len(records) >= records_max or size >= bytes_max:
                break
        blocks.close()  # else the snapshot would outlive the call
        return records, size

    def _block(self, block_id: int, base: int, length: int) -> list[Record]:
        kept = self._kept.get((block_id, base))
        if kept is not None:
            self._kept.move_to_end((block_id, base))
            return kept[1]
        data: bytes = self._connection.execute("SELECT records FROM blocks WHERE id = ?", (block_id,)).fetchone()[0]
        records = decode_block(base, data)
        cost = length + len(records) * RECORD_OVERHEAD_BYTES
        self._kept[block_id, base] = (cost, records)
        self._kept_bytes += cost
        while self._kept_bytes > KEPT_BYTES_MAX:
            self._kept_bytes -= self._kept.popitem(last=False)[1][0]
        return records

    def _read_compacted(
        self, partition_id: int, offset: int, records_max: int, bytes_max: int
    ) -> tuple[list[Record], int]:
        rows = self._connection.execute(
            'SELECT "offset", append_ms, kind, key, value FROM compacted WHERE partition_id = ? AND "offset" >= ? '
            'ORDER BY "offset" LIMIT ?',
            (partition_id, offset, records_max),
        )
        records: list[Record] = []
        size = 0
        for at, append_ms, kind, key, value in rows:
            records.append(Record(at, append_ms, RecordKind(kind), key, value))
            size += len(key) + len(value or b"")
            if size >= bytes_max:
                break
        rows.close()
        return records, size

    def _committed(self, group: str, topic: str) -> dict[int, Committed]:
        rows = self._connection.execute(
            "SELECT number, o.next_offset, metadata FROM offsets o JOIN partitions p ON p.id = partition_id "
            "WHERE group_name = ? AND topic = ? ORDER BY number",
            (group, topic),
        )
        return {number: Committed(next_offset, metadata) for number, next_offset, metadata in rows.fetchall()}

    def _assigned(self, group: str, topic: str) -> list[Assigned]:
        found: list[Assigned] = []
        for number, committed in self._committed(group, topic).items():
            rows = self._connection.execute(
                "SELECT key, value FROM state WHERE group_name = ? AND partition_id = "
                "(SELECT id FROM partitions WHERE topic = ? AND number = ?)",
                (group, topic, number),
            )
            state: Mapping[str, bytes] = dict(rows.fetchall())
            found.append(Assigned(number, committed.next_offset, state))
        return found

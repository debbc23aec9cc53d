"""What one transaction of the SQLite log does: append, step, open a group, commit offsets, trim.

Everything here runs in the writer thread. A transaction serves many requests: their records are gathered and
written once, at `finish`. A request that is refused (Fenced, InvariantBroken) raises before it changed
anything, so that its neighbours in the same transaction stand.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flowgauge.schemas.errors import Fenced, InvariantBroken
from flowgauge.transport.local_blocks import Columns, Request, chunks, cut_block, decode_block, encode_block, stamp
from flowgauge.transport.log import Committed

TRIM_BLOCKS_MAX = 32  # blocks (some 10 to 100 MB) dropped in one transaction: appends wait no longer for it
VACUUM_PAGES_MAX = 4_096  # 32 MiB given back to the disk at a time, for the same reason
VACUUM_FREE_SHARE = 4  # give back only when a quarter is free: what is appended next fills the rest


@dataclass(frozen=True, slots=True)
class GroupTopic:
    """A group on a topic, as one opening of it knows itself."""

    group: str
    topic: str
    generation: int


@dataclass(slots=True)
class End:
    """Where a partition ends."""

    next_offset: int
    last_ms: int


class Ends:
    """The ends of all partitions as the writer knows them: re-read when another process wrote."""

    def __init__(self, connection: sqlite3.Connection, compacted: frozenset[str]) -> None:
        self._connection = connection
        self._compacted_topics = compacted
        self._data_version = -1
        self.by_id: dict[int, End] = {}
        self.ids: dict[tuple[str, int], int] = {}
        self.compacted_ids: set[int] = set()

    def refresh(self) -> None:
        """Re-read the ends if another connection has written; call it inside the transaction."""
        data_version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if data_version != self._data_version:
            self._reload()
            self._data_version = data_version

    def forget(self) -> None:
        """Re-read at the next refresh: a transaction that changed them was rolled back."""
        self._data_version = -1

    def _reload(self) -> None:
        rows = self._connection.execute("SELECT id, topic, number, next_offset, last_ms FROM partitions").fetchall()
        self.by_id = {row[0]: End(row[3], row[4]) for row in rows}
        self.ids = {(row[1], row[2]): row[0] for row in rows}
        self.compacted_ids = {row[0] for row in rows if row[1] in self._compacted_topics}


class Transaction:
    """One transaction in the making. `ends` is changed as records are appended; forget them after a rollback."""

    def __init__(self, connection: sqlite3.Connection, ends: Ends, now_ms: int) -> None:
        self._connection = connection
        self._ends = ends
        self._now_ms = now_ms
        self._gathered: dict[int, tuple[int, Columns]] = {}  # partition id → base offset, records

    def append(self, topic: str, request: Request) -> list[int]:
        """Append and return the base offset of each part of `request`."""
        ids = [self._id(topic, partition) for partition, _ in request.parts]  # all are known, or nothing is appended
        return [self._gather(at, columns) for at, (_, columns) in zip(ids, request.parts, strict=True)]

    def open_group(self, group: str, topic: str) -> GroupTopic:
        """Register `group` on `topic`, or fence whoever had it."""
        row = self._connection.execute(
            "INSERT INTO groups VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET generation = generation + 1 "
            "RETURNING generation",
            (group, topic),
        ).fetchall()[0]
        self._connection.execute(
            "INSERT INTO offsets (group_name, partition_id) SELECT ?, id FROM partitions WHERE topic = ? "
            "ON CONFLICT DO NOTHING",
            (group, topic),
        )
        return GroupTopic(group, topic, row[0])

    def commit_offsets(self, owner: GroupTopic, offsets: Mapping[int, Committed]) -> None:
        """Note where `owner` goes on in each partition."""
        self._check_owner(owner)
        rows = [(at.next_offset, at.metadata, owner.group, self._id(owner.topic, p)) for p, at in offsets.items()]
        self._connection.executemany(
            "UPDATE offsets SET next_offset = ?, metadata = ? WHERE group_name = ? AND partition_id = ?", rows
        )

    def commit_step(
        self,
        owner: GroupTopic,
        partition: int,
        next_offset: int | None,
        *,
        state: Mapping[str, bytes | None],
        outputs: Sequence[tuple[str, Request]],
    ) -> None:
        """Change state, append outputs and move the offset."""
        self._check_owner(owner)
        partition_id = self._id(owner.topic, partition)
        for topic, request in outputs:
            for output_partition, _ in request.parts:
                self._id(topic, output_partition)  # all are known, or nothing is changed
        self._write_state(owner.group, partition_id, state)
        for topic, request in outputs:
            self.append(topic, request)
        if next_offset is not None:
            self._connection.execute(
                "UPDATE offsets SET next_offset = ? WHERE group_name = ? AND partition_id = ?",
                (next_offset, owner.group, partition_id),
            )

    def trim(self, topic: str, before_ms: int) -> tuple[int, bool]:
        """Drop some records older than `before_ms` and passed by every group: (how many, whether there are more)."""
        dropped, more = 0, False
        for (name, _), partition_id in self._ends.ids.items():
            if name != topic:
                continue
            row = self._connection.execute(
                "SELECT min(next_offset) FROM offsets WHERE partition_id = ?", (partition_id,)
            ).fetchone()
            passed: int = self._ends.by_id[partition_id].next_offset if row[0] is None else row[0]
            if partition_id in self._ends.compacted_ids:
                dropped += self._trim_tombstones(partition_id, before_ms, passed)
            else:
                count, again = self._trim_blocks(partition_id, before_ms, passed)
                dropped, more = dropped + count, more or again
        return dropped, more

    def give_back(self) -> None:
        """Return free pages to the disk when they are many, VACUUM_PAGES_MAX at most."""
        free: int = self._connection.execute("PRAGMA freelist_count").fetchone()[0]
        pages: int = self._connection.execute("PRAGMA page_count").fetchone()[0]
        if free * VACUUM_FREE_SHARE > pages:
            for _ in range(min(free, VACUUM_PAGES_MAX)):  # sqlite3 runs one step of it, which is one page
                self._connection.execute("PRAGMA incremental_vacuum(1)")

    def finish(self) -> dict[int, int]:
        """Write what was gathered; return the new end of each partition that grew."""
        for partition_id, (base, columns) in self._gathered.items():
            end = self._ends.by_id[partition_id]
            stamps, end.last_ms = stamp(columns, now_ms=self._now_ms, last_ms=end.last_ms)
            if partition_id in self._ends.compacted_ids:
                self._insert_compacted(partition_id, base, columns, stamps)
            else:
                self._insert_blocks(partition_id, base, columns, stamps)
            self._connection.execute(
                "UPDATE partitions SET next_offset = ?, last_ms = ? WHERE id = ?",
                (end.next_offset, end.last_ms, partition_id),
            )
        return {partition_id: self._ends.by_id[partition_id].next_offset for partition_id in self._gathered}

    def _id(self, topic: str, partition: int) -> int:
        try:
            return self._ends.ids[topic, partition]
        except KeyError:
            raise InvariantBroken(f"{topic} has no partition {partition} in this log") from None

    def _gather(self, partition_id: int, columns: Columns) -> int:
        end = self._ends.by_id[partition_id]
        base = end.next_offset
        end.next_offset += len(columns)
        if partition_id in self._gathered:
            self._gathered[partition_id][1].extend(columns)
        else:
            # A copy, because others are added to it and the request may have to be tried again.
            gathered = Columns()
            gathered.extend(columns)
            self._gathered[partition_id] = (base, gathered)
        return base

    def _insert_blocks(self, partition_id: int, base: int, columns: Columns, stamps: int | list[int]) -> None:
        rows: list[tuple[int, int, int, int, bytes]] = []
        for part in chunks(columns):
            newest_ms = stamps if isinstance(stamps, int) else max(stamps[part])
            data = encode_block(columns, stamps, part)
            rows.append((partition_id, base + part.start, base + part.stop - 1, newest_ms, data))
        self._connection.executemany(
            "INSERT INTO blocks (partition_id, base_offset, last_offset, last_ms, records) VALUES (?, ?, ?, ?, ?)", rows
        )

    def _insert_compacted(self, partition_id: int, base: int, columns: Columns, stamps: int | list[int]) -> None:
        each = [stamps] * len(columns) if isinstance(stamps, int) else stamps
        # REPLACE deletes the older row of the same key: that is the compaction.
        self._connection.executemany(
            "INSERT OR REPLACE INTO compacted VALUES (?, ?, ?, ?, ?, ?)",
            [
                (partition_id, base + place, each[place], int(columns.kinds[place]), key, columns.values[place])
                for place, key in enumerate(columns.keys)
            ],
        )

    def _check_owner(self, owner: GroupTopic) -> None:
        row = self._connection.execute(
            "SELECT generation FROM groups WHERE name = ? AND topic = ?", (owner.group, owner.topic)
        ).fetchone()
        if row is None or row[0] != owner.generation:
            raise Fenced(f"group {owner.group} on {owner.topic} was opened again elsewhere: this one ends")

    def _write_state(self, group: str, partition_id: int, state: Mapping[str, bytes | None]) -> None:
        deleted = [(group, partition_id, key) for key, value in state.items() if value is None]
        written = [(group, partition_id, key, value) for key, value in state.items() if value is not None]
        self._connection.executemany("DELETE FROM state WHERE group_name = ? AND partition_id = ? AND key = ?", deleted)
        self._connection.executemany(
            "INSERT INTO state VALUES (?, ?, ?, ?) "
            "ON CONFLICT (group_name, partition_id, key) DO UPDATE SET value = excluded.value",
            written,
        )

    def _trim_tombstones(self, partition_id: int, before_ms: int, passed: int) -> int:
        """Compaction keeps the newest record of each key for ever; only what says "deleted" can go."""
        return self._connection.execute(
            'DELETE FROM compacted WHERE partition_id = ? AND value IS NULL AND append_ms < ? AND "offset" < ?',
            (partition_id, before_ms, passed),
        ).rowcount

    def _trim_blocks(self, partition_id: int, before_ms: int, passed: int) -> tuple[int, bool]:
        """Drop whole blocks from the front, then cut the block in which the records to keep begin."""
        rows = self._connection.execute(
            "SELECT id, base_offset, last_offset, last_ms FROM blocks WHERE partition_id = ? "
            "ORDER BY last_offset LIMIT ?",
            (partition_id, TRIM_BLOCKS_MAX),
        ).fetchall()
        gone: list[tuple[int]] = []
        dropped = 0
        for block_id, base, last, last_ms in rows:
            if last_ms >= before_ms or last >= passed:
                self._connection.executemany("DELETE FROM blocks WHERE id = ?", gone)
                return dropped + self._cut(block_id, base, before_ms, passed), False
            gone.append((block_id,))
            dropped += last + 1 - base
        self._connection.executemany("DELETE FROM blocks WHERE id = ?", gone)
        return dropped, len(rows) == TRIM_BLOCKS_MAX

    def _cut(self, block_id: int, base: int, before_ms: int, passed: int) -> int:
        data: bytes = self._connection.execute("SELECT records FROM blocks WHERE id = ?", (block_id,)).fetchone()[0]
        kept = (r.offset for r in decode_block(base, data) if r.append_ms >= before_ms or r.offset >= passed)
        first = next(kept, base)
        if first > base:
            self._connection.execute(
                "UPDATE blocks SET base_offset = ?, records = ? WHERE id = ?",
                (first, cut_block(base, data, first), block_id),
            )
        return first - base

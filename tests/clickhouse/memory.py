"""A log and a table engine in memory, for crash tests: what they hold outlives the sink that is killed.

`Faults` counts every call of the sink into its ports and kills it before, after or amid a chosen one.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from flowgauge.sinks.clickhouse.claims import Span
from flowgauge.sinks.clickhouse.errors import EngineTrouble, RowRefused
from flowgauge.transport.log import METADATA_BYTES_MAX, Assigned, Batch, Committed, Outgoing, Record, Revoked, Steps

T = TypeVar("T")


class Killed(Exception):
    """The process ends here."""


@dataclass
class Faults:
    """Kills at call number `kill_at`: "before" it acts, "after" it acted but before the caller knows."""

    kill_at: int = -1
    when: str = "before"
    calls: list[str] = field(default_factory=list[str])
    dead: bool = False

    def around(self, name: str, act: Callable[[], T], amid: Callable[[], object] | None = None) -> T:
        if self.dead:
            raise Killed(name)
        self.calls.append(name)
        if len(self.calls) - 1 != self.kill_at:
            return act()
        self.dead = True
        if self.when == "amid" and amid is not None:
            amid()
        elif self.when == "after":
            act()
        raise Killed(name)


@dataclass
class MemoryLog:
    """Topics as lists; `faults` is replaced at each restart. Offsets have gaps of `stride`."""

    counts: Mapping[str, int]
    log_id: str = "memory"
    stride: int = 1
    faults: Faults = field(default_factory=Faults)
    records: dict[tuple[str, int], list[Record]] = field(default_factory=dict[tuple[str, int], list[Record]])
    offsets: dict[tuple[str, str], dict[int, Committed]] = field(
        default_factory=dict[tuple[str, str], dict[int, Committed]]
    )
    history: list[tuple[dict[int, Committed], dict[int, Committed]]] = field(  # a group's notes, and what they were
        default_factory=list[tuple[dict[int, Committed], dict[int, Committed]]]
    )
    now_ms: int = 1_795_000_000_000
    readers: "list[MemoryReader]" = field(default_factory=list["MemoryReader"])

    def partitions(self, topic: str) -> int:
        return self.counts.get(topic, 1)

    def of(self, topic: str, partition: int) -> list[Record]:
        return self.records.setdefault((topic, partition), [])

    def put(self, topic: str, records: Sequence[Outgoing]) -> list[int]:
        """Append without a fault: what producers do."""
        offsets: list[int] = []
        for outgoing in records:
            into = self.of(topic, outgoing.partition)
            offset = into[-1].offset + self.stride if into else 0
            append_ms = self.now_ms if outgoing.append_ms is None else outgoing.append_ms
            into.append(Record(offset, append_ms, outgoing.kind, outgoing.key, outgoing.value))
            offsets.append(offset)
        return offsets

    async def append(self, topic: str, records: Sequence[Outgoing]) -> Sequence[int]:
        return self.faults.around("append", lambda: self.put(topic, records))

    async def open_reader(self, topic: str, group: str) -> "MemoryReader":
        noted = self.offsets.setdefault((topic, group), {})
        moves = [("assign", partition) for partition in range(self.partitions(topic))]
        self.readers.append(MemoryReader(self, topic, noted, moves))
        return self.readers[-1]

    async def open_steps(self, topic: str, group: str) -> Steps:
        raise NotImplementedError

    async def ends(self, topic: str) -> Mapping[int, int]:
        found = {p: self.of(topic, p) for p in range(self.partitions(topic))}
        return {p: records[-1].offset + 1 if records else 0 for p, records in found.items()}

    async def committed(self, topic: str, group: str) -> Mapping[int, Committed]:
        noted = self.offsets.get((topic, group), {})
        return {p: noted.get(p, Committed(0)) for p in range(self.partitions(topic))}

    async def read(self, topic: str, partition: int, offset: int, records_max: int) -> Sequence[Record]:
        return [record for record in self.of(topic, partition) if record.offset >= offset][:records_max]

    def forget_commits(self, count: int) -> None:
        """Let every group stand where it stood `count` of all commits ago, at most at its beginning."""
        for _ in range(min(count, len(self.history))):
            noted, before = self.history.pop()
            noted.clear()
            noted.update(before)

    async def trim(self, topic: str, *, before_ms: int) -> int:
        raise NotImplementedError

    async def close(self) -> None:
        return


@dataclass
class MemoryReader:
    """Reads from what its group committed. `moves` are told, and take effect, at the next poll."""

    log: MemoryLog
    topic: str
    noted: dict[int, Committed]
    moves: list[tuple[str, int]]  # "assign" or "revoke", and the partition
    at: dict[int, int] = field(default_factory=dict[int, int])

    async def poll(self, *, records_max: int, timeout_ms: int) -> Sequence[Assigned | Revoked | Batch]:  # noqa: ARG002  # never waits
        await asyncio.sleep(0)
        if self.moves:
            moves, self.moves = self.moves, []
            return [
                self._assign(partition) if move == "assign" else self._revoke(partition) for move, partition in moves
            ]
        found: list[Batch] = []
        for partition, start in self.at.items() if records_max else ():
            records = await self.log.read(self.topic, partition, start, records_max)
            if records:
                found.append(Batch(partition, records))
                self.at[partition] = records[-1].offset + 1
        return found

    def _assign(self, partition: int) -> Assigned:
        noted = self.noted.get(partition, Committed(0))
        self.at[partition] = noted.next_offset
        return Assigned(partition, noted.next_offset, metadata=noted.metadata)

    def _revoke(self, partition: int) -> Revoked:
        del self.at[partition]
        return Revoked(partition)

    async def commit(self, offsets: Mapping[int, Committed]) -> None:
        assert all(len(committed.metadata) <= METADATA_BYTES_MAX for committed in offsets.values())
        assert set(offsets) <= set(self.at), "a commit for a partition that was revoked"
        self.log.faults.around("commit", lambda: self._note(offsets))

    def _note(self, offsets: Mapping[int, Committed]) -> None:
        self.log.history.append((self.noted, dict(self.noted)))
        self.noted.update(offsets)

    async def committed(self) -> Mapping[int, Committed]:
        return {p: self.noted.get(p, Committed(0)) for p in range(self.log.partitions(self.topic))}

    async def seek(self, partition: int, offset: int) -> None:
        self.at[partition] = offset

    async def close(self) -> None:
        return


@dataclass
class MemoryTables:
    """An engine that drops a token it has seen, part by part, as ClickHouse does; a part is a day of `occurred`.

    A token that comes again with other rows fails the test: the real engine would lose or double rows there.
    Rows that hold "poison" are refused. `troubles` are raised one a call, before or after acting, or
    when the server was killed and only claims to have acted, or goes on acting "later". Killed "amid" an
    insert it has the first part of it; where `claims`, the view and the next part know the token and have no rows.
    """

    faults: Faults = field(default_factory=Faults)
    parts: dict[tuple[str, str, str], list[bytes]] = field(default_factory=dict[tuple[str, str, str], list[bytes]])
    troubles: list[str] = field(default_factory=list[str])
    claims: bool = False
    erased_before: dict[str, int] = field(default_factory=dict[str, int])
    claimed: dict[tuple[str, str, str], list[bytes]] = field(default_factory=dict[tuple[str, str, str], list[bytes]])
    unfolded: set[tuple[str, str, str]] = field(default_factory=set[tuple[str, str, str]])  # the same of the view
    views: set[bytes] = field(default_factory=set[bytes])  # the rows that were folded into the view
    running: list[tuple[str, str, dict[str, list[bytes]]]] = field(
        default_factory=list[tuple[str, str, dict[str, list[bytes]]]]
    )  # inserts whose callers gave them up: table, token and the parts to come, one a call

    async def insert(self, table: str, body: bytes, token: str) -> None:
        self._go_on()
        if any(token == of for _, of, _ in self.running):
            raise EngineTrouble("a query of this id is running", "known")
        rows = body.split(b"\n")
        for index, row in enumerate(rows):
            if b"poison" in row:
                self.faults.around(f"refuse {table}", lambda: None)
                raise RowRefused(index, "poison")
        trouble = self.troubles.pop() if self.troubles else ""
        if trouble == "before":
            raise EngineTrouble("the disk is full", "known")
        parts = _parts(rows)
        if trouble == "later":
            self.running.append((table, token, parts))
            raise EngineTrouble("no answer came", "unknown")
        if trouble == "claimed":
            self.claimed |= {(table, token, day): part for day, part in parts.items()}
            raise EngineTrouble("the server was killed", "unknown")
        self.faults.around(
            f"insert {table}",
            lambda: self._write(table, token, parts),
            amid=lambda: self._write_first(table, token, parts),
        )
        await asyncio.sleep(0)
        if trouble == "after":
            raise EngineTrouble("no answer came", "unknown")

    async def held(self, table: str, span: Span) -> set[int]:
        found = self.faults.around(f"look {table}", lambda: {_place(row)[0] for row in self._in(table, span)})
        self._go_on()
        return found

    def end_inserts(self) -> None:
        """Let inserts that go on without their callers come to their ends."""
        while self.running:
            self._go_on()

    def _go_on(self) -> None:
        """Let the next part of an insert that goes on without its caller be there."""
        if self.running:
            table, token, parts = self.running[0]
            day = next(iter(parts))
            self._write(table, token, {day: parts.pop(day)})
            if not parts:
                del self.running[0]

    async def erased(self) -> Mapping[str, int]:
        return self.erased_before

    async def fold_again(self, table: str, span: Span) -> None:
        self.faults.around(f"fold {table}", lambda: self.views.update(self._in(table, span)))

    def _in(self, table: str, span: Span) -> list[bytes]:
        return [
            row
            for (name, _, _), rows in self.parts.items()
            for row in rows
            if name == table and _log(row) == (span.log_id, span.partition)
            if span.start <= _place(row)[0] < span.end and span.first_ms <= _place(row)[1] <= span.last_ms
        ]

    def _write_first(self, table: str, token: str, parts: Mapping[str, list[bytes]]) -> None:
        (day, rows), *others = parts.items()
        if not self.claims:
            self._write(table, token, {day: rows})
        elif others:
            self.unfolded.add((table, token, day))
            self._write(table, token, {day: rows})
            self.claimed[table, token, others[0][0]] = others[0][1]
        else:
            self.claimed[table, token, day] = rows

    def _write(self, table: str, token: str, parts: Mapping[str, list[bytes]]) -> None:
        for day, rows in parts.items():
            part = (table, token, day)
            known = self.claimed.get(part) or self.parts.setdefault(part, rows)
            assert known == rows, f"token {token} came with other rows"
            if part not in self.claimed and part not in self.unfolded:
                self.views.update(rows)

    def rows(self, table: str) -> list[dict[str, object]]:
        found = [row for (name, _, _), rows in self.parts.items() if name == table for row in rows]
        return [msgspec.json.decode(row, type=dict[str, object]) for row in found]


def _log(row: bytes) -> tuple[str, int]:
    told = msgspec.json.decode(row)
    return told["_log"], told["_partition"]


def _place(row: bytes) -> tuple[int, int]:
    told = msgspec.json.decode(row)
    return told["_offset"], round(float(told["_append"]) * 1000)


def _parts(rows: Sequence[bytes]) -> dict[str, list[bytes]]:
    parts: dict[str, list[bytes]] = {}
    for row in rows:
        day = str(msgspec.json.decode(row, type=dict[str, object]).get("occurred", ""))[:10]
        parts.setdefault(day, []).append(row)
    return parts

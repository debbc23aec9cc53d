"""The `Log` port: partitions, offsets, append time, groups, and the atomic step.

    append ──► [ p0: 0 1 2 3 … ]  ──► Reader  at least once; commits offsets with metadata   (matcher, sink)
               [ p1: 0 1 2 …   ]  ──► Steps   exactly once: state + outputs + offsets as one (detector, notifier)

Contract, which every adapter passes in tests/contract/:

* `append` returns when the records are durable. Offsets of a partition grow in append order; gaps are legal.
* The log stamps `append_ms` at append, unless history is loaded with its recorded times.
* A `Reader` sees each partition in offset order from its committed offset (0 at first), and may see a record
  again after a restart, never skip one.
* Both are told which partitions are theirs (Assigned) before any record of them, and when one no longer is
  (Revoked). After Revoked nothing more is committed for that partition: whoever has it next goes on from what was.
* A `Steps` commit makes state changes, outputs and the next offset visible together or not at all. Opening a
  group again fences whoever had it: their next commit raises Fenced and changes nothing.
* Nothing is trimmed before every group that was ever opened on the topic has passed it.
* `log_id` is made with the log and never changes; a new or restored log has another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from flowgauge.schemas.topics import RecordKind

METADATA_BYTES_MAX = 4_096  # what Kafka keeps beside a committed offset (offset.metadata.max.bytes)
STATE_RECORD_BYTES_MAX = 262_144  # no state record passes 256 kB


class Record(NamedTuple):
    """One record as read."""

    offset: int
    append_ms: int  # the log's stamp; the partition clock of schemas.clock makes the trusted time of it
    kind: RecordKind
    key: str
    value: bytes | None  # None is a tombstone, in compacted topics only


class Outgoing(NamedTuple):
    """One record to append. `append_ms` is set only while history is loaded."""

    partition: int
    key: str
    value: bytes | None
    kind: RecordKind = RecordKind.EVENT
    append_ms: int | None = None


class Output(NamedTuple):
    """One record that a step writes to a topic."""

    topic: str
    record: Outgoing


class Committed(NamedTuple):
    """Where a group goes on reading, with what it noted there."""

    next_offset: int
    metadata: str = ""


NEW = Committed(0, "")  # of a group that was never there


@dataclass(frozen=True, slots=True)
class Batch:
    """Some consecutive records of one partition, in offset order, never empty."""

    partition: int
    records: Sequence[Record]

    @property
    def next_offset(self) -> int:
        """The offset after the last record."""
        return self.records[-1].offset + 1


@dataclass(frozen=True, slots=True)
class Assigned:
    """This process owns the partition now: everything the group ever committed about it."""

    partition: int
    next_offset: int
    state: Mapping[str, bytes] = field(default_factory=dict[str, bytes])  # of Steps
    metadata: str = ""  # of a Reader

    @property
    def committed(self) -> Committed:
        """Where a Reader goes on, with what it noted there."""
        return Committed(self.next_offset, self.metadata)


@dataclass(frozen=True, slots=True)
class Revoked:
    """This process no longer owns the partition; its commits for it would be fenced."""

    partition: int


class Reader(Protocol):
    """At-least-once reading with committed offsets."""

    async def poll(self, *, records_max: int, timeout_ms: int) -> Sequence[Assigned | Revoked | Batch]:
        """Return changes of what is owned, else what can be read now, else wait up to `timeout_ms` for either.

        Batches hold at most about `records_max` records together. A poll that tells changes brings no records. One
        with `records_max` 0 never does: it keeps the reader's place in its group while records it has must wait.
        Raises Transient when the log cannot tell now what changed: poll again, nothing is lost.
        """
        ...

    async def commit(self, offsets: Mapping[int, Committed]) -> None:
        """Note where each partition goes on, durably. Metadata is at most METADATA_BYTES_MAX bytes.

        Raises Fenced when one of them is no longer owned.
        """
        ...

    async def committed(self) -> Mapping[int, Committed]:
        """Return the committed offset of each partition owned; (0, "") where nothing was committed."""
        ...

    async def seek(self, partition: int, offset: int) -> None:
        """Read `partition` from `offset` at the next poll."""
        ...

    async def close(self) -> None:
        """Let go; nothing is committed."""
        ...


class Steps(Protocol):
    """Exactly-once stages: state, outputs and offsets change as one."""

    async def poll(self, *, records_max: int, timeout_ms: int) -> Sequence[Assigned | Revoked | Batch]:
        """Return as a Reader does; each assignment comes with its restored state."""
        ...

    async def commit(
        self,
        partition: int,
        *,
        next_offset: int | None,
        state: Mapping[str, bytes | None],
        outputs: Sequence[Output],
    ) -> None:
        """Make one step of `partition` durable; `next_offset` None keeps the offset; a None value deletes.

        Raises Fenced when another process has opened the group since.
        """
        ...

    async def close(self) -> None:
        """Let go; what was not committed is as if it never happened."""
        ...


class Log(Protocol):
    """A partitioned, durable, append-only log with its own clock."""

    @property
    def log_id(self) -> str:
        """The identity of this log: positions and insert tokens name it."""
        ...

    def partitions(self, topic: str) -> int:
        """Return how many partitions `topic` has."""
        ...

    async def append(self, topic: str, records: Sequence[Outgoing]) -> Sequence[int]:
        """Append and return each record's offset, once all are durable. Order per partition is kept.

        Raises Transient when the log cannot take them now (disk full): nothing was appended.
        """
        ...

    async def open_reader(self, topic: str, group: str) -> Reader:
        """Join `group` on `topic`."""
        ...

    async def open_steps(self, topic: str, group: str) -> Steps:
        """Own `topic` for `group`, fencing whoever did before."""
        ...

    async def ends(self, topic: str) -> Mapping[int, int]:
        """Return the next offset of each partition of `topic`."""
        ...

    async def committed(self, topic: str, group: str) -> Mapping[int, Committed]:
        """Return where `group` stands on each partition of `topic`, whoever owns it; (0, "") where it never was."""
        ...

    async def read(self, topic: str, partition: int, offset: int, records_max: int) -> Sequence[Record]:
        """Return records from `offset` on without any group: for tools, restore and compacted topics."""
        ...

    async def trim(self, topic: str, *, before_ms: int) -> int:
        """Drop records appended before `before_ms` that every group has passed; return how many."""
        ...

    async def close(self) -> None:
        """Finish what is queued, then close."""
        ...

"""One process's part in a Kafka group on one topic: which partitions are ours, and their records.

    broker: rebalance ──► on_partitions_revoked   waits until the shell has polled, so that it commits nothing after
                      ──► on_partitions_assigned  the next poll tells it

No lock spans the listener and a fetch: that deadlocks (aiokafka #335). The listener only notes what is to be told
and a waiting fetch ends at once. A shell that does not poll for REVOKE_WAIT_MS loses its partitions: its next
commit raises Fenced. So does that of a member which the group has put out, for good: it never joins again, because
aiokafka would take the partitions back from the process that has them now.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

from flowgauge.schemas.errors import Fenced, FlowgaugeError, InvariantBroken, Transient
from flowgauge.transport import metrics
from flowgauge.transport.kafka_client import (
    REBALANCE_MS_MAX,
    Connection,
    Consumer,
    TopicPartition,
    leave,
    new_consumer,
    raise_refusal,
    start,
    subscribe,
    told,
    was_evicted,
)
from flowgauge.transport.kafka_fetched import read_as_records
from flowgauge.transport.kafka_records import Fetched, from_kafka
from flowgauge.transport.kafka_standstill import LOOK_S_MAX, Standstill
from flowgauge.transport.log import Batch, Committed, Record

REVOKE_WAIT_MS = REBALANCE_MS_MAX * 2 // 3  # leaves time to join again before the group goes on without us
JOIN_MS_MAX = 2 * REBALANCE_MS_MAX
JOIN_LOOK_MS = 100  # between looks for what brokers refuse us for

Found = Mapping[TopicPartition, Sequence[Fetched | Record]]


@dataclass(frozen=True, slots=True)
class Changes:
    """What the shell is to be told: first what is gone, then what is new."""

    revoked: Sequence[int]
    assigned: Sequence[int]


class Membership:
    """A member of `group` on `topic`. `join` first; used by one task at a time."""

    def __init__(self, connection: Connection, group: str, topic: str) -> None:
        self._connection = connection
        self.topic = topic
        self._rebalances = metrics.of(metrics.REBALANCES, topic, group)
        self._topic = connection.names.topic(topic)
        self._group = connection.names.group(group, topic)
        self._consumer: Consumer = new_consumer(connection, self._group)
        self._held: set[int] = set()  # ours, by the group
        self._told: set[int] = set()  # ours, as far as the shell knows
        self._stale: set[int] = set()  # taken away without waiting for the shell
        self._next: dict[int, int] = {}  # partition → offset after what was given to the shell
        self._pending: Changes | None = None
        self._is_taking = False  # the shell makes ready what was pending when it asked
        self._changed = asyncio.Event()  # something is pending
        self._acknowledged = asyncio.Event()
        self._joined = asyncio.Event()
        self._ended = ""  # why nothing more is possible
        self._turn = 0
        self._standstill = Standstill(monotonic)

    @property
    def group(self) -> str:
        """The name of the group in Kafka."""
        return self._group

    @property
    def owned(self) -> frozenset[int]:
        """The partitions that are ours, as far as the shell knows."""
        return frozenset(self._told)

    async def join(self) -> None:
        """Return when the group has assigned us our share, which may be nothing."""
        try:
            async with told(self._connection, f"join group {self._group}"):
                await start(self._consumer)
            subscribe(self._consumer, self._topic, self)
            async with asyncio.timeout(JOIN_MS_MAX / 1000):
                await self._wait_until_joined()
        except BaseException as error:
            await self.leave()
            if isinstance(error, TimeoutError):
                raise Transient(f"group {self._group} did not let us in within {JOIN_MS_MAX // 1000} s") from error
            raise

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002  # eager: all
        """Wait until the shell knows; aiokafka joins again when this returns."""
        if self._joined.is_set() and was_evicted(self._consumer):
            self._ended = (
                f"group {self._group} goes on without us: another process took over, or this one was silent for "
                f"{self._connection.session_ms} ms; it ends (if two are to run, give each its own kafka.instance: "
                f"this one is {self._connection.instance!r})"
            )
            self._changed.set()
            raise asyncio.CancelledError  # ends aiokafka's coordination: an Exception would be logged and ignored
        self._pending = Changes(sorted(self._told), ())
        if self._told or self._is_taking:
            self._acknowledged.clear()
            self._changed.set()
            await self._wait_for_shell()
        self._held.clear()
        if self._ended:
            raise asyncio.CancelledError

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Note what is ours now."""
        self._rebalances.inc()
        self._held = {at.partition for at in assigned}
        self._pending = Changes(self._pending.revoked if self._pending else (), sorted(self._held))
        self._joined.set()
        self._changed.set()

    def changes(self) -> Changes | None:
        """Return what the shell is to be told; make it ready, then `note_told`. Raises Fenced when put out."""
        self._check()
        self._is_taking = self._pending is not None
        return self._pending

    def note_told(self, changes: Changes) -> bool:
        """Go on: the shell commits nothing more for what was revoked.

        False when the group has moved on while it was made ready: drop it, nobody was told, and ask for `changes`.
        """
        if self._pending is not changes:
            return False
        self._told = (self._told - set(changes.revoked)) | set(changes.assigned)
        self._standstill.begin()
        self._stale.clear()
        self._pending = None
        self._is_taking = False
        self._changed.clear()
        self._acknowledged.set()
        return True

    def seek(self, partition: int, offset: int) -> None:
        """Go on at `offset`; what was fetched before is dropped. Nothing happens where the group has moved on."""
        if partition in self._held:
            self._next[partition] = offset
            self._consumer.seek(self._at(partition), offset)

    async def fetch(self, records_max: int, timeout_ms: int) -> list[Batch]:
        """Return records, beginning with another partition each time; nothing after `timeout_ms` or at a change."""
        self._check()
        if records_max < 1:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_ms / 1000):
                    await self._changed.wait()
            return []
        left = records_max
        batches: list[Batch] = []
        async with told(self._connection, f"read {self._topic}"):
            for partition in self._in_turn():
                if self._changed.is_set() or not left:  # a getmany within a rebalance would wait for its end
                    break
                read_as_records(self._consumer)
                try:
                    batches += self._batches(
                        await self._consumer.getmany(self._at(partition), timeout_ms=0, max_records=left)
                    )
                except InvariantBroken:
                    if batches:  # it is told at the next poll
                        return batches
                    raise
                left -= len(batches[-1].records) if batches and batches[-1].partition == partition else 0
        if not batches and not self._changed.is_set():
            batches = self._batches(await self._wait_for_records(left, timeout_ms))
        self._standstill.note(batch.partition for batch in batches)
        if not self._changed.is_set() and (silent := self._standstill.to_be_looked_at(self._told)):
            await self._look_whether_they_stand_still(silent)
        return batches

    async def commit(self, offsets: Mapping[int, Committed]) -> None:
        """Commit for partitions that are ours. Raises Fenced for one that is not, Transient when no broker answers."""
        self._check()
        for partition in offsets:
            if partition not in self._held or partition in self._stale:
                raise Fenced(f"{self._topic} partition {partition} is no longer ours in group {self._group}")
        noted = {self._at(partition): (at.next_offset, at.metadata) for partition, at in offsets.items()}
        async with told(self._connection, f"commit in group {self._group}"):
            await self._consumer.commit(noted)

    async def _look_whether_they_stand_still(self, silent: Sequence[int]) -> None:
        """Raise StoodStill when records of `silent` partitions wait for us that aiokafka does not fetch."""
        places: dict[int, tuple[int, int]] = {}
        with contextlib.suppress(
            FlowgaugeError, TimeoutError
        ):  # brokers are away, or partitions move: the next poll tells
            async with asyncio.timeout(LOOK_S_MAX), told(self._connection, f"look whether {self._topic} has more"):
                ends = await self._consumer.end_offsets([self._at(partition) for partition in silent])
                places = {at.partition: (await self._consumer.position(at), end) for at, end in ends.items()}
        self._standstill.look(places, f"group {self._group}")

    async def readable_ends(self, ends: Mapping[int, int]) -> Mapping[int, int]:
        """Return `ends` without the transaction markers that stand after the last record we were given."""
        found = dict(ends)
        for partition in self._held & set(self._next):
            if await self._consumer.position(self._at(partition)) >= found[partition]:
                found[partition] = min(found[partition], self._next[partition])
        return found

    def held(self) -> set[int]:
        """Return the partitions that the group says are ours."""
        self._check()
        return set(self._held)

    async def leave(self) -> None:
        """Let go. The group keeps our place for a while, so that a quick restart moves nothing."""
        self._ended = self._ended or f"this reader of group {self._group} is closed"
        self._changed.set()
        self._acknowledged.set()
        await leave(self._consumer)

    async def _wait_until_joined(self) -> None:
        while not self._joined.is_set():
            async with told(self._connection, f"join group {self._group}"):
                raise_refusal(self._consumer)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(JOIN_LOOK_MS / 1000):
                    await self._joined.wait()

    async def _wait_for_shell(self) -> None:
        try:
            async with asyncio.timeout(REVOKE_WAIT_MS / 1000):
                await self._acknowledged.wait()
        except TimeoutError:
            self._stale = set(self._told)

    async def _wait_for_records(
        self, records_max: int, timeout_ms: int
    ) -> Mapping[TopicPartition, Sequence[Fetched | Record]]:
        getting = asyncio.ensure_future(self._consumer.getmany(timeout_ms=timeout_ms, max_records=records_max))
        changing = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({getting, changing}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if getting.done() and not getting.cancelled():  # what it took goes back, or it would be lost
                for at, fetched in getting.result().items():
                    self._consumer.seek(at, fetched[0].offset)
            raise
        finally:
            getting.cancel()
            changing.cancel()
            await asyncio.gather(getting, changing, return_exceptions=True)
        self._check()
        if getting.cancelled():
            return {}
        async with told(self._connection, f"read {self._topic}"):
            return getting.result()

    def _batches(self, found: Found) -> list[Batch]:
        """Return what was found. Where a record cannot be read, nothing of it counts as read: it is told each time."""
        batches: list[Batch] = []
        try:
            for at, fetched in found.items():
                records = from_kafka(fetched, f"{at.topic} partition {at.partition}")
                begin = self._next.get(at.partition, 0)
                if records and records[0].offset < begin:  # fetched before a seek
                    records = [each for each in records if each.offset >= begin]
                if records:
                    batches.append(Batch(at.partition, records))
        except InvariantBroken:
            for at in found:
                self._consumer.seek(at, self._next.get(at.partition, 0))
            raise
        for batch in batches:
            self._next[batch.partition] = batch.next_offset
        return batches

    def _in_turn(self) -> list[int]:
        order = sorted(self._told)
        self._turn = (self._turn + 1) % max(len(order), 1)
        return order[self._turn :] + order[: self._turn]

    def _at(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)

    def _check(self) -> None:
        if "closed" in self._ended:
            raise InvariantBroken(self._ended)
        if self._ended:
            raise Fenced(self._ended)

"""At-least-once reading of a topic in Kafka: partitions by its group, offsets and metadata committed by hand."""

from collections.abc import Callable, Mapping, Sequence

from flowgauge.schemas.errors import BadEnvironment, InvariantBroken, LogMismatch
from flowgauge.transport.kafka_members import Membership
from flowgauge.transport.kafka_reading import KafkaReading
from flowgauge.transport.log import METADATA_BYTES_MAX, NEW, Assigned, Batch, Committed, Revoked


class KafkaReader:
    """A Reader. `open_reader` of KafkaLog makes it."""

    def __init__(self, reading: KafkaReading, membership: Membership, *, group: str, topic: str) -> None:
        self._reading = reading
        self._group = group
        self._topic = topic
        self._untold: list[Assigned | Revoked] = []
        self.membership = membership
        self.on_close: Callable[[], None] = lambda: None

    async def open(self) -> None:
        """Join, and let the group be known on each of our partitions: what it has not passed is not trimmed."""
        await self.membership.join()
        await self._take_changes()

    async def poll(self, *, records_max: int, timeout_ms: int) -> Sequence[Assigned | Revoked | Batch]:
        """Return changes of what is owned, else records, else wait up to `timeout_ms` for either.

        Raises Fenced when another process joined under our instance id, or the group put us out.
        """
        await self._take_changes()
        if not self._untold:
            if batches := await self.membership.fetch(records_max, timeout_ms):
                return batches
            await self._take_changes()
        untold, self._untold = self._untold, []
        return untold

    async def commit(self, offsets: Mapping[int, Committed]) -> None:
        """Note where each partition goes on, durably."""
        for partition, at in offsets.items():
            size = len(at.metadata.encode())
            if size > METADATA_BYTES_MAX:
                where = f"{self._topic} partition {partition}, group {self._group}"
                raise InvariantBroken(f"metadata of {size} bytes, more than {METADATA_BYTES_MAX}: {where}")
        await self.membership.commit(offsets)

    async def committed(self) -> Mapping[int, Committed]:
        """Return what the group committed for each partition that is ours."""
        held = self.membership.held()
        found = await self._reading.committed(self._group, self._topic)
        return {partition: found.get(partition, NEW) for partition in sorted(held)}

    async def seek(self, partition: int, offset: int) -> None:
        """Read `partition` from `offset` at the next poll."""
        self.membership.seek(partition, offset)

    async def close(self) -> None:
        """Let go; nothing is committed."""
        self.on_close()
        await self.membership.leave()

    async def _take_changes(self) -> None:
        """Go to where the group stands on what is new."""
        while (changes := self.membership.changes()) is not None:
            told: list[Assigned | Revoked] = [Revoked(partition) for partition in changes.revoked]
            if changes.assigned:
                found = await register(self._reading, self.membership, self._group, self._topic)
                for partition in changes.assigned:
                    at = found.get(partition, NEW)  # not there: the group has moved on, and this is dropped
                    self.membership.seek(partition, at.next_offset)
                    told.append(Assigned(partition, at.next_offset, metadata=at.metadata))
            if self.membership.note_told(changes):
                self._untold += told


async def register(reading: KafkaReading, membership: Membership, group: str, topic: str) -> dict[int, Committed]:
    """Return where the group stands on each partition that is ours, after noting the beginning where it is new.

    Raises BadEnvironment for a partition that was added since the log was opened: it would be taken for a new one.
    """
    if any(partition >= reading.partitions(topic) for partition in membership.held()):
        raise BadEnvironment(
            f"{topic} has more partitions than the {reading.partitions(topic)} that this process knows of: start it "
            "again, with partitions set as the topic has them"
        )
    found = await reading.committed(group, topic)
    held = membership.held()
    new = dict.fromkeys(held - found.keys(), NEW)
    if new:
        await membership.commit(new)
    owned = {partition: at for partition, at in found.items() if partition in held}
    await check_positions(reading, topic, {partition: at.next_offset for partition, at in owned.items()}, group)
    return owned | new


async def check_positions(reading: KafkaReading, topic: str, positions: Mapping[int, int], group: str) -> None:
    """Raise LogMismatch where a group stands beyond the end, or before what is left: records it never saw."""
    if not any(positions.values()):
        return
    begins, ends = await reading.begins(topic), await reading.ends(topic)
    for partition, at in positions.items():
        where = f"group {group} stands at offset {at} of {topic} partition {partition}"
        if at > ends[partition]:
            raise LogMismatch(
                f"{where}, which ends at {ends[partition]}: the topic was deleted or restored from an older backup. "
                "Restore the newer one, or begin a new log under another kafka.prefix"
            )
        if 0 < at < begins[partition]:
            raise LogMismatch(
                f"{where}, which begins at {begins[partition]}: records were deleted before it read them. Raise the "
                "topic's retention; to go on without them, set the group's offset to the beginning with "
                "kafka-consumer-groups --reset-offsets --to-earliest"
            )

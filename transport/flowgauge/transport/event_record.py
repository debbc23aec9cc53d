"""The record that an event becomes in the log: its bytes, its key, its partition. Pure.

The one place where that is decided, so that a gateway and a publisher that writes to Kafka itself make the same
record of the same event, and a run stays in one partition and in order whoever tells of it.
"""

from flowgauge.schemas.canonical import canonical
from flowgauge.schemas.event import partition_key
from flowgauge.schemas.ids import events_partition
from flowgauge.transport.log import Outgoing


def event_record(raw: bytes, *, tenant: str, append_ms: int, partitions: int) -> Outgoing:
    """Return what to append at about `append_ms` for what a sender of `tenant` wrote. Raises InvalidEvent."""
    value, event = canonical(raw, tenant=tenant, append_ms=append_ms)
    key = partition_key(event)
    return Outgoing(events_partition(key, partitions), key, value)

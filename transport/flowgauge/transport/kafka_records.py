"""Records of the `Log` port as records of Kafka. Pure.

A plain event travels without headers. What is not an event has its kind in one, and history that is loaded the append
time it was recorded with; all else has the broker's own (topics are made with LogAppendTime).
"""

from collections.abc import Sequence
from typing import Protocol

from flowgauge.schemas.errors import InvariantBroken
from flowgauge.schemas.topics import COMPACTED, RecordKind
from flowgauge.transport.log import STATE_RECORD_BYTES_MAX, Outgoing, Record

KIND_HEADER = "fg-kind"
APPEND_HEADER = "fg-append"

Header = tuple[str, bytes]


class Fetched(Protocol):
    """What we use of a record that aiokafka fetched."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]


def from_kafka(fetched: Sequence[Fetched], where: str) -> list[Record]:
    """Return the records of `fetched`. Raises InvariantBroken for a kind of record that this program does not know."""
    event = RecordKind.EVENT
    return [
        Record(each.offset, each.timestamp, event, each.key.decode(errors="replace") if each.key else "", each.value)
        if not each.headers
        else _with_headers(each, where)
        for each in fetched
    ]


def headers_of(record: Outgoing) -> list[Header]:
    """Return the headers that `record` needs."""
    headers: list[Header] = []
    if record.kind != RecordKind.EVENT:
        headers.append((KIND_HEADER, b"%d" % record.kind))
    if record.append_ms is not None:
        headers.append((APPEND_HEADER, b"%d" % record.append_ms))
    return headers


def check_outgoing(topic: str, records: Sequence[Outgoing], partitions: int) -> None:
    """Raise InvariantBroken, before anything is sent, when one of `records` cannot stand in `topic`."""
    for record in records:
        if not 0 <= record.partition < partitions:
            raise InvariantBroken(f"{topic} has no partition {record.partition} in this log")
        if record.value is None and topic not in COMPACTED:
            raise InvariantBroken(f"a record without a value for {topic}: only compacted topics have tombstones")


def check_state_size(name: str, value: bytes | None, where: str) -> None:
    """Raise InvariantBroken when a state record is larger than the port says."""
    if value is not None and len(value) > STATE_RECORD_BYTES_MAX:
        raise InvariantBroken(
            f"state {name!r} of {where} has {len(value)} bytes, more than {STATE_RECORD_BYTES_MAX}: split it"
        )


def _with_headers(fetched: Fetched, where: str) -> Record:
    kind, append_ms = RecordKind.EVENT, fetched.timestamp
    for name, value in fetched.headers:  # others may be anybody's
        try:
            if name == KIND_HEADER:
                kind = RecordKind(int(value))
            elif name == APPEND_HEADER:
                append_ms = int(value)
        except ValueError:
            raise InvariantBroken(
                f"{where} offset {fetched.offset}: header {name} is {value[:40]!r}, which this program does not know: "
                "update it to the version that wrote that"
            ) from None
    key = (fetched.key or b"").decode(errors="replace")
    return Record(fetched.offset, append_ms, kind, key, fetched.value)

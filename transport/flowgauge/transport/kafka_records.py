"""Records of the `Log` port as records of Kafka. Pure.

A plain event travels without headers. What is not an event has its kind in one, and history that is loaded the append
time it was recorded with; all else has the broker's own (topics are made with LogAppendTime).
"""

from collections.abc import Callable, Sequence
from typing import Protocol, cast

from flowgauge.schemas.errors import InvariantBroken
from flowgauge.schemas.topics import COMPACTED, RecordKind
from flowgauge.transport.log import STATE_RECORD_BYTES_MAX, Outgoing, Record

KIND_HEADER = "fg-kind"
APPEND_HEADER = "fg-append"

RECORD_BYTES_MAX = 4 * 1_048_576 - 4_096  # what brokers take as one batch, less what a header and a codec add

Header = tuple[str, bytes | None]


# What Record(…) calls, without the call between.
_new_record = cast("Callable[[type[Record], tuple[object, ...]], Record]", tuple.__new__)


class Fetched(Protocol):
    """What we use of a record that aiokafka fetched."""

    @property
    def offset(self) -> int: ...  # noqa: D102  # Kafka's words
    @property
    def timestamp(self) -> int: ...  # noqa: D102
    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102
    @property
    def headers(self) -> Sequence[Header]: ...  # noqa: D102


def from_kafka(fetched: Sequence[Fetched | Record], where: str) -> list[Record]:
    """Return the records of `fetched`. Raises InvariantBroken for a kind of record that this program does not know."""
    read = reader_of(where)  # what came from one fetch is of one type
    if fetched and isinstance(fetched[0], Record):
        return cast("list[Record]", fetched)
    return [read(None, cast("Fetched", each)) for each in fetched]


def reader_of(where: str) -> Callable[[object, Fetched], Record]:
    """Return what makes a Record of one that was fetched from `where`, in the form that aiokafka calls."""
    event = RecordKind.EVENT

    def read(_at: object, each: Fetched) -> Record:
        if each.headers:
            return _with_headers(each, where)
        key = each.key  # for an event of 750 bytes this function is a third of reading it, so it is spelt out
        return _new_record(
            Record, (each.offset, each.timestamp, event, str(key, "utf-8", "replace") if key else "", each.value)
        )

    return read


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
        if record.value is None:
            if topic not in COMPACTED:
                raise InvariantBroken(f"a record without a value for {topic}: only compacted topics have tombstones")
        elif len(record.key) + len(record.value) > RECORD_BYTES_MAX:
            raise InvariantBroken(
                f"{topic} partition {record.partition}: a record of {len(record.value)} bytes under key "
                f"{record.key[:80]!r} is too large: no record passes {RECORD_BYTES_MAX} bytes (max.message.bytes)"
            )


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
                kind = RecordKind(int(value or b""))
            elif name == APPEND_HEADER:
                append_ms = int(value or b"")
        except ValueError:
            raise InvariantBroken(
                f"{where} offset {fetched.offset}: header {name} is {(value or b'')[:40]!r}, which this program does "
                "not know: update it to the version that wrote that"
            ) from None
    key = (fetched.key or b"").decode(errors="replace")
    return Record(fetched.offset, append_ms, kind, key, fetched.value)

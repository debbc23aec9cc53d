"""How the SQLite log packs records: columns on the way in, blocks at rest, Records on the way out.

    append([r0 r1 r2 …]) ──► Columns per partition ──► Block (msgpack, one row) ──► [Record, Record, …]

A row of SQLite costs some 10 µs and the GIL twice, whatever it holds, so a row holds up to BLOCK_RECORDS_MAX
records; columns are turned by `zip`, so that packing costs a fraction of a µs per record.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from typing import Any, cast

import msgspec

from flowgauge.schemas.errors import InvariantBroken
from flowgauge.schemas.topics import RecordKind
from flowgauge.transport.log import Outgoing, Record

BLOCK_RECORDS_MAX = 4_096  # a seek into a block decodes all of it: about 2 ms
BLOCK_BYTES_MAX = 4 * 1_048_576  # what one decode holds in memory; a single larger record is a block of its own

_KINDS = tuple(RecordKind)


class Block(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Consecutive records of one partition, as stored. A column with one value throughout stores it once."""

    append_ms: int | list[int]
    kinds: int | list[int]
    keys: list[str]
    values: list[bytes]


@dataclass(slots=True)
class Columns:
    """Records of one partition, not stored yet. `stamps` holds None where the log stamps."""

    kinds: list[RecordKind] = field(default_factory=list[RecordKind])
    keys: list[str] = field(default_factory=list[str])
    values: list[bytes | None] = field(default_factory=list["bytes | None"])
    stamps: list[int | None] = field(default_factory=list["int | None"])

    def __len__(self) -> int:
        return len(self.keys)

    def extend(self, other: "Columns") -> None:
        """Add the records of `other` after these."""
        self.kinds += other.kinds
        self.keys += other.keys
        self.values += other.values
        self.stamps += other.stamps


@dataclass(frozen=True, slots=True)
class Request:
    """What one append asks for: columns per partition, and where each record stood in the call."""

    parts: Sequence[tuple[int, Columns]]
    places: Sequence[Sequence[int]]  # places[i] are the indexes, in the call, of the records of parts[i]
    size: int  # bytes of keys and values, about


def pack_request(records: Sequence[Outgoing]) -> Request:
    """Sort the records of one append by partition, keeping their order within each."""
    if not records:
        return Request((), (), 0)
    partitions, keys, values, kinds, stamps = zip(*records, strict=True)
    size = sum(map(len, keys)) + _size(values)
    if len(set(partitions)) == 1:
        columns = Columns(list(kinds), list(keys), list(values), list(stamps))
        return Request(((partitions[0], columns),), (range(len(keys)),), size)
    places: dict[int, list[int]] = {}
    for place, partition in enumerate(partitions):
        places.setdefault(partition, []).append(place)
    parts = tuple((partition, _columns_of(records, chosen)) for partition, chosen in places.items())
    return Request(parts, tuple(places.values()), size)


def _size(values: Iterable[bytes | None]) -> int:
    return sum(map(len, filter(None, values)))


def _columns_of(records: Sequence[Outgoing], places: Iterable[int]) -> Columns:
    _, keys, values, kinds, stamps = zip(*(records[place] for place in places), strict=True)
    return Columns(list(kinds), list(keys), list(values), list(stamps))


def offsets_in_call_order(request: Request, bases: Sequence[int]) -> Sequence[int]:
    """Return the offset of each record of the call, given the base offset of each part."""
    if len(request.parts) == 1:
        return range(bases[0], bases[0] + len(request.places[0]))
    offsets = [0] * sum(map(len, request.places))
    for base, places in zip(bases, request.places, strict=True):
        for offset, place in enumerate(places, base):
            offsets[place] = offset
    return offsets


def stamp(columns: Columns, *, now_ms: int, last_ms: int) -> tuple[int | list[int], int]:
    """Return the append time of each record (one for all where it can) and the partition's newest stamp.

    A stamp of the log is never lower than any before it in the partition, so a wall clock that steps back
    shows as equal stamps. Recorded times of history are kept as they are.
    """
    stamp_ms = max(now_ms, last_ms)
    if columns.stamps.count(None) == len(columns.stamps):
        return stamp_ms, stamp_ms
    stamps: list[int] = []
    for recorded in columns.stamps:
        append_ms = max(now_ms, last_ms) if recorded is None else recorded
        last_ms = max(last_ms, append_ms)
        stamps.append(append_ms)
    return stamps, last_ms


def chunks(columns: Columns) -> Iterator[slice]:
    """Cut columns into slices that respect BLOCK_RECORDS_MAX and BLOCK_BYTES_MAX."""
    if len(columns) <= BLOCK_RECORDS_MAX and _size(columns.values) <= BLOCK_BYTES_MAX:
        yield slice(0, len(columns))
        return
    begin, size = 0, 0
    for place, value in enumerate(columns.values):
        length = len(value or b"")
        if place > begin and (place - begin >= BLOCK_RECORDS_MAX or size + length > BLOCK_BYTES_MAX):
            yield slice(begin, place)
            begin, size = place, 0
        size += length
    yield slice(begin, len(columns))


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Block).decode


def encode_block(columns: Columns, stamps: int | list[int], part: slice) -> bytes:
    """Return the stored form of one slice of `columns`. A tombstone here is a bug: only compaction reads them."""
    values = columns.values[part]
    if None in values:
        raise InvariantBroken("a record without a value, in a topic that is not compacted")
    kinds = columns.kinds[part]
    one_kind = kinds.count(kinds[0]) == len(kinds)
    return _encode(
        (
            stamps if isinstance(stamps, int) else stamps[part],
            int(kinds[0]) if one_kind else kinds,
            columns.keys[part],
            values,
        )
    )


def decode_block(base_offset: int, data: bytes) -> list[Record]:
    """Return the records of a stored block."""
    block = _decode(data)
    stamps = repeat(block.append_ms) if isinstance(block.append_ms, int) else block.append_ms
    kinds = repeat(_KINDS[block.kinds]) if isinstance(block.kinds, int) else map(_KINDS.__getitem__, block.kinds)
    offsets = range(base_offset, base_offset + len(block.keys))
    rows = zip(offsets, stamps, kinds, block.keys, block.values, strict=False)  # repeat() has no end
    return list(map(_record, rows))


# Builds a NamedTuple from a tuple of its width without the Python frame of its constructor: a third of the time.
_record = cast("Callable[[tuple[object, ...]], Record]", partial(cast("Any", tuple).__new__, Record))


def cut_block(base_offset: int, data: bytes, first_offset: int) -> bytes:
    """Return the stored form of the block without the records before `first_offset`."""
    block = _decode(data)
    part = slice(first_offset - base_offset, None)
    return _encode(
        Block(
            block.append_ms if isinstance(block.append_ms, int) else block.append_ms[part],
            block.kinds if isinstance(block.kinds, int) else block.kinds[part],
            block.keys[part],
            block.values[part],
        )
    )

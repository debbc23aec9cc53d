"""How the detector's state is stored: records of the state topic, each under 256 kB.

position              one record: every source's offset, clock and rules version; counters of chunks
k/UID/KEY/PART        one (rule, key); long ones in parts
w/NUMBER              samples that one step brought and that wait for their pane; dropped when all are final
i/UID/TENANT          the ids an immediate `event` rule has told of lately
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from flowgauge.processors.key_state import Key, KeyRecord
from flowgauge.schemas.errors import Unreadable
from flowgauge.schemas.ids import digest
from flowgauge.schemas.sample import Sample
from flowgauge.transport.log import STATE_RECORD_BYTES_MAX

PART_BYTES_MAX = STATE_RECORD_BYTES_MAX - 1_024  # leaves room for a record's key and headers
CHUNK_SAMPLES_MAX = 512  # at up to ~450 bytes each a chunk stays under the limit

POSITION = "position"


class SourcePosition(msgspec.Struct, array_like=True, gc=False):
    """How far one source was read."""

    next_offset: int = 0
    clock_ms: int = -1  # before anything was read
    rules_version: int = 0


STATE_FORMAT = 2  # of every record here and in the kinds' windows: another one is not read as if it were this


class PositionRecord(msgspec.Struct, array_like=True):
    """Where the detector stands. `switches`: version → source → clock at its marker, until it is in force.

    `ended` are the sets that were in force lately, each with when the next one came into force, oldest first.
    """

    log_id: str
    sources: list[SourcePosition]
    active_version: int
    switches: dict[int, dict[int, int]]
    state_format: int = 0
    ended: list[tuple[int, int]] = []


class Kept(msgspec.Struct, array_like=True):
    """Samples of one message, with their source and the rule set that their rule index means."""

    source: int
    rules_version: int
    samples: Sequence[Sample]


KeptFrom = tuple[int, int, Kept]  # first and last clock at which one of its samples is applied


encode = msgspec.msgpack.Encoder().encode
_position = msgspec.msgpack.Decoder(PositionRecord)
_key = msgspec.msgpack.Decoder(KeyRecord)
_chunk = msgspec.msgpack.Decoder(list[Kept])
_ids = msgspec.msgpack.Decoder(dict[str, int])

_T = TypeVar("_T")


def key_name(uid: str, key: Key) -> str:
    """Return the name under which the parts of (rule, key) are stored; keys may hold any text."""
    return f"k/{uid}/{digest(list(key))}"


def chunk_name(number: int) -> str:
    """Return the name of chunk `number`."""
    return f"w/{number}"


def ids_name(uid: str, key: Key) -> str:
    """Return the name of the ids that an immediate rule told of for a key."""
    return f"i/{uid}/{digest(list(key))}"


def parts_of(name: str, record: KeyRecord, stored_parts: int) -> tuple[dict[str, bytes | None], int]:
    """Return the records to write for a key, deletions of parts it no longer has, and how many it has now."""
    blob = encode(record)
    parts = [blob[start : start + PART_BYTES_MAX] for start in range(0, len(blob), PART_BYTES_MAX)]
    written: dict[str, bytes | None] = {f"{name}/{number}": part for number, part in enumerate(parts)}
    written.update({f"{name}/{number}": None for number in range(len(parts), stored_parts)})
    return written, len(parts)


def read_position(state: Mapping[str, bytes]) -> PositionRecord | None:
    """Return the stored position; None where the group never committed. As all that read here, raises Unreadable."""
    stored = state.get(POSITION)
    return _read(_position, POSITION, stored) if stored is not None else None


def read_keys(state: Mapping[str, bytes]) -> Iterator[tuple[KeyRecord, int]]:
    """Yield each stored key with the number of its parts."""
    parts: dict[str, dict[str, bytes]] = {}
    for name, value in state.items():
        if name.startswith("k/"):
            stem, _, number = name.rpartition("/")
            parts.setdefault(stem, {})[number] = value
    for stem, found in parts.items():
        # A part that is missing leaves what cannot be read.
        whole = b"".join(found.get(str(number), b"") for number in range(len(found)))
        yield _read(_key, stem, whole), len(found)


def read_chunks(state: Mapping[str, bytes]) -> Iterator[tuple[int, list[Kept]]]:
    """Yield the stored chunks by number, in the order they were written."""
    names = sorted(int(name.removeprefix("w/")) for name in state if name.startswith("w/"))
    for number in names:
        yield number, _read(_chunk, chunk_name(number), state[chunk_name(number)])


def read_ids(state: Mapping[str, bytes]) -> dict[str, dict[str, int]]:
    """Return the ids told of lately, by their record's name."""
    return {name: _read(_ids, name, value) for name, value in state.items() if name.startswith("i/")}


def _read(decoder: msgspec.msgpack.Decoder[_T], name: str, value: bytes) -> _T:
    try:
        return decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"what the detector keeps as {name!r}", error) from error


def chunks_of(kept: Sequence[KeptFrom]) -> Iterator[tuple[bytes, int, int]]:
    """Yield `kept` as chunks that each fit a record, with the first and last clock at which their samples apply."""
    gathered: list[KeptFrom] = []
    count = 0
    for item in kept:
        for part in _split(item, CHUNK_SAMPLES_MAX):
            if count + len(part[2].samples) > CHUNK_SAMPLES_MAX:
                yield from _fitting(gathered)
                gathered, count = [], 0
            gathered.append(part)
            count += len(part[2].samples)
    if gathered:
        yield from _fitting(gathered)


def _split(item: KeptFrom, size: int) -> Iterator[KeptFrom]:
    first_ms, last_ms, kept = item
    for start in range(0, len(kept.samples), size):
        yield first_ms, last_ms, Kept(kept.source, kept.rules_version, kept.samples[start : start + size])


def _fitting(kept: Sequence[KeptFrom]) -> Iterator[tuple[bytes, int, int]]:
    chunk = encode([item for _, _, item in kept])
    if len(chunk) <= PART_BYTES_MAX:
        yield chunk, min(first_ms for first_ms, _, _ in kept), max(last_ms for _, last_ms, _ in kept)
        return
    if len(kept) == 1:  # long names and keys: halve until it fits
        kept = list(_split(kept[0], (len(kept[0][2].samples) + 1) // 2))
    middle = len(kept) // 2
    yield from _fitting(kept[:middle])
    yield from _fitting(kept[middle:])

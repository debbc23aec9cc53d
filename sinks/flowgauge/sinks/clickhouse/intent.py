"""The intent: what a sink is about to insert, written beside its committed offset before it inserts. Pure.

    commit  (start, {intent: [start, end), skipped, clock at start})     written ahead
    insert  rows of [start, end)   token = log-topic-partition-start-end     the engine drops a token it has seen
    commit  (end,   {next intent or none, clock at end})                 under load: one commit a batch

A crash anywhere leaves either the old note (nothing was inserted), or an intent whose range is replayed exactly:
the same rows, of which those that are not there go under the same token (see `claims`). Rows are a function of the
records, the clock at `start` and the skipped offsets, all of which the note holds, beside what `quarantine` counts.
The metadata is at most METADATA_BYTES_MAX bytes, so a batch is closed when it has skipped SKIPS_MAX records. Next
file: `batch`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from flowgauge.schemas.clock import ClockState
from flowgauge.schemas.errors import InvariantBroken, LogMismatch
from flowgauge.sinks.clickhouse.quarantine import NOTHING_COUNTED, Tally
from flowgauge.transport.log import METADATA_BYTES_MAX, Committed

NOTE_VERSION = 2  # names how rows are made of records; an intent is only replayed by the version that wrote it
SKIPS_MAX = 256  # at most 11 digits a skipped offset: 2.8 kB of the 4 kB of metadata
REFUSED_MAX = 64  # rows that ClickHouse itself refuses, in one batch: another 0.7 kB


@dataclass(frozen=True, slots=True)
class Intent:
    """The records in the offsets [start, end) of a partition, all but `skipped`, are to be inserted as one block."""

    start: int
    end: int
    clock: ClockState  # of the partition, before the record at `start`
    skipped: tuple[int, ...] = ()  # ascending offsets of events that go to the dlq instead
    tally: Tally = NOTHING_COUNTED  # of the events before `start`

    def token(self, log_id: str, topic: str, partition: int) -> str:
        """Return the insert's deduplication token: the same range of the same log has the same."""
        return f"{log_id}-{topic}-{partition}-{self.start}-{self.end}"

    def skipping(self, offset: int) -> "Intent":
        """Return the intent that also skips `offset`."""
        return replace(self, skipped=tuple(sorted({*self.skipped, offset})))

    def cut_before(self, offset: int) -> "Intent":
        """Return the intent that ends before `offset`."""
        return replace(self, end=offset, skipped=tuple(at for at in self.skipped if at < offset))


@dataclass(frozen=True, slots=True)
class Position:
    """What a sink knows of a partition when it starts: where it goes on, its clock there, and what is pending."""

    offset: int
    clock: ClockState
    intent: Intent | None = None
    tally: Tally = NOTHING_COUNTED


class _Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """The metadata as JSON. `skips` counts each skipped offset from the one before, the first from the start."""

    v: int
    clock: ClockState
    end: int = 0  # of the pending intent; 0 when none is
    skips: list[int] = []
    tally: Tally | None = None  # none when nothing was counted


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Note).decode


def commit_intent(intent: Intent) -> Committed:
    """Return the commit that writes `intent` ahead of its insert."""
    skips = _gaps(intent.start, intent.skipped)
    note = _Note(v=NOTE_VERSION, clock=intent.clock, end=intent.end, skips=skips, tally=_counted(intent.tally))
    return Committed(intent.start, _text(note))


def commit_position(offset: int, clock: ClockState, tally: Tally = NOTHING_COUNTED) -> Committed:
    """Return the commit of a partition with nothing pending."""
    return Committed(offset, _text(_Note(v=NOTE_VERSION, clock=clock, tally=_counted(tally))))


def read_position(committed: Committed, where: str = "a group") -> Position:
    """Read what `commit_intent` or `commit_position` wrote; an empty note is that of a new group.

    `where` begins what errors say. Raises LogMismatch when another version wrote the pending intent, InvariantBroken
    when it is unreadable.
    """
    if not committed.metadata:
        return Position(committed.next_offset, ClockState())
    try:
        note = _decode(committed.metadata)
    except msgspec.MsgspecError as error:
        raise InvariantBroken(
            f"{where}: the note at offset {committed.next_offset} cannot be read ({error}): "
            f"{committed.metadata[:200]!r}"
        ) from error
    start, tally = committed.next_offset, note.tally or NOTHING_COUNTED
    if not note.end:
        return Position(start, note.clock, tally=tally)
    if note.v != NOTE_VERSION:
        raise LogMismatch(
            f"{where}: an insert of the offsets [{start}, {note.end}) was begun by note version {note.v}, this program "
            f"has version {NOTE_VERSION}: start the program that began it once, so that it finishes"
        )
    intent = Intent(start, note.end, note.clock, _offsets(start, note.skips), tally)
    return Position(start, note.clock, intent, tally)


def _counted(tally: Tally) -> Tally | None:
    return tally if tally != NOTHING_COUNTED else None


def _text(note: _Note) -> str:
    text = _encode(note)
    if len(text) > METADATA_BYTES_MAX:
        raise InvariantBroken(f"a note of {len(text)} bytes, the log keeps {METADATA_BYTES_MAX}")
    return text.decode()


def _gaps(start: int, offsets: Sequence[int]) -> list[int]:
    return [offset - before for before, offset in zip((start, *offsets), offsets, strict=False)]


def _offsets(start: int, gaps: Sequence[int]) -> tuple[int, ...]:
    offsets: list[int] = []
    for gap in gaps:
        start += gap
        offsets.append(start)
    return tuple(offsets)

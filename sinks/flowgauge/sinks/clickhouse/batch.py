"""The batch: consecutive records of one partition on their way into one insert. Pure.

    records ──► Batch.add ──► rows and dead letters ──► seal ──► Sealed(intent, rows, letters)
                    └─ one dead letter too many: it ends before that record, and so does the partition (`quarantine`)

One insert is one block, so that its token does not depend on how the engine would split it; each day of it is there
whole or not at all. Read `intent` first; `sink_app` moves the batches.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from flowgauge.schemas.clock import ClockState, PartitionClock
from flowgauge.schemas.delivery import DeadLetter
from flowgauge.schemas.errors import InvalidEvent, InvariantBroken
from flowgauge.schemas.topics import RecordKind
from flowgauge.sinks.clickhouse.intent import REFUSED_MAX, SKIPS_MAX, Intent
from flowgauge.sinks.clickhouse.quarantine import NOTHING_COUNTED, QUARANTINE, Quarantine, Stop, Tally, place_of
from flowgauge.sinks.clickhouse.rows import REFUSED, Row, TableSpec, dead_letter, row
from flowgauge.transport.log import Record
from flowgauge.transport.source_clock import see

_EVENT = RecordKind.EVENT  # at hand: looking up a member costs more than comparing it


@dataclass(frozen=True, slots=True)
class Limits:
    """When a batch is flushed, how soon one that failed is tried again, and how much may go to the dlq."""

    # Larger ones cost less, with their merges: 48 µs a row at 20,000, 44 at 40,000. The engine's block is 1,048,449.
    rows_max: int = 50_000
    bytes_max: int = 32 * 1024 * 1024  # what those rows weigh; one record may pass it by 1 MiB
    # The batches of all partitions of a topic, each an equal part of it; while they are inserted as much is read ahead.
    # What a former owner left pending comes on top, one batch at a time.
    bytes_all_max: int = 128 * 1024 * 1024
    skips_max: int = SKIPS_MAX  # with the next: what the note of an intent can name
    refused_max: int = REFUSED_MAX  # further rows that ClickHouse may refuse before the batch is cut
    age_max_ms: int = 1_000  # how long a row waits for company
    backlog_age_max_ms: int = 5_000  # the same while the log has more to read: small inserts cost twice the CPU
    idle_age_max_ms: int = 10_000  # how long a position without rows waits to be committed: pulses come each second
    backoff_ms: int = 250  # doubles with each failure
    backoff_max_ms: int = 15_000
    quarantine: Quarantine = QUARANTINE

    def of_one(self, partitions: int) -> "Limits":
        """Return the limits of a batch where a sink has that many partitions."""
        return replace(self, bytes_max=min(self.bytes_max, self.bytes_all_max // max(1, partitions)))


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Sealed:
    """A batch that takes no more records: what its intent promises."""

    partition: int
    intent: Intent
    clock_end: ClockState
    rows: tuple[Row, ...]
    letters: tuple[DeadLetter, ...] = ()
    is_repeat: bool = False  # its insert may have been tried before

    @property
    def is_empty(self) -> bool:
        """Whether it only moves the position, over pulses."""
        return not self.rows and not self.letters

    def without_row(self, index: int, detail: str) -> "Sealed":
        """Return the batch that sends row `index`, which ClickHouse refuses, to the dlq. The range is the same."""
        refused = self.rows[index]
        letter = dead_letter(
            refused.value(),
            reason=REFUSED,
            detail=detail,
            partition=self.partition,
            offset=refused.offset,
            append_ms=refused.append_ms,
        )
        return replace(
            self,
            intent=self.intent.skipping(refused.offset),
            rows=self.rows[:index] + self.rows[index + 1 :],
            letters=(*self.letters, letter),
        )


def tallies(batch: Sealed, quarantine: Quarantine, topic: str) -> Iterator[tuple[int, Tally]]:
    """Yield the offset of each letter of `batch`, in order, with the tally after it; last the end with that there."""
    tally, counted = batch.intent.tally, 0
    for offset in batch.intent.skipped:
        before = bisect_left(batch.rows, offset, key=_offset)
        tally = quarantine.stored(tally, before - counted)
        tally = quarantine.diverted(tally, place_of(topic, batch.partition, offset))
        counted = before
        yield offset, tally
    yield batch.intent.end, quarantine.stored(tally, len(batch.rows) - counted)


def first_excess(batch: Sealed, quarantine: Quarantine, topic: str) -> int | None:
    """Return the offset of the first letter of `batch` that is one too many."""
    return next((offset for offset, tally in tallies(batch, quarantine, topic) if quarantine.excess(tally)), None)


@dataclass(slots=True)
class Batch:
    """Collects records of one partition from `start` on, whose clock there is `clock`.

    `refused` names records that ClickHouse is known to refuse, and why.
    """

    log_id: str
    spec: TableSpec
    partition: int
    start: int
    clock: ClockState
    since_ms: int  # when it began to collect, on the shell's steady clock
    limits: Limits = LIMITS
    tally: Tally = NOTHING_COUNTED  # of the events before `start`
    refused: Mapping[int, str] = field(default_factory=dict[int, str])
    next_offset: int = 0
    size: int = 0  # bytes of rows
    stop: Stop | None = None  # what it will not go past
    _clock: PartitionClock = field(init=False)
    _rows: list[Row] = field(default_factory=list[Row])
    _letters: list[DeadLetter] = field(default_factory=list[DeadLetter])
    _tally: Tally = field(init=False)  # after the last letter
    _counted: int = 0  # rows before the last letter

    def __post_init__(self) -> None:
        """Begin at `start` with the clock there."""
        self.next_offset = self.start
        self._clock = PartitionClock(self.clock)
        self._tally = self.tally

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to insert or to divert, though the position may have moved over pulses."""
        return not self._rows and not self._letters

    @property
    def is_full(self) -> bool:
        """Whether it takes no more records before it is sealed."""
        limits = self.limits
        return (
            len(self._rows) >= limits.rows_max
            or self.size >= limits.bytes_max
            or len(self._letters) >= limits.skips_max
            or (self.stop is not None and not self.is_stopped)
        )

    @property
    def is_stopped(self) -> bool:
        """Whether its first record is one that it will not go past."""
        return self.stop is not None and self.next_offset == self.start

    @property
    def behind_from(self) -> int:
        """The first offset that ClickHouse does not have yet, as far as this batch has read."""
        return self.next_offset if self.is_empty else self.start

    def is_due(self, now_ms: int, *, in_backlog: bool = False) -> bool:
        """Tell whether it should be flushed at `now_ms` of the shell's steady clock."""
        if self.is_full:
            return True
        if self.is_empty:
            age_max_ms = self.limits.idle_age_max_ms
        else:
            age_max_ms = self.limits.backlog_age_max_ms if in_backlog else self.limits.age_max_ms
        return self.next_offset > self.start and now_ms - self.since_ms >= age_max_ms

    def add(self, records: Sequence[Record], now_ms: int) -> int:
        """Take `records` until full or stopped; return how many were taken. The age counts from the first row."""
        if self.is_stopped:
            return 0
        for taken, record in enumerate(records):
            if self.is_full:
                return taken
            if record.offset < self.next_offset:  # read again after a seek
                continue
            clock_ms = self._clock.clock_ms
            append_ms = see(self._clock, record, self.partition, self.log_id)
            if record.kind == _EVENT and record.value is not None:
                if self.is_empty:
                    self.since_ms = now_ms
                self._take(record, record.value, append_ms)
                if self.stop is not None:
                    self._clock.clock_ms = clock_ms  # as if it were not read
                    return taken
            self.next_offset = record.offset + 1
        return len(records)

    def counts_from(self, tally: Tally) -> bool:
        """Count from `tally` instead, after a row before it was refused; False where that could stop it elsewhere."""
        if tally != self.tally and (self._letters or self.stop is not None):
            return False
        if tally != self.tally:
            self.tally = self._tally = tally
        return True

    def seal(self) -> Sealed:
        """Close the batch."""
        skipped = tuple(letter.source_offset for letter in self._letters)
        return Sealed(
            self.partition,
            Intent(self.start, self.next_offset, self.clock, skipped, self.tally),
            self._clock.state(),
            tuple(self._rows),
            tuple(self._letters),
        )

    def _take(self, record: Record, value: bytes, append_ms: int) -> None:
        if detail := self.refused.get(record.offset):
            self._divert(record, append_ms, InvalidEvent(REFUSED, detail))
            return
        try:
            self.spec.validate(value, append_ms)
        except InvalidEvent as error:
            self._divert(record, append_ms, error)
            return
        made = row(value, log_id=self.log_id, partition=self.partition, offset=record.offset, append_ms=append_ms)
        self._rows.append(made)
        self.size += len(made.line)

    def _divert(self, record: Record, append_ms: int, why: InvalidEvent) -> None:
        quarantine = self.limits.quarantine
        tally = quarantine.stored(self._tally, len(self._rows) - self._counted)
        tally = quarantine.diverted(tally, place_of(self.spec.topic, self.partition, record.offset))
        if limit := quarantine.excess(tally):
            self.stop = Stop(record.offset, why.reason, why.detail, limit)
            return
        self._tally, self._counted = tally, len(self._rows)
        self._letters.append(_letter(self.partition, record, append_ms, why))


def replayed(spec: TableSpec, partition: int, intent: Intent, records: Sequence[Record], *, log_id: str) -> Sealed:
    """Make the batch of a pending `intent` again from its `records`: the same rows, the same letters.

    What was skipped then is skipped now, whatever `check` would say today. Raises InvariantBroken when the log no
    longer holds a record that was skipped.
    """
    clock = PartitionClock(intent.clock)
    skipped = frozenset(intent.skipped)
    rows: list[Row] = []
    letters: list[DeadLetter] = []
    for record in records:
        append_ms = see(clock, record, partition, log_id)
        if record.kind != _EVENT or record.value is None:
            continue
        if record.offset in skipped:
            why = _why_skipped(spec, record.value, append_ms)
            letters.append(_letter(partition, record, append_ms, why))
        else:
            rows.append(
                row(record.value, log_id=log_id, partition=partition, offset=record.offset, append_ms=append_ms)
            )
    if len(letters) != len(skipped):
        raise InvariantBroken(
            f"{spec.topic}-{partition}: the pending insert of [{intent.start}, {intent.end}) skips "
            f"{len(skipped)} records, the log holds {len(letters)} of them"
        )
    return Sealed(partition, intent, clock.state(), tuple(rows), tuple(letters), is_repeat=True)


def body_of(rows: Sequence[Row]) -> bytes:
    """Return rows as JSONEachRow."""
    return b"\n".join([row.line for row in rows])


def _offset(row: Row) -> int:
    return row.offset


def _why_skipped(spec: TableSpec, value: bytes, append_ms: int) -> InvalidEvent:
    try:
        spec.validate(value, append_ms)
    except InvalidEvent as error:
        return error
    return InvalidEvent(REFUSED, "found when the rows were first inserted")


def _letter(partition: int, record: Record, append_ms: int, why: InvalidEvent) -> DeadLetter:
    return dead_letter(
        record.value or b"",
        reason=why.reason,
        detail=why.detail,
        partition=partition,
        offset=record.offset,
        append_ms=append_ms,
    )

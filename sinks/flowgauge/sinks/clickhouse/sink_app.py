"""The sink: moves records of the log into tables, exactly once. Shell of `intent` and `batch`.

    read ──► seal ──► commit intent ──► insert ──► clocks ──► dlq letters ──► commit end + next intent
      ▲                                                   │
      └──────────── reads ahead while it inserts ◄────────┘

Order on shutdown: stop reading, insert and commit what was read, close the readers. A batch that cannot be stored
when `stop` is set stays a pending intent; the next start replays it. Trouble with ClickHouse never drops a batch: it
is kept, shown in `health.problems`, and tried again; reading pauses when the next batch is full. A partition where
too much would go to the dlq stops and says so, the others go on (`quarantine`). A partition that is revoked is
forgotten with all that was read of it: its intent stands, and whoever has it next replays that.
"""

import asyncio
import contextlib
from collections.abc import Sequence, Set
from dataclasses import replace
from functools import partial

import structlog

from flowgauge.schemas.clock import ClockState
from flowgauge.schemas.counted import counted
from flowgauge.schemas.delivery import DeadLetter, encode_dead_letter
from flowgauge.schemas.errors import Fenced, InvariantBroken, Transient
from flowgauge.schemas.topics import DLQ
from flowgauge.sinks.clickhouse.batch import LIMITS, Batch, Limits, Sealed, first_excess, replayed, tallies
from flowgauge.sinks.clickhouse.errors import EngineTrouble, RowRefused
from flowgauge.sinks.clickhouse.inserting import Inserter, Writer
from flowgauge.sinks.clickhouse.intent import (
    Intent,
    commit_intent,
    commit_position,
    read_position,
)
from flowgauge.sinks.clickhouse.quarantine import Stop, Tally, place_of
from flowgauge.sinks.clickhouse.rows import SPECS, TableSpec
from flowgauge.sinks.metrics import (
    BEHIND,
    DEAD_LETTERS,
    FLUSH_SECONDS,
    QUARANTINED,
    REPLAYS,
    RETRIES,
    ROW_BYTES,
    ROWS,
)
from flowgauge.transport import log
from flowgauge.transport.health import Health
from flowgauge.transport.log import Assigned, Committed, Log, Outgoing, Reader, Record, Revoked
from flowgauge.transport.patience import Patience, pause

GROUP = "clickhouse"
POLL_RECORDS_MAX = 2_000  # a poll's records are in memory twice for a moment
POLL_MS = 200  # how long a quiet poll waits, so how long stopping may take
READ_AHEAD_POLL_MS = 20  # while an insert runs: its end must not wait long for a quiet poll
KEEP_PLACE_MS = 1_000  # while a full batch waits; a rebalance waits 20 s for us
INTENT_AGE_MAX_MS = 60_000  # an older intent is read again before its insert: somebody may have taken over

log_lines = structlog.get_logger(__name__)


async def run_sink(
    log: Log,
    store: Writer,
    *,
    stop: asyncio.Event,
    health: Health,
    specs: Sequence[TableSpec] = SPECS,
    limits: Limits = LIMITS,
) -> None:
    """Store every record of the topics of `specs` exactly once until `stop` is set.

    First repeats what a crash left pending. Raises (in a group) InvariantBroken when the log lost what it promised.
    """
    async with asyncio.TaskGroup() as tasks:
        for spec in specs:
            sink = TopicSink(log, store, spec, stop=stop, health=health, limits=limits)
            tasks.create_task(sink.run(), name=f"sink {spec.table}")


class TopicSink:
    """One topic into one table. `run` is the whole of it; a crash is healed by another `run`."""

    def __init__(
        self, log: Log, store: Writer, spec: TableSpec, *, stop: asyncio.Event, health: Health, limits: Limits = LIMITS
    ) -> None:
        self._log = log
        self._inserter = Inserter(store, spec, log.log_id)
        self._spec = spec
        self._health = health
        self._limits = limits
        self._part = f"sink {spec.table}"
        # A part of its own: a log that answers says nothing of ClickHouse.
        self._patiently = Patience(f"{self._part}, log", health, stop)
        self._stop = stop
        self._batches: dict[int, Batch] = {}
        self._leftovers: dict[int, Sequence[Record]] = {}  # read, but the batch was full
        self._replays: dict[int, Intent] = {}  # what a former owner left pending, as far as it is not begun
        self._refused: dict[int, dict[int, str]] = {}  # by partition: what ClickHouse refused when a batch was cut
        self._stopped: dict[int, Stop] = {}
        self._lost: set[int] = set()  # revoked while a batch of it may be on its way to ClickHouse
        self._in_backlog = False  # the last poll brought so much that more is waiting
        self._noted_ms: dict[int, int] = {}  # when the intent of a partition was last known to be ours
        self._lines = log_lines.bind(table=spec.table)

    async def run(self) -> None:
        """Read, insert, commit until `stop`; of each partition first what was left pending."""
        reader = await self._patiently.unless_stopped(partial(self._log.open_reader, self._spec.topic, GROUP))
        if reader is None:
            return
        try:
            pending: list[Sealed] | None = []
            while pending is not None and (pending or not self._stop.is_set()):
                pending = await self._round(reader, pending)
        finally:
            await reader.close()

    async def _round(self, reader: Reader, pending: Sequence[Sealed]) -> list[Sealed] | None:
        """Store `pending`, commit its ends with the next intents; return the batches of these, None when stopped.

        What was stored is let go with the round: it is not in memory while the next is inserted.
        """
        stored = await self._store_and_read_ahead(reader, pending)
        if stored is None:
            return None
        await self._go_back_to_cuts(reader, stored)
        if not stored:
            await self._fill(reader, POLL_MS)
        due = await self._next_replay()
        due += self._seal_due(everything=self._stop.is_set(), but={*map(_partition, due), *self._replays})
        await self._commit(reader, stored, due)
        return due

    async def _recover(self, reader: Reader, assigned: Assigned) -> None:
        """Begin a partition where the last commit left it, after the batch that is pending.

        That one is made here for where it ends, and again when it is inserted: of many partitions all would not fit.
        """
        self._noted_ms[assigned.partition] = _steady_ms()
        self._inserter.doubt(assigned.partition)
        self._refused.pop(assigned.partition, None)
        where = f"group {GROUP} on {self._spec.topic} partition {assigned.partition}"
        position = read_position(assigned.committed, where)
        if position.intent is None:
            self._begin(assigned.partition, position.offset, position.clock, position.tally)
            return
        batch = await self._replayed(assigned.partition, position.intent)
        self._replays[assigned.partition] = batch.intent
        await reader.seek(assigned.partition, batch.intent.end)
        self._begin_after(batch)

    async def _next_replay(self) -> list[Sealed]:
        """Make one of the batches that are to be repeated, if there is any."""
        if not self._replays:
            return []
        partition = next(iter(self._replays))
        intent = self._replays.pop(partition)
        self._lines.warning("pending insert repeated", partition=partition, start=intent.start, end=intent.end)
        REPLAYS.labels(self._spec.table).inc()
        return [await self._replayed(partition, intent)]

    def _forget(self, partition: int) -> None:
        """Drop everything of a partition that is no longer ours."""
        self._lost.add(partition)
        self._batches.pop(partition, None)
        self._leftovers.pop(partition, None)
        self._replays.pop(partition, None)
        self._refused.pop(partition, None)
        if self._stopped.pop(partition, None):
            self._health.problems.pop(self._stopped_part(partition), None)
            self._health.operator_problems.pop(self._stopped_part(partition), None)
            QUARANTINED.labels(self._spec.table).set(len(self._stopped))

    async def _replayed(self, partition: int, intent: Intent) -> Sealed:
        """Make the batch of `intent` again from the log."""
        records: list[Record] = []
        offset = intent.start
        while offset < intent.end:
            read = partial(self._log.read, self._spec.topic, partition, offset, POLL_RECORDS_MAX)
            found = await self._patiently(read)
            if not found:
                raise InvariantBroken(
                    f"{self._spec.topic}-{partition}: an insert of the offsets [{intent.start}, {intent.end}) is "
                    f"pending, but the log ends at {offset}: it was cut or replaced"
                )
            records.extend(record for record in found if record.offset < intent.end)
            offset = found[-1].offset + 1
        return replayed(self._spec, partition, intent, records, log_id=self._log.log_id)

    def _begin(self, partition: int, offset: int, clock: ClockState, tally: Tally) -> None:
        refused = {at: why for at, why in self._refused.pop(partition, {}).items() if at >= offset}
        if refused:
            self._refused[partition] = refused
        self._batches[partition] = Batch(
            self._log.log_id,
            self._spec,
            partition,
            offset,
            clock,
            since_ms=_steady_ms(),
            limits=self._limits.of_one(len(self._batches)),
            tally=tally,
            refused=refused,
        )

    def _begin_after(self, batch: Sealed) -> None:
        self._begin(batch.partition, batch.intent.end, batch.clock_end, self._tally_after(batch))

    def _tally_after(self, batch: Sealed) -> Tally:
        *_, (_, tally) = tallies(batch, self._limits.quarantine, self._spec.topic)
        return tally

    async def _fill(self, reader: Reader, timeout_ms: int) -> None:
        """Put leftovers, else what can be read now, into the batches."""
        leftovers, self._leftovers = self._leftovers, {}
        for partition, records in leftovers.items():
            self._add(partition, records)
        if leftovers:
            return
        try:
            found = await reader.poll(records_max=POLL_RECORDS_MAX, timeout_ms=timeout_ms)
        except Transient as error:
            self._report(str(error))
            await pause(self._stop, self._limits.backoff_ms)
            return
        self._in_backlog = await self._take(reader, found) >= POLL_RECORDS_MAX // 2

    async def _take(self, reader: Reader, found: Sequence[Assigned | Revoked | log.Batch]) -> int:
        """Take what a poll told; return how many records came."""
        count = 0
        for item in found:
            match item:
                case Assigned():
                    await self._recover(reader, item)
                    self._share_limits()
                case Revoked():
                    self._forget(item.partition)
                    self._share_limits()
                case log.Batch():
                    self._add(item.partition, item.records)
                    count += len(item.records)
        return count

    def _share_limits(self) -> None:
        """Let no batch hold more than its part of what all may, whenever its partition came."""
        for batch in self._batches.values():
            batch.limits = self._limits.of_one(len(self._batches))

    def _add(self, partition: int, records: Sequence[Record]) -> None:
        batch = self._batches[partition]
        taken = batch.add(records, _steady_ms())
        if batch.stop is not None and batch.is_stopped:
            self._report_stop(partition, batch.stop)  # what comes after it is not kept: a way on begins with a restart
        elif taken < len(records):
            self._leftovers[partition] = records[taken:]

    def _seal_due(self, *, everything: bool, but: Set[int]) -> list[Sealed]:
        """Close the batches that are due, or all that hold anything, and begin the next ones.

        Not those of the partitions `but`, with a batch to repeat: a partition has one intent at a time.
        """
        now = _steady_ms()
        due: list[Sealed] = []
        for partition, batch in list(self._batches.items()):
            if partition in but:
                continue
            if batch.is_due(now, in_backlog=self._in_backlog) or (everything and batch.next_offset > batch.start):
                sealed = batch.seal()
                due.append(sealed)
                self._begin_after(sealed)
        return due

    async def _commit(self, reader: Reader, stored: Sequence[Sealed], due: Sequence[Sealed]) -> None:
        """Commit the ends of what is `stored` and the intents of what is `due`, as one."""
        offsets: dict[int, Committed] = {
            batch.partition: commit_position(batch.intent.end, batch.clock_end, self._tally_after(batch))
            for batch in stored
        }
        offsets.update({batch.partition: commit_intent(batch.intent) for batch in due})
        if offsets:
            await self._patiently(partial(reader.commit, offsets))
            self._noted_ms.update(dict.fromkeys(offsets, _steady_ms()))
        await self._measure_behind(due)

    async def _store_and_read_ahead(self, reader: Reader, pending: Sequence[Sealed]) -> list[Sealed] | None:
        """Store `pending` while reading on; None when `stop` came before ClickHouse took it all.

        What was revoked meanwhile is not among what is returned: nothing more is committed for it.
        """
        self._lost.clear()
        if not pending:
            return []
        async with asyncio.TaskGroup() as tasks:
            storing = tasks.create_task(self._store_all(reader, pending))
            while not storing.done():
                if self._stop.is_set() or self._leftovers or any(batch.is_full for batch in self._batches.values()):
                    await self._keep_place(reader, storing)
                else:
                    await self._fill(reader, READ_AHEAD_POLL_MS)
        stored = storing.result()
        return None if stored is None else [batch for batch in stored if batch.partition not in self._lost]

    async def _keep_place(self, reader: Reader, storing: asyncio.Task[list[Sealed] | None]) -> None:
        """Wait for the insert without reading on: a group puts out who does not poll while partitions move."""
        await asyncio.wait([storing], timeout=KEEP_PLACE_MS / 1000)
        if not storing.done():
            with contextlib.suppress(Transient):  # the next one tells
                await self._take(reader, await reader.poll(records_max=0, timeout_ms=0))

    async def _store_all(self, reader: Reader, pending: Sequence[Sealed]) -> list[Sealed] | None:
        stored: list[Sealed] = []
        for batch in pending:
            done = await self._store(reader, batch)
            if done is None:
                return None
            stored.append(done)
        return stored

    async def _store(self, reader: Reader, batch: Sealed) -> Sealed | None:
        """Insert `batch` until ClickHouse has it; return it as it was stored, None when `stop` came first."""
        backoff_ms, began_ms = self._limits.backoff_ms, _steady_ms()
        while batch.partition not in self._lost:
            await self._confirm_ours(reader, batch)
            try:
                await self._inserter.insert(batch)
                await self._send_letters(batch.letters)
            except RowRefused as refused:
                if batch.partition in self._lost:
                    break
                batch = await self._without_refused(reader, batch, refused)
            except Transient as error:
                batch = replace(batch, is_repeat=True)
                self._report_trouble(error, batch)
                if self._stop.is_set():
                    return None
                await pause(self._stop, backoff_ms)
                backoff_ms = min(2 * backoff_ms, self._limits.backoff_max_ms)
            else:
                self._count_stored(batch, _steady_ms() - began_ms)
                break
        return batch

    async def _send_letters(self, letters: Sequence[DeadLetter]) -> None:
        if not letters:
            return
        partitions = self._log.partitions(DLQ)
        records = [
            Outgoing(letter.source_partition % partitions, letter.tenant, encode_dead_letter(letter))
            for letter in letters
        ]
        await self._log.append(DLQ, records)
        for letter in letters:
            DEAD_LETTERS.labels(self._spec.table, letter.reason).inc()

    async def _without_refused(self, reader: Reader, batch: Sealed, refused: RowRefused) -> Sealed:
        """Write the intent that skips the refused row, before it is skipped.

        Past the bound of the note the range is cut before that row instead, and where too much would go to the dlq,
        before what is too much: a batch with a refused row was never stored under any token, so its range may still
        change.
        """
        partition, offset = batch.partition, batch.rows[refused.index].offset
        self._lines.warning("row refused", partition=partition, offset=offset, detail=refused.detail)
        without = batch.without_row(refused.index, refused.detail)
        end = first_excess(without, self._limits.quarantine, self._spec.topic)
        if end is None and len(batch.intent.skipped) >= self._limits.skips_max + self._limits.refused_max:
            end = offset
        if end is None:
            batch = without
        else:
            self._refused.setdefault(partition, {})[offset] = refused.detail
            batch = await self._replayed(partition, without.intent.cut_before(end))
        await self._patiently(partial(reader.commit, {batch.partition: commit_intent(batch.intent)}))
        self._noted_ms[batch.partition] = _steady_ms()
        return batch

    async def _go_back_to_cuts(self, reader: Reader, stored: Sequence[Sealed]) -> None:
        """Read again from where a batch was cut, or counts otherwise now, forgetting what was read ahead."""
        for batch in stored:
            end, ahead = batch.intent.end, self._batches[batch.partition]
            if ahead.start != end or not ahead.counts_from(self._tally_after(batch)):
                self._leftovers.pop(batch.partition, None)
                await reader.seek(batch.partition, end)
                self._begin_after(batch)

    async def _confirm_ours(self, reader: Reader, batch: Sealed) -> None:
        """After a long stall, insert only what the log still says is ours to insert."""
        if _steady_ms() - self._noted_ms[batch.partition] <= INTENT_AGE_MAX_MS:
            return
        found = (await self._patiently(reader.committed)).get(batch.partition)
        if found != commit_intent(batch.intent):
            raise Fenced(
                f"{self._spec.topic}-{batch.partition}: the insert of [{batch.intent.start}, {batch.intent.end}) "
                f"stalled and another process took over; the log now says {found}"
            )
        self._noted_ms[batch.partition] = _steady_ms()

    def _count_stored(self, batch: Sealed, took_ms: int) -> None:
        table = self._spec.table
        self._health.problems.pop(self._part, None)
        ROWS.labels(table).inc(len(batch.rows))
        ROW_BYTES.labels(table).inc(sum(len(row.line) for row in batch.rows))
        FLUSH_SECONDS.labels(table).observe(took_ms / 1000)
        if self._spec.keeps_clock:
            self._health.stored += len(batch.rows)

    def _report_trouble(self, error: Transient, batch: Sealed) -> None:
        kind = error.kind if isinstance(error, EngineTrouble) else "known"
        RETRIES.labels(self._spec.table, kind).inc()
        waiting = f"; {counted(len(batch.rows), 'row waits', 'rows wait')}" if batch.rows else ""  # perhaps but a clock
        self._report(f"{error}{waiting}", passes=kind == "known")

    def _report(self, problem: str, *, passes: bool = True) -> None:
        """Show `problem` while it lasts; log it once per cause, as an error where somebody must act."""
        if self._health.problems.get(self._part) != problem:
            (self._lines.warning if passes else self._lines.error)("sink waits", problem=problem)
        self._health.problems[self._part] = problem

    def _report_stop(self, partition: int, stop: Stop) -> None:
        """Show that `partition` stopped, for as long as it is ours; what was wrong in detail is the operator's."""
        if self._stopped.get(partition) == stop:
            return
        self._stopped[partition] = stop
        place = place_of(self._spec.topic, partition, stop.offset)
        told = f"stopped before {place}: {stop.limit} would go to the dlq, the last for: {stop.reason}"
        remedy = (
            "mend what writes or reads them; or raise the limit, or pass the place by "
            f'quarantine.go_on = ["{place}"], and start again'
        )
        part = self._stopped_part(partition)
        self._health.problems[part] = f"{told} ({remedy})"
        self._health.operator_problems[part] = f"{told}: {stop.detail} ({remedy})"
        QUARANTINED.labels(self._spec.table).set(len(self._stopped))
        self._lines.error("partition stopped", place=place, limit=stop.limit, reason=stop.reason, detail=stop.detail)

    def _stopped_part(self, partition: int) -> str:
        return f"{self._part}, partition {partition}"

    async def _measure_behind(self, pending: Sequence[Sealed]) -> None:
        """Count the records of our partitions that are not in ClickHouse, offsets without a row included.

        It only measures: what cannot be asked now is counted the next time.
        """
        stored_to = {partition: batch.behind_from for partition, batch in self._batches.items()}
        stored_to.update({partition: intent.start for partition, intent in self._replays.items()})
        stored_to.update({batch.partition: batch.intent.start for batch in pending if not batch.is_empty})
        try:
            ends = await self._log.ends(self._spec.topic)
        except Transient as error:
            self._report(str(error))
            return
        behind = sum(max(0, ends[partition] - stored) for partition, stored in stored_to.items())
        BEHIND.labels(self._spec.table).set(behind)
        if self._spec.keeps_clock:
            self._health.sink_behind = behind


def _partition(batch: Sealed) -> int:
    return batch.partition


def _steady_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1000)

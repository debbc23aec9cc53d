"""Inserts the batches of one table, each row once, whatever the group's place and the engine's tokens claim.

    batch that nobody tried          insert under its token
    batch that may have been tried   look ► insert what is not there ► look, until all is there ► fold the views

A batch may have been tried when it is a pending one, when an insert of it failed, and when it is the first after its
partition was assigned: a broker may forget commits, so that the group's place lies before what is stored. Where that is
so, the next one may have been tried too. Rules and reasons: `claims`. Rows of a tenant that was erased since stay out
(`erasing`).
"""

from collections.abc import Mapping, Sequence, Set
from typing import Protocol

import msgspec
import structlog

from flowgauge.schemas.topics import EVENTS
from flowgauge.sinks.clickhouse.batch import Sealed, body_of
from flowgauge.sinks.clickhouse.claims import KEPT_MS, TRIES_MAX, Span, missing_rows, span_of
from flowgauge.sinks.clickhouse.erasing import kept_rows
from flowgauge.sinks.clickhouse.errors import EngineTrouble, RowRefused
from flowgauge.sinks.clickhouse.rows import Row, TableSpec
from flowgauge.sinks.metrics import CLAIMED, ERASED, FORGOTTEN
from flowgauge.transport.wall_clock import now_ms

CLOCKS_TABLE = "flowgauge.clocks"

log_lines = structlog.get_logger(__name__)


class Writer(Protocol):
    """Where rows go: ClickHouseStore, and what tests put around it."""

    async def insert(self, table: str, body: bytes, token: str) -> None:
        """Insert once per token; raise RowRefused or EngineTrouble."""
        ...

    async def held(self, table: str, span: Span) -> Set[int]:
        """Return the offsets in `span` whose rows the table has; raise EngineTrouble."""
        ...

    async def erased(self) -> Mapping[str, int]:
        """Return before when rows of which tenants stay out; raise EngineTrouble."""
        ...

    async def fold_again(self, table: str, span: Span) -> None:
        """Fold the rows that the table has in `span` into its views once more; raise EngineTrouble."""
        ...


class Inserter:
    """Inserts into the table of `spec`; tokens name the log `log_id`."""

    def __init__(self, writer: Writer, spec: TableSpec, log_id: str) -> None:
        self._writer = writer
        self._spec = spec
        self._log_id = log_id
        self._doubts: dict[int, object] = {}  # partitions where the table may have more than the group's place says
        self._lines = log_lines.bind(table=spec.table)

    def doubt(self, partition: int) -> None:
        """Take it that the table may hold more of `partition` than the group's place says."""
        self._doubts[partition] = object()

    async def insert(self, batch: Sealed) -> None:
        """Insert the rows of `batch`, and its clock, once. Raises RowRefused, EngineTrouble."""
        token = batch.intent.token(self._log_id, self._spec.topic, batch.partition)
        rows = await self._kept(batch.rows)
        if rows and (batch.is_repeat or batch.partition in self._doubts):
            await self._insert_missing(batch, rows, token)
        elif rows:
            await self._insert_some(batch, rows, token)
        if self._spec.keeps_clock:
            # The table keeps one row a position, so a repeat needs no token that may be a mere claim.
            repeat = f"-{now_ms()}" if batch.is_repeat else ""
            await self._writer.insert(CLOCKS_TABLE, self._clock_row(batch), f"{token}-clock{repeat}")

    async def _kept(self, rows: Sequence[Row]) -> Sequence[Row]:
        kept = kept_rows(rows, await self._writer.erased(), tell_of_others=self._spec.topic != EVENTS) if rows else rows
        if len(kept) < len(rows):
            ERASED.labels(self._spec.table).inc(len(rows) - len(kept))
        return kept

    async def _insert_missing(self, batch: Sealed, rows: Sequence[Row], token: str) -> None:
        """Insert those of `rows`, of `batch`, that are not there, and look again until all are (see `claims`)."""
        table, span = self._spec.table, span_of(self._log_id, batch.partition, rows)
        doubt, is_held = self._doubts.get(batch.partition), False
        for number in range(TRIES_MAX + 1):
            missing = missing_rows(rows, await self._writer.held(table, span))
            if not number and (is_held := len(missing) < len(rows)) and not batch.is_repeat:
                self._report_forgotten(batch, len(rows) - len(missing))
            if not missing:
                break
            if number:
                self._lines.warning("rows were claimed and not there", partition=batch.partition, rows=len(missing))
                CLAIMED.labels(table).inc(len(missing))
            # First under the token of all: an insert of them that somebody gave up, and that goes on, meets it.
            await self._insert_some(batch, missing, f"{token}-again-{number}" if number else token)
        else:
            if rows[-1].append_ms > now_ms() - KEPT_MS:
                raise EngineTrouble(f"ClickHouse: rows of {table} are not there after {TRIES_MAX} inserts", "unknown")
            self._lines.warning("rows are too old to stay", partition=batch.partition, start=span.start, end=span.end)
        await self._writer.fold_again(table, span)
        # A partition is inserted in order: nothing after this batch is there. Unless it was assigned again meanwhile.
        if not (is_held or batch.is_repeat) and self._doubts.get(batch.partition) is doubt:
            self._doubts.pop(batch.partition, None)

    async def _insert_some(self, batch: Sealed, rows: Sequence[Row], token: str) -> None:
        """Insert `rows`, which are some of `batch`; raise RowRefused with the index in the batch."""
        try:
            await self._writer.insert(self._spec.table, body_of(rows), token)
        except RowRefused as refused:
            raise RowRefused(batch.rows.index(rows[refused.index]), refused.detail) from refused

    def _clock_row(self, batch: Sealed) -> bytes:
        return msgspec.json.encode(
            {
                "log_id": self._log_id,
                "topic": self._spec.topic,
                "partition": batch.partition,
                "end": batch.intent.end,
                "clock_ms": batch.clock_end.clock_ms,
            }
        )

    def _report_forgotten(self, batch: Sealed, rows: int) -> None:
        """Tell that the log gave a place before what is stored: it has lost commits of the group."""
        self._lines.warning(
            "the group's place lies before rows that are stored: the log forgot commits",
            partition=batch.partition,
            start=batch.intent.start,
            end=batch.intent.end,
            rows=rows,
        )
        FORGOTTEN.labels(self._spec.table).inc(rows)

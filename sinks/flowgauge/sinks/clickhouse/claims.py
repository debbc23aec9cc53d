"""Claims: what the engine says it has, what the group says is stored, and what is there. Pure.

    insert, killed      token noted ──x   part in place        the token is known, the rows are not there
    same insert again   "known, dropped"                       lost, if that were believed
    look, insert the missing rows under the token, look: what is still missing goes under tokens of its own

ClickHouse writes the token of an insert to its deduplication log and renames the part into place after that (seen in
the system calls of 26.9). Killed between the two it drops the same insert for good, in the table itself or in one that
a view fills. An insert over several days makes a part of each, one after another, and a token counts part by part: so
what is missing goes under the token of all first, where an insert that somebody gave up, and that goes on, meets it.
In the end what is there is folded into our views again; folding rows twice changes nothing. Nothing of this is done
while all is well.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass

from flowgauge.sinks.clickhouse.rows import Row

KEPT_MS = 399 * 86_400_000  # what was appended earlier may have been let go by the tables' TTL of 400 days
TRIES_MAX = 5  # inserts of missing rows under new tokens: each may be a claim too, but that took a kill amid it

MARGIN_MS = 86_400_000  # a place that somebody gave by hand has no clock: the same rows may have another append time


@dataclass(frozen=True, slots=True)
class Span:
    """Where the rows of one batch stand: offsets [start, end) of a log's partition.

    `first_ms` to `last_ms` holds their append times: tables are searched by time.
    """

    log_id: str
    partition: int
    start: int
    end: int
    first_ms: int
    last_ms: int


def span_of(log_id: str, partition: int, rows: Sequence[Row]) -> Span:
    """Return the span of `rows`, which are in offset order and at least one."""
    first_ms, last_ms = rows[0].append_ms - MARGIN_MS, rows[-1].append_ms + MARGIN_MS
    return Span(log_id, partition, rows[0].offset, rows[-1].offset + 1, max(0, first_ms), last_ms)


def missing_rows(rows: Sequence[Row], held: Set[int]) -> Sequence[Row]:
    """Return the rows whose offsets are not held."""
    return [row for row in rows if row.offset not in held]

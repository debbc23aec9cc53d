"""Claims: what the engine says it has, and what is there. Pure.

    insert, killed      token noted ──x   part in place        the token is known, the rows are not there
    same insert again   "known, dropped"                       lost, if that were believed
    look, then          insert the missing rows under a token of their own, fold what is there into the views again

ClickHouse writes the token of an insert to its deduplication log and renames the part into place after that (seen in
the system calls of 26.9). Killed between the two it drops the same insert for good, in the table itself or in one that
a view fills. So an insert that may have been tried before is looked at once it was acknowledged; that costs nothing
while all is well. A token counts part by part, so what is missing may be a part of what another try inserted. Folding
rows into our views twice changes nothing.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass

from flowgauge.sinks.clickhouse.rows import Row

KEPT_MS = 399 * 86_400_000  # what was appended earlier may have been let go by the tables' TTL of 400 days
TRIES_MAX = 5  # inserts of missing rows under new tokens: each may be a claim too, but that took a kill amid it

Place = tuple[int, int]  # offset and append time of a row


@dataclass(frozen=True, slots=True)
class Span:
    """Where the rows of one batch stand: offsets [start, end) of a log's partition, appended first_ms to last_ms."""

    log_id: str
    partition: int
    start: int
    end: int
    first_ms: int
    last_ms: int


def span_of(log_id: str, partition: int, rows: Sequence[Row]) -> Span:
    """Return the span of `rows`, which are in offset order and at least one."""
    return Span(log_id, partition, rows[0].offset, rows[-1].offset + 1, rows[0].append_ms, rows[-1].append_ms)


def missing_rows(rows: Sequence[Row], held: Set[Place]) -> Sequence[Row]:
    """Return the rows that are not held."""
    return [row for row in rows if (row.offset, row.append_ms) not in held]

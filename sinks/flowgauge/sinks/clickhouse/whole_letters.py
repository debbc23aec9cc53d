"""Dead letters with all that is kept of them, for whoever sends their events again.

A letter is named by where it stands in the dlq, such as 0@12. Whether its event is there meanwhile is told by the
event's id: so what was sent again, by whomever, is seen as such, and needs no mark of its own.
"""

import base64
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, cast
from uuid import UUID

import msgspec

from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.times import micros, rfc3339
from flowgauge.sinks.clickhouse.log_lines import NEWEST_US
from flowgauge.sinks.clickhouse.questions import question
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.table import Table
from flowgauge.sinks.clickhouse.tenancy import only

COLUMNS = ("letter", "time", "reason", "origin", "source", "size", "detail", "is_stored", "value")
LETTERS_MAX = 500  # of one answer: 64 KiB each, a third more in base64
PARTITION_DIGITS_MAX = 5  # of a number below 65,536, as a partition has
STORED = """
SELECT DISTINCT toString(id)
FROM flowgauge.events
WHERE tenant = {tenant:String}
    AND occurred >= fromUnixTimestamp64Micro({first_us:Int64}, 'UTC')
    AND occurred <= fromUnixTimestamp64Micro({last_us:Int64}, 'UTC')
    AND id IN {ids:Array(UUID)}
"""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters: all that the fields do not exclude; -1 and "" exclude none."""

    tenant: str
    since_ms: int
    limit: int
    reason: str = ""
    source_partition: int = -1
    source_offset: int = -1
    letter_partition: int = -1
    letter_offset: int = -1


async def whole_letters(store: ClickHouseStore, choice: Choice) -> Table:
    """Return the chosen letters, the newest first, at most LETTERS_MAX; `value` is base64 of what is kept."""
    if choice.limit > LETTERS_MAX:
        raise BadInput(f"limit: at most {LETTERS_MAX} letters are told at once")
    seen = only(choice.tenant)
    found = await store.query(question("dead_letters_whole"), asdict(choice), seen=seen)
    events = [_event_of(cast("str", row[5])) for row in found.rows]
    stored = await _stored(store, choice.tenant, [event for event in events if event])
    is_stored = [event is not None and event[0] in stored for event in events]
    return Table(list(COLUMNS), [_row(row, is_there) for row, is_there in zip(found.rows, is_stored, strict=True)])


def place_in(text: str, name: str) -> tuple[int, int]:
    """Return the partition and the offset of a place such as 0@12; raise BadInput where `text` is none."""
    partition, _, offset = text.partition("@")
    if not (
        partition.isdecimal() and len(partition) <= PARTITION_DIGITS_MAX and offset.isdecimal() and len(offset) < 19
    ):
        raise BadInput(f"{name}: expected a partition and an offset, such as 0@12, got {text[:40]!r}")
    return int(partition), int(offset)


def places_in(text: str, name: str) -> tuple[int, int]:
    """Return the same of a place or of a whole partition, such as 0, whose offset is -1."""
    if text.isdecimal() and len(text) <= PARTITION_DIGITS_MAX:
        return int(text), -1
    return place_in(text, name)


def _row(row: Sequence[object], is_stored: bool) -> tuple[object, ...]:
    at_ms, reason, origin, size, detail, value, partition, offset, own_partition, own_offset = row
    source = "" if cast("int", offset) < 0 else f"{partition}@{offset}"
    letter = f"{own_partition}@{own_offset}"
    return letter, rfc3339(cast("int", at_ms)), reason, origin, source, size, detail, is_stored, value


async def _stored(store: ClickHouseStore, tenant: str, events: Sequence[tuple[str, int]]) -> set[object]:
    """Return which ids of `events` are stored; only the days from the first of them to the last are read."""
    if not events:
        return set()
    times_us = [occurred_us for _, occurred_us in events]
    asked = {
        "tenant": tenant,
        "ids": sorted({event_id for event_id, _ in events}),
        "first_us": min(times_us) - 1,  # ClickHouse cuts what is finer than a microsecond, msgspec rounds it
        "last_us": max(times_us),
    }
    return {event_id for (event_id,) in (await store.query(STORED, asked, seen=only(tenant))).rows}


class _Identified(msgspec.Struct):
    id: UUID
    occurred: Annotated[datetime, msgspec.Meta(tz=True)]


_decode_event = msgspec.json.Decoder(_Identified).decode


def _event_of(encoded: str) -> tuple[str, int] | None:
    """Return the event's id, as ClickHouse writes it, and when it occurred (µs); None for what cannot be stored."""
    try:
        event = _decode_event(base64.b64decode(encoded))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return None
    occurred_us = micros(event.occurred)
    return (str(event.id), occurred_us) if 0 < occurred_us < NEWEST_US else None

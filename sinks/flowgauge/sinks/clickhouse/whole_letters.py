"""Dead letters with all that is kept of them, for whoever sends their events again.

A letter is named by where it stands in the dlq, such as 0@12. Whether its event is there meanwhile is told by the
event's id: so what was sent again, by whomever, is seen as such, and needs no mark of its own.
"""

import base64
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import cast
from uuid import UUID

import msgspec

from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.times import rfc3339
from flowgauge.sinks.clickhouse.questions import question
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.table import Table
from flowgauge.sinks.clickhouse.tenancy import only

COLUMNS = ("letter", "time", "reason", "origin", "source", "size", "detail", "is_stored", "value")
LETTERS_MAX = 500  # of one answer: 64 KiB each, a third more in base64
PARTITION_DIGITS_MAX = 5  # of a number below 65,536, as a partition has
STORED = "SELECT DISTINCT toString(id) FROM flowgauge.events WHERE tenant = {tenant:String} AND id IN {ids:Array(UUID)}"


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
    ids = [_id_of(cast("str", row[5])) for row in found.rows]
    known = list({each for each in ids if each})
    stored = await store.query(STORED, {"tenant": choice.tenant, "ids": known}, seen=seen) if known else Table([], [])
    are_stored = {each for (each,) in stored.rows}
    return Table(list(COLUMNS), [_row(row, event in are_stored) for row, event in zip(found.rows, ids, strict=True)])


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


class _WithId(msgspec.Struct):
    id: str | None = None


_decode_id = msgspec.json.Decoder(_WithId).decode


def _id_of(encoded: str) -> str:
    """Return the event's id as ClickHouse writes it, "" where there is none that it could have stored."""
    try:
        return str(UUID(_decode_id(base64.b64decode(encoded)).id or ""))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return ""

"""Rows: the bytes of a record as the line that ClickHouse reads. Pure.

Records are JSON objects; their bytes pass through as they came, with the position and the clock appended in place
of the last brace. What is no valid record of its topic is refused here, before ClickHouse sees it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from flowgauge.schemas.check import check
from flowgauge.schemas.delivery import (
    DEAD_LETTER_BYTES_MAX,
    DeadLetter,
    decode_dead_letter,
    decode_delivery,
)
from flowgauge.schemas.errors import InvalidEvent
from flowgauge.schemas.event import decode_glance
from flowgauge.schemas.topics import DELIVERIES, DLQ, EVENTS, TRANSITIONS
from flowgauge.schemas.transition import decode_transition

REFUSED = "refused by ClickHouse"  # the reason of a dead letter that `check` had passed
_FIRST_MEMBER = b',"_log":'
_TIMES_CACHED = 1_024  # records of one append, and of one that is capped, share their time

Validate = Callable[[bytes, int], object]
"""Takes the bytes and the trusted append time; raises InvalidEvent."""


@dataclass(frozen=True, slots=True)
class TableSpec:
    """How the records of one topic become the rows of one table."""

    topic: str
    table: str
    validate: Validate
    keeps_clock: bool = False  # also store where the clock stood, for backtests


class Row(msgspec.Struct, frozen=True, gc=False):
    """One line for ClickHouse and the record it was made of. Some 10,000 wait at a time: nothing for the collector."""

    offset: int
    append_ms: int
    line: bytes

    def value(self) -> bytes:
        """Return the record's bytes again."""
        return self.line[: self.line.rindex(_FIRST_MEMBER)] + b"}"


def row(value: bytes, *, log_id: str, partition: int, offset: int, append_ms: int) -> Row:
    """Return `value`, a JSON object, with `_log`, `_partition`, `_offset` and `_append` as its last members.

    The time is written as quoted seconds of ten digits: ClickHouse takes a bare 13-digit number for seconds,
    which is the year 9999, and a shorter number for a date.
    """
    place = b',"_log":"%b","_partition":%d,"_offset":%d,"_append":' % (log_id.encode(), partition, offset)
    return Row(offset, append_ms, value[: value.rindex(b"}")] + place + _time_and_brace(append_ms))


@lru_cache(_TIMES_CACHED)
def _time_and_brace(append_ms: int) -> bytes:
    return b'"%010d.%03d"}' % divmod(append_ms, 1000)


def dead_letter(value: bytes, *, reason: str, detail: str, partition: int, offset: int, append_ms: int) -> DeadLetter:
    """Return the letter that says why the record at (partition, offset) is no row; a replay makes the same."""
    return DeadLetter(
        tenant=_tenant_of(value),
        reason=reason,
        detail=detail[:1000],
        origin="sink",
        at_ms=append_ms,
        value=value[:DEAD_LETTER_BYTES_MAX],
        size=len(value),
        source_partition=partition,
        source_offset=offset,
    )


def _decoded_by(decode: Callable[[bytes], object]) -> Validate:
    def validate(value: bytes, append_ms: int) -> object:  # noqa: ARG001  # these records have no time limits
        try:
            return decode(value)
        except msgspec.ValidationError as error:
            raise InvalidEvent("wrong field", str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidEvent("not JSON", str(error)) from None

    return validate


def _tenant_of(value: bytes) -> str:
    try:
        return decode_glance(value).tenant[:1024]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""


SPECS = (
    TableSpec(EVENTS, "flowgauge.events", check, keeps_clock=True),
    TableSpec(TRANSITIONS, "flowgauge.transitions", _decoded_by(decode_transition)),
    TableSpec(DELIVERIES, "flowgauge.deliveries", _decoded_by(decode_delivery)),
    TableSpec(DLQ, "flowgauge.dlq", _decoded_by(decode_dead_letter)),
)

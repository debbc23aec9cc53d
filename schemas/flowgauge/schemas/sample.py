"""The sample: what one event means to one rule, and the message that carries a batch of them.

    source partition     offsets   …  40  41  42  43  44  45 …
    one message per samples partition      [41 ─────── 45)        contiguous, split only between offsets

The matcher writes them, the detector reads them. `key[0]` is always the tenant.
"""

import msgspec

from flowgauge.schemas.errors import Unreadable


class Sample(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One event as one rule sees it."""

    offset: int
    append_ms: int  # the clock of the source at this record
    rule: int  # index into the rule set of the message's version
    key: tuple[str, ...]  # (tenant, value of each for_each field)
    occurred_us: int
    outcome: str  # what the rule's kind calls this event: "failed", "finished", "seen", "scheduled", …
    event_id: str
    run: str = ""
    flow: str = ""
    value: float | None = None  # the number the rule reads, if it reads one
    scheduled_ms: int | None = None


class SampleMessage(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """All samples of one source in the offsets [start, end) for one samples partition."""

    log_id: str
    source: int
    start: int
    end: int
    clock_ms: int  # the source's clock after `end - 1`, over all its records, samples or not
    rules_version: int
    switched_ms: int  # clock at the marker that began this version, if `start` is that marker; else 0
    samples: list[Sample]


encode_message = msgspec.msgpack.Encoder().encode
decode_message = msgspec.msgpack.Decoder(SampleMessage).decode


def read_message(value: bytes, where: str) -> SampleMessage:
    """Return the message; raise Unreadable with `where` it stands: without it, every window would miss samples."""
    try:
        return decode_message(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(where, error) from error

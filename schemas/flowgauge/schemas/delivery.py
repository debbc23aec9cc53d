"""The delivery: what became of telling one channel about one transition."""

from typing import Literal, get_args

import msgspec

Outcome = Literal["started", "delivered", "failed", "dead", "superseded", "backfilled", "silenced"]
OUTCOMES: tuple[str, ...] = get_args(Outcome)


class Delivery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One step in the life of a delivery. The newest by (attempt, at_ms) is its present state."""

    delivery_id: str
    transition_id: str
    incident_id: str
    tenant: str
    rule: str
    channel: str
    to_state: str
    attempt: int
    outcome: Outcome
    at_ms: int  # processing time at the notifier
    status: int = 0  # HTTP status; 0 when none came
    elapsed_ms: int = 0
    reason: str = ""  # why, in words of ours or, where a person ended it, of theirs; never a host, a URL or a secret
    next_attempt_ms: int = 0


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A record of the dlq: what could not be read, why, and where it came from."""

    tenant: str
    reason: str
    detail: str
    origin: str  # "gateway", "sink", …
    at_ms: int
    value: bytes  # the original bytes, base64 in JSON, cut to `DEAD_LETTER_BYTES_MAX`
    size: int  # how many bytes there were
    source_partition: int = -1
    source_offset: int = -1


DEAD_LETTER_BYTES_MAX = 65_536  # enough to see what was sent, not enough to fill a disk

encode_delivery = msgspec.json.Encoder().encode
decode_delivery = msgspec.json.Decoder(Delivery).decode
encode_dead_letter = msgspec.json.Encoder().encode
decode_dead_letter = msgspec.json.Decoder(DeadLetter).decode

"""The records in the events topic that are no events: pulses, rule-set markers and the end of a load."""

import msgspec

from flowgauge.schemas.errors import Unreadable


class Pulse(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One second passed at the sender. Goes into every events partition."""

    sent_ms: int
    log_id: str


class RulesMarker(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """From this offset on, events of this partition are matched by the rule set `version`."""

    version: int


encode_record = msgspec.json.Encoder().encode
decode_pulse = msgspec.json.Decoder(Pulse).decode
decode_rules_marker = msgspec.json.Decoder(RulesMarker).decode


def read_pulse(value: bytes, where: str) -> Pulse:
    """Return the pulse; raise Unreadable with `where` it stands."""
    try:
        return decode_pulse(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"the pulse at {where}", error) from error


def read_rules_marker(value: bytes, where: str) -> RulesMarker:
    """Return the marker; raise Unreadable with `where` it stands."""
    try:
        return decode_rules_marker(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"the marker of rules at {where}", error) from error

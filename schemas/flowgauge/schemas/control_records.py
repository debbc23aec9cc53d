"""The records in the events topic that are no events: pulses, rule-set markers and the end of a load."""

import msgspec


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

"""What the demo's receiver was told, against what a replay of the history says must be told. Pure."""

from dataclasses import dataclass, field

import msgspec

from flowgauge.sinks.webhooks.message import Message

_decode = msgspec.json.Decoder(Message).decode


@dataclass(slots=True)
class Findings:
    """Verified incidents so far. `predicted` are the ids of the history's, by an offline replay of the same events."""

    predicted: frozenset[str]
    told: dict[str, str] = field(default_factory=dict[str, str])  # incident id → its summary
    verified: int = 0
    refused: int = 0

    def note(self, message_id: str, body: bytes, *, is_verified: bool) -> list[str]:
        """Take in one message and return the lines to print about it."""
        if not is_verified:
            self.refused += 1
            return [f"refused   webhook {message_id}: its signature does not hold"]
        incident = _decode(body).data
        self.verified += 1
        lines = [f"verified  webhook {message_id} says {incident.state}: the signature holds"]
        if incident.state == "firing" and incident.incident_id not in self.told:
            self.told[incident.incident_id] = incident.summary
            era = "history" if incident.incident_id in self.predicted else "live"
            lines.insert(0, f"incident  {incident.summary} ({era}, since {incident.opened_at[11:19]} UTC)")
        return lines

    @property
    def missing(self) -> frozenset[str]:
        """Incidents of the history that nobody was told of yet."""
        return self.predicted - self.told.keys()

    @property
    def live(self) -> int:
        """How many incidents were found beyond the history."""
        return len(self.told.keys() - self.predicted)

    @property
    def is_complete(self) -> bool:
        """Everything the history holds and at least one live incident was told."""
        return not self.missing and self.live > 0

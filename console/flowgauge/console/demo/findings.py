"""What the demo's receiver was told, against what a replay of the history says must be told. Pure."""

from dataclasses import dataclass, field

import msgspec

from flowgauge.sinks.webhooks.message import Message

_decode = msgspec.json.Decoder(Message).decode


@dataclass(slots=True)
class Findings:
    """Verified incidents so far. `predicted` are the ids of the history's, by an offline replay of the same events."""

    predicted: frozenset[str]
    told: set[str] = field(default_factory=set[str])  # ids of incidents that were seen firing
    numbers: dict[str, int] = field(default_factory=dict[str, int])  # incident id → what the lines call it, from 1
    verified: int = 0
    refused: int = 0

    def note(self, message_id: str, body: bytes, *, is_verified: bool) -> list[str]:
        """Take in one message and return the lines to print about it."""
        if not is_verified:
            self.refused += 1
            return [f"refused   webhook {message_id}: its signature does not hold"]
        incident = _decode(body).data
        self.verified += 1
        number = self.numbers.setdefault(incident.incident_id, len(self.numbers) + 1)
        key = ", ".join(incident.key.values())
        name = f"{incident.rule} ({key})" if key else incident.rule
        lines = [f"verified  #{number} {name} is {incident.state}: the signature of webhook {message_id} holds"]
        if incident.state == "firing" and incident.incident_id not in self.told:
            self.told.add(incident.incident_id)
            era = "history" if incident.incident_id in self.predicted else "live"
            since = f"{incident.opened_at[:10]} {incident.opened_at[11:19]} UTC"
            lines.insert(0, f"incident  #{number} {incident.summary} ({era}, since {since})")
        return lines

    @property
    def missing(self) -> frozenset[str]:
        """Incidents of the history that nobody was told of yet."""
        return self.predicted - self.told

    @property
    def live(self) -> int:
        """How many incidents were found beyond the history."""
        return len(self.told - self.predicted)

    @property
    def is_complete(self) -> bool:
        """Everything the history holds and at least one live incident was told."""
        return not self.missing and self.live > 0

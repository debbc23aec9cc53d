"""Dead letters: deliveries that were given up, kept so that somebody can have them sent again. Pure.

Each is kept with the end of its incident, whatever became of that: who is told of a state again must hear of the end
after it. Bounded: LETTERS_MAX, the oldest go first and are counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from flowgauge.schemas.errors import Unreadable
from flowgauge.schemas.lane import action_of
from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks.message import fitted

LETTERS_MAX = 2_000  # of one partition: some megabytes


class Letter(msgspec.Struct, array_like=True):
    """One delivery that was given up."""

    channel: str
    transition: Transition
    dead_ms: int  # `at_ms` of its newest record: the next one's is later, whatever the clock does
    attempt: int  # how many were begun: the next is counted on from here
    repeat: int = 0  # the how-manieth reminder it was
    end: Transition | None = None  # of the incident, if that is over


_decode = msgspec.msgpack.Decoder(Letter).decode


def read_letter(name: str, encoded: bytes) -> Letter:
    """Return a letter as it was stored; raise Unreadable for what another version wrote."""
    try:
        return _decode(encoded)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"what the notifier keeps of {name!r}", error) from error


@dataclass(slots=True)
class DeadLetters:
    """All of one partition, by delivery id, in the order of dying. `dirty` names what is to be stored anew."""

    dropped: int = 0
    dirty: dict[str, None] = field(default_factory=dict[str, None])
    _letters: dict[str, Letter] = field(default_factory=dict[str, Letter])
    _by_line: dict[tuple[str, str], set[str]] = field(default_factory=dict[tuple[str, str], set[str]])

    def __len__(self) -> int:
        return len(self._letters)

    def get(self, delivery_id: str) -> Letter | None:
        """Return a letter that is still kept."""
        return self._letters.get(delivery_id)

    def bury(self, delivery_id: str, letter: Letter) -> None:
        """Keep a delivery that was given up."""
        self._letters.pop(delivery_id, None)
        self._letters[delivery_id] = letter
        self._by_line.setdefault((letter.transition.incident_id, letter.channel), set()).add(delivery_id)
        self.dirty[delivery_id] = None
        if len(self._letters) > LETTERS_MAX:
            self.dropped += 1
            self.take(next(iter(self._letters)))

    def note_end(self, incident_id: str, channel: str, end: Transition) -> None:
        """Keep the end of an incident with all that the channel was to be told before."""
        for delivery_id in self._by_line.get((incident_id, channel), ()):
            self._letters[delivery_id].end = fitted(end)
            self.dirty[delivery_id] = None

    def take(self, delivery_id: str) -> Letter | None:
        """Give a letter out: it is kept no more."""
        letter = self._letters.pop(delivery_id, None)
        if letter is not None:
            self.dirty[delivery_id] = None
            line = letter.transition.incident_id, letter.channel
            self._by_line[line].discard(delivery_id)
            if not self._by_line[line]:
                del self._by_line[line]
        return letter

    def since(self, since_ms: int, until_ms: int, channel: str, tenant: str) -> Iterator[str]:
        """Yield the ids of what died from one moment to before another, in that order.

        That is of a lane, or "" of all channels: an action is done again only where somebody names it.
        """
        for delivery_id, letter in self._letters.items():
            is_lane = channel == letter.channel or (channel == "" and action_of(letter.channel) is None)
            if is_lane and tenant in {"*", letter.transition.tenant} and since_ms <= letter.dead_ms < until_ms:
                yield delivery_id

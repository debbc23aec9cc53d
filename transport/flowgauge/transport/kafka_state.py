"""The state of steps as records of a compacted topic. Pure.

    key                              value
    log_id:2f…                       –                               the identity of the log, in partition 0
    detector/samples/3               {"next_offset": …, "log_id": …}  the position of one partition's steps
    detector/samples/3:NAME          what the stage keeps as NAME; a tombstone deletes it

The steps of partition p of an input keep theirs in partition p modulo the number there are, so that a restore reads
one partition from its beginning. The position is written in the transaction of the state it belongs to.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from flowgauge.schemas.errors import InvariantBroken, LogMismatch
from flowgauge.schemas.topics import OUTBOX, STATE, TRANSITIONS
from flowgauge.transport.log import Record

LOG_ID = "log_id:"


class Position(msgspec.Struct, frozen=True):
    """Where the steps of one partition go on, and in which log."""

    next_offset: int
    log_id: str


encode_position = msgspec.json.Encoder().encode
_decode_position = msgspec.json.Decoder(Position).decode


def state_topic(topic: str) -> str:
    """Return the compacted topic that holds the state of steps on `topic`."""
    return OUTBOX if topic == TRANSITIONS else STATE


@dataclass(frozen=True, slots=True)
class StateKeys:
    """The keys of one partition's steps."""

    group: str
    topic: str
    partition: int

    @property
    def position(self) -> str:
        """The key of the position record."""
        return f"{self.group}/{self.topic.rpartition('.')[2]}/{self.partition}"

    def of(self, name: str) -> str:
        """Return the key of what the stage keeps as `name`."""
        return f"{self.position}:{name}"


@dataclass(slots=True)
class Restored:
    """What the records of a state partition add up to, for the steps of `keys`."""

    keys: StateKeys
    log_id: str
    next_offset: int | None = None  # None before the first position
    state: dict[str, bytes] = field(default_factory=dict[str, bytes])

    def see(self, records: Iterable[Record]) -> None:
        """Take in records in offset order. Raises LogMismatch for a position in another log."""
        position = self.keys.position
        prefix = self.keys.of("")
        for record in records:
            if record.key == position:
                self.next_offset = self._position(record).next_offset
            elif record.key.startswith(prefix):
                name = record.key.removeprefix(prefix)
                if record.value is None:
                    self.state.pop(name, None)
                else:
                    self.state[name] = record.value

    def _position(self, record: Record) -> Position:
        try:
            found = _decode_position(record.value or b"")
        except msgspec.MsgspecError as error:
            raise InvariantBroken(
                f"{state_topic(self.keys.topic)} offset {record.offset}: the position {self.keys.position} cannot be "
                f"read ({error}): update this program to the version that wrote it, or restore the topic from a backup"
            ) from error
        if found.log_id != self.log_id:
            raise LogMismatch(
                f"the state of {self.keys.position} is of log {found.log_id}, this is log {self.log_id}: topics were "
                "deleted or restored one by one. Restore all from one backup, or begin a new log under another "
                "kafka.prefix"
            )
        return found


def log_id_of(records: Iterable[Record]) -> str:
    """Return the first log id among `records`, "" without one. Each is under a key of its own: compaction keeps it."""
    return next((record.key.removeprefix(LOG_ID) for record in records if record.key.startswith(LOG_ID)), "")

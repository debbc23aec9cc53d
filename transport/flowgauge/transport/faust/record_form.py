"""How a record of one of our topics becomes a value for an agent, and when it becomes none. Pure.

event, transition, delivery      → that record of flowgauge.schemas
pulse, marker of rules or load   → NotForAgents: it steers flowgauge, and no agent is told
anything else                    → InvalidEvent with a reason of SKIP_REASONS
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from flowgauge.schemas.check import REASONS, check, decode_json
from flowgauge.schemas.delivery import Delivery, decode_delivery, encode_delivery
from flowgauge.schemas.errors import InvalidEvent, InvariantBroken
from flowgauge.schemas.event import Event, encode_event
from flowgauge.schemas.topics import DELIVERIES, EVENTS, TRANSITIONS, RecordKind
from flowgauge.schemas.transition import Transition, decode_transition, encode_transition
from flowgauge.transport.kafka_records import Header, from_kafka

NO_VALUE = "no value"
UNKNOWN_KIND = "unknown kind of record"
SKIP_REASONS = (*REASONS, NO_VALUE, UNKNOWN_KIND)

R = TypeVar("R")


class NotForAgents(Exception):
    """A record that steers flowgauge itself."""


@dataclass(slots=True)
class Arrived:
    """A record as Faust has it, with Kafka's names and units."""

    offset: int
    timestamp: int  # ms
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]


@dataclass(frozen=True, slots=True)
class RecordForm(Generic[R]):
    """The values of one topic: which they are, and how they are read and written."""

    topic: str
    record_type: type[R]
    decode: Callable[[bytes, int], R]  # of bytes that were appended at a time in ms; raises InvalidEvent
    encode: Callable[[R], bytes]

    def read(self, arrived: Arrived, where: str) -> R:
        """Return the value of a record. Raises NotForAgents or InvalidEvent; `where` is its topic and partition."""
        try:
            (record,) = from_kafka([arrived], where)
        except InvariantBroken as error:
            raise InvalidEvent(UNKNOWN_KIND, str(error)) from None
        if record.kind != RecordKind.EVENT:
            raise NotForAgents
        if record.value is None:
            raise InvalidEvent(NO_VALUE, "a record of this topic has one")
        return self.decode(record.value, record.append_ms)


# An event is one for agents when it is one for the matcher and the sink.
EVENT_FORM = RecordForm(EVENTS, Event, check, encode_event)
TRANSITION_FORM = RecordForm(
    TRANSITIONS, Transition, lambda raw, _: decode_json(raw, decode_transition), encode_transition
)
DELIVERY_FORM = RecordForm(DELIVERIES, Delivery, lambda raw, _: decode_json(raw, decode_delivery), encode_delivery)

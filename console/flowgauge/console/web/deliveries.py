"""Deliveries as programs and forms ask about them and have them sent again, and as all are told of them. Pure.

Of what a channel answered only a status and a reason from a bounded set are known: neither its address nor a body.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, TypedDict, TypeVar

import msgspec

from flowgauge.console.web.acts import ID_SHOWN, Person, person
from flowgauge.console.web.answer_records import SentDelivery
from flowgauge.schemas.counted import counted
from flowgauge.schemas.delivery import OUTCOMES
from flowgauge.schemas.errors import BadInput, FlowgaugeError
from flowgauge.schemas.lane import ACTION_PREFIX
from flowgauge.schemas.times import rfc3339
from flowgauge.sinks.clickhouse.deliveries import DeliveryRecord, ToldDelivery
from flowgauge.sinks.clickhouse.incidents import DeliveryView

REPLAY_BYTES_MAX = 65_536  # names as a form writes them fit
LANE_CHARS_MAX = 200 + len(ACTION_PREFIX)
LAG = "What the notifier did just now may be some seconds away."
EXAMPLE_ID: Final = "0123456789abcdef0123456789abcdef"

Lane = Annotated[str, msgspec.Meta(max_length=LANE_CHARS_MAX)]


class ReplayOne(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`by` is who has it sent again: where that is left out, the user name that the token came with."""

    by: Person = ""


class ReplayAll(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that was given up since, of one channel or, without one, of all; actions are run again by name alone.

    `since` is how long ago, a day in UTC or a time. `by` is who has it sent again, as in ReplayOne.
    """

    since: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
    channel: Lane = ""
    by: Person = ""


class DeliveryTold(SentDelivery):
    """How a delivery stands, and of which incident it is."""

    incident_id: str
    rule: str


class RecordTold(TypedDict):
    """One step in the life of a delivery. `status` is the HTTP status, 0 where none came."""

    attempt: int
    outcome: str
    at: str
    status: int
    reason: str
    next_attempt: str | None
    elapsed_ms: int


class WholeDelivery(DeliveryTold):
    """A delivery with all that was recorded of it, the oldest first."""

    records: list[RecordTold]


class DeliveryList(TypedDict):
    """Deliveries as they stand, the newest first."""

    columns: list[str]
    rows: list[DeliveryTold]


class ReplayTold(TypedDict):
    """What is to be sent again: one delivery, or as many as stand given up since then, of a channel or of all."""

    tenant: str
    delivery_id: str | None
    incident_id: str | None
    channel: str | None
    since: str | None
    deliveries: int
    says: str


class NotDead(FlowgaugeError):
    """A delivery that was not given up is not sent again."""

    def __init__(self, delivery: ToldDelivery) -> None:
        super().__init__(
            f"delivery {delivery.delivery_id[:ID_SHOWN]} was not given up, it is {delivery.outcome}: only what is dead "
            f"is sent again. {LAG} If it was given up by now, ask again"
        )


COLUMNS: tuple[str, ...] = tuple(DeliveryTold.__annotations__)

_Asked = TypeVar("_Asked", ReplayOne, ReplayAll)


def read_replay(kind: type[_Asked], body: bytes | Mapping[str, str], login: str) -> _Asked:
    """Return what a body asks to send again, JSON or the fields of a form; `login` asks where it does not say who.

    Raises BadInput with the field where it is not as expected.
    """
    example = '{"by":"ann"}' if kind is ReplayOne else '{"channel":"data-oncall","since":"1d","by":"ann"}'
    try:
        asked = msgspec.json.decode(body, type=kind) if isinstance(body, bytes) else msgspec.convert(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"the body, such as {example}: {error}") from None
    return msgspec.structs.replace(asked, by=person(asked.by or login))


def lane_of(text: str) -> str:
    """Return the channel or action that `text` names; raise BadInput that names the field where it is too long."""
    if len(text) > LANE_CHARS_MAX:
        raise BadInput(f"channel: expected a name of at most {LANE_CHARS_MAX} characters, got {len(text)}")
    return text


def outcome_of(text: str) -> str:
    """Return the outcome that `text` names, "" for any; raise BadInput that names the field for what is none."""
    if text and text not in OUTCOMES:
        raise BadInput(f"outcome: expected one of {', '.join(OUTCOMES)}, got {text[:20]!r}")
    return text


def sent_delivery(delivery: DeliveryView) -> SentDelivery:
    """Return how telling one channel stands."""
    return {
        "delivery_id": delivery.delivery_id,
        "transition_id": delivery.transition_id,
        "channel": delivery.channel,
        "to": delivery.to_state,
        "outcome": delivery.outcome,
        "attempts": delivery.attempts,
        "status": delivery.status,
        "reason": delivery.reason,
        "at": rfc3339(delivery.at_ms),
        "next_attempt": rfc3339(delivery.next_attempt_ms) if delivery.next_attempt_ms else None,
        "elapsed_ms": delivery.elapsed_ms,
    }


def delivery_json(delivery: ToldDelivery) -> DeliveryTold:
    """Return a delivery as a row of a list, with COLUMNS."""
    return {**sent_delivery(delivery), "incident_id": delivery.incident_id, "rule": delivery.rule}


def whole_json(delivery: ToldDelivery, records: Sequence[DeliveryRecord]) -> WholeDelivery:
    """Return a delivery with its records."""
    return {**delivery_json(delivery), "records": [_record(each) for each in records]}


def replayed_one(tenant: str, delivery: ToldDelivery) -> ReplayTold:
    """Return that a delivery is to be sent again."""
    return {
        "tenant": tenant,
        "delivery_id": delivery.delivery_id,
        "incident_id": delivery.incident_id,
        "channel": delivery.channel,
        "since": None,
        "deliveries": 1,
        "says": f"delivery {delivery.delivery_id[:ID_SHOWN]} is sent to {delivery.channel} again, under the same id",
    }


def replayed_all(tenant: str, channel: str, since_ms: int, dead: int) -> ReplayTold:
    """Return that so many deliveries are to be sent again."""
    since = rfc3339(since_ms)
    whose = f" to {channel}" if channel else ""
    what = counted(dead, "delivery", "deliveries")
    verb = "is" if dead == 1 else "are"
    says = f"{what}{whose} given up since {since} {verb} sent again, under the same ids"
    return {
        "tenant": tenant,
        "delivery_id": None,
        "incident_id": None,
        "channel": channel or None,
        "since": since,
        "deliveries": dead,
        "says": says if dead else f"no delivery{whose} is known to be given up since {since}. {LAG}",
    }


def _record(record: DeliveryRecord) -> RecordTold:
    return {
        "attempt": record.attempt,
        "outcome": record.outcome,
        "at": rfc3339(record.at_ms),
        "status": record.status,
        "reason": record.reason,
        "next_attempt": rfc3339(record.next_attempt_ms) if record.next_attempt_ms else None,
        "elapsed_ms": record.elapsed_ms,
    }

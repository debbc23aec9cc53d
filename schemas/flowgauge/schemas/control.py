"""The control: what a person (or a script of theirs) did about incidents, silences and deliveries, with who and when.

One record of `flowgauge.controls` each. The topic is read from its beginning by whoever needs to know how things stand,
so a control is never changed: a later one says otherwise.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias

import msgspec

from flowgauge.schemas.errors import Unreadable

TEXT_CHARS_MAX = 2_000  # of a note or a reason
PERSON_CHARS_MAX = 200  # of who did it, and of whose an incident is
MATCHERS_MAX = 16  # of one silence; all of them must hold

MatcherOp = Literal["=", "!=", "=~", "!~"]


class Matcher(msgspec.Struct, frozen=True, array_like=True):
    """One condition of a silence: `field` is rule, severity, a name of the incident's key or a label's name.

    A field that an incident does not have is empty. Patterns are matched as a whole.
    """

    field: str
    op: MatcherOp
    value: str


class Recurrence(msgspec.Struct, frozen=True, kw_only=True):
    """The hours of a recurring window: each of `days`, from a minute of the day to another, by the clock of a place.

    A window that ends at or before the minute it begins ends on the next day.
    """

    days: list[int]  # 0 is Monday
    from_minute: int  # 0 to 1439
    to_minute: int
    timezone: str  # IANA


class Silence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What hides matching incidents from channels between two moments; with a recurrence, in its hours only."""

    silence_id: str
    matchers: list[Matcher]
    starts_ms: int
    ends_ms: int
    reason: str
    recurrence: Recurrence | None = None


class _Control(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="act"):
    control_id: str
    tenant: str  # whose incidents it is about; "*" is everybody's, and the operator's alone to say
    at_ms: int
    by: str  # who did it


class Acknowledged(_Control, frozen=True, tag="ack"):
    """Somebody looks after the incident."""

    incident_id: str


class Assigned(_Control, frozen=True, tag="assign"):
    """The incident is `to`'s; "" is nobody's."""

    incident_id: str
    to: str


class Noted(_Control, frozen=True, tag="note"):
    """Somebody wrote something down about the incident."""

    incident_id: str
    text: str


class ResolvedByHand(_Control, frozen=True, tag="resolve"):
    """The incident is over for people, whatever its rule says; its channels are told so."""

    incident_id: str
    reason: str = ""


class Merged(_Control, frozen=True, tag="merge"):
    """The incident is part of another: it is looked after there, and its channels hear no more of it by itself."""

    incident_id: str
    into: str


class Silenced(_Control, frozen=True, tag="silence"):
    """A silence was added."""

    silence: Silence


class SilenceExpired(_Control, frozen=True, tag="expire"):
    """A silence was ended before its time."""

    silence_id: str


class Replayed(_Control, frozen=True, tag="replay"):
    """Send again what was given up: one delivery, or all of a channel since a moment; "" is all, no actions."""

    delivery_id: str = ""
    channel: str = ""
    since_ms: int = 0


class ActionsSwitched(_Control, frozen=True, tag="actions"):
    """The kill switch of automated actions."""

    are_stopped: bool


Act: TypeAlias = Acknowledged | Assigned | Noted | ResolvedByHand | Merged  # on one incident
Control: TypeAlias = Act | Silenced | SilenceExpired | Replayed | ActionsSwitched

encode_control = msgspec.json.Encoder().encode
_decode: Callable[[bytes], Control] = msgspec.json.Decoder(Control).decode


def decode_control(value: bytes) -> Control:
    """Return the control that a record holds; raise Unreadable for what is none."""
    try:
        return _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable("a control", error) from error

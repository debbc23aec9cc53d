"""What people do about incidents, as programs and forms send it and as all are told of it. Pure.

A body is read by its verb alone: the same record is the JSON of the API and the fields of a form.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias, assert_never

import msgspec

from flowgauge.console.web.answer_records import ActTold, HandlingTold, Said
from flowgauge.schemas.control import (
    PERSON_CHARS_MAX,
    TEXT_CHARS_MAX,
    Acknowledged,
    Act,
    Assigned,
    Merged,
    Noted,
    ResolvedByHand,
)
from flowgauge.schemas.controls_in_force import Handling
from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.times import rfc3339

ACT_BYTES_MAX = 65_536  # the longest note, as a form writes it, fits three times
ID_CHARS_MAX = 64
ID_SHOWN = 12  # digits of an id that stands in a sentence

_LINE = r"^[^\x00-\x1f\x7f]*$"
Person = Annotated[str, msgspec.Meta(max_length=PERSON_CHARS_MAX, pattern=_LINE)]
Text = Annotated[str, msgspec.Meta(max_length=TEXT_CHARS_MAX)]
IncidentId = Annotated[str, msgspec.Meta(min_length=6, max_length=ID_CHARS_MAX)]


class _Doing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    by: Person = ""


class Acknowledge(_Doing, frozen=True):
    """Somebody looks after it. `by` is who: where that is left out, the user name that the token came with."""


class Assign(_Doing, frozen=True):
    """It is `to`'s; "" is nobody's. `by` is who says so, as in Acknowledge."""

    to: Person


class Note(_Doing, frozen=True):
    """What was seen or done. `by` is who says so, as in Acknowledge."""

    text: Text


class Resolve(_Doing, frozen=True):
    """It is over, whatever its rule says. `by` is who says so, as in Acknowledge."""

    reason: Text = ""


class Merge(_Doing, frozen=True):
    """It is part of the incident `into`, by its id or six or more digits of it. `by` is who, as in Acknowledge."""

    into: IncidentId


Doing: TypeAlias = Acknowledge | Assign | Note | Resolve | Merge
Verb = Literal["ack", "assign", "note", "resolve", "merge"]
BODIES: Mapping[Verb, type[Doing]] = {
    "ack": Acknowledge,
    "assign": Assign,
    "note": Note,
    "resolve": Resolve,
    "merge": Merge,
}
EXAMPLES: Mapping[Verb, Mapping[str, str]] = {
    "ack": {"by": "ann"},
    "assign": {"by": "ann", "to": "bob"},
    "note": {"by": "ann", "text": "The disk of orders-db is full."},
    "resolve": {"by": "ann", "reason": "The disk was enlarged."},
    "merge": {"by": "ann", "into": "fedcba9876543210"},
}


def read_doing(verb: Verb, body: bytes | Mapping[str, str], login: str) -> Doing:
    """Return what a body says, JSON or the fields of a form; `login` did it where the body does not say who.

    Raises BadInput with the field where it is not as expected, or says nothing.
    """
    try:
        doing = _decoded(BODIES[verb], body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"the body of {verb}, such as {example_text(verb)}: {error}") from None
    by = person(doing.by.strip() or login)
    if isinstance(doing, Note) and not doing.text.strip():
        raise BadInput("text: expected what is to be noted, got nothing")
    return msgspec.structs.replace(doing, by=by)


def person(name: str) -> str:
    """Return who does something; raise BadInput where nobody can be called so."""
    name = name.strip()
    if not name or len(name) > PERSON_CHARS_MAX or not name.isprintable():
        raise BadInput(f"by: say who does this: a name of at most {PERSON_CHARS_MAX} characters, such as ann")
    return name


def act_of(doing: Doing, *, tenant: str, incident_id: str, control_id: str, at_ms: int) -> Act:
    """Return the control that says what is done; `into` of a merge must be a whole id by now."""
    said = Acknowledged(control_id=control_id, tenant=tenant, at_ms=at_ms, by=doing.by, incident_id=incident_id)
    of = msgspec.structs.asdict(said)
    match doing:
        case Acknowledge():
            return said
        case Assign():
            return Assigned(**of, to=doing.to.strip())
        case Note():
            return Noted(**of, text=doing.text.strip())
        case Resolve():
            return ResolvedByHand(**of, reason=doing.reason.strip())
        case Merge():
            return Merged(**of, into=doing.into)
        case _:
            assert_never(doing)


def example_text(verb: Verb) -> str:
    """Return a body as one writes it."""
    return msgspec.json.encode(EXAMPLES[verb]).decode()


def handling_json(handling: Handling) -> HandlingTold:
    """Return how people handle an incident."""
    acknowledged, resolved = handling.acknowledged, handling.resolved
    return {
        "says": handling_words(handling),
        "acknowledged": _said(acknowledged) if acknowledged else None,
        "assignee": handling.assignee or None,
        "resolved_by_hand": _said(resolved) if resolved else None,
        "merged_into": handling.part_of or None,
    }


def acts_json(handling: Handling) -> list[ActTold]:
    """Return what people did about an incident, the oldest first."""
    return [
        {
            "control_id": act.control_id,
            "act": _verb(act),
            "at": rfc3339(act.at_ms),
            "by": act.by,
            "to": act.to if isinstance(act, Assigned) else None,
            "text": act.text if isinstance(act, Noted) else act.reason if isinstance(act, ResolvedByHand) else None,
            "into": act.into if isinstance(act, Merged) else None,
            "says": act_words(act),
        }
        for act in handling.acts
    ]


def handling_words(handling: Handling) -> str:
    """Return how people handle an incident, in a few words; "" where nobody does."""
    said: list[str] = []
    if handling.part_of:
        said.append(f"part of {handling.part_of[:ID_SHOWN]}")
    if handling.resolved:
        said.append(f"resolved by hand by {handling.resolved.by}")
    if handling.acknowledged:
        said.append(f"acknowledged by {handling.acknowledged.by}")
    if handling.assignee:
        said.append(f"assigned to {handling.assignee}")
    return ", ".join(said)


def act_words(act: Act) -> str:
    """Return what somebody did, as words that follow who and when."""
    match act:
        case Acknowledged():
            return "acknowledged it"
        case Assigned():
            return f"assigned it to {act.to}" if act.to else "assigned it to nobody"
        case Noted():
            return f"noted: {act.text}"
        case ResolvedByHand():
            return "resolved it by hand" + (f": {act.reason}" if act.reason else "")
        case Merged():
            return f"merged it into {act.into[:ID_SHOWN]}"
        case _:
            assert_never(act)


def _decoded(kind: type[Doing], body: bytes | Mapping[str, str]) -> Doing:
    return msgspec.json.decode(body, type=kind) if isinstance(body, bytes) else msgspec.convert(body, type=kind)


def _verb(act: Act) -> str:
    return str(act.__struct_config__.tag)


def _said(act: Acknowledged | ResolvedByHand) -> Said:
    return {"by": act.by, "at": rfc3339(act.at_ms)}

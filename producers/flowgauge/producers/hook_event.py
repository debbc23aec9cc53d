"""A webhook as an event of ours, as its hook says. Pure.

    body, headers ─► ignore? ─► the first form whose `when` finds something ─► each field by its expression ─► event

An expression that finds nothing leaves its field out. What no event can be made of raises InvalidEvent with the reason
`unmappable`, whose detail names the field.
"""

import hashlib
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias, cast

import msgspec
from jmespath.exceptions import JMESPathError

from flowgauge.producers.stable_id import stable_id
from flowgauge.schemas.canonical import canonical
from flowgauge.schemas.check import decode_json
from flowgauge.schemas.errors import InvalidEvent
from flowgauge.schemas.event import EVENT_BYTES_MAX, RELATED_MAX, STATES
from flowgauge.schemas.hook_file import EventForm, Header, Hook, Value, Words, compiled
from flowgauge.schemas.refusal import refusal
from flowgauge.schemas.times import rfc3339

HOOK_BYTES_MAX = EVENT_BYTES_MAX  # of a body: an event has no more
COMMAS_MAX = 50_000  # in a body: a filter over so many values takes a tenth of a second, and a form may have fifty
UNMAPPABLE: Final = "unmappable"
MILLISECONDS_FROM = 100_000_000_000  # as seconds it is the year 5138: a number from here on counts milliseconds

Headers: TypeAlias = Mapping[str, str]  # by small letters

_NAMESPACE: Final = uuid.UUID("5e8a9a0c-2c1b-4b7e-8c3f-6a1d0f4b9e27")  # random, fixed: of ids made here
_ODD: Final = (JMESPathError, ArithmeticError, TypeError, ValueError, RecursionError)  # of expressions on odd bodies
_SHOWN_CHARS_MAX = 60
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Ignored(Exception):
    """The hook says that nothing is to be made of it."""


def event_of(hook: Hook, body: bytes, headers: Headers, *, tenant: str, now_ms: int) -> bytes:
    """Return the event, as JSON, that a webhook with this body becomes; it occurred at `now_ms` where it does not say.

    Raises Ignored, or InvalidEvent.
    """
    if (commas := body.count(b",")) > COMMAS_MAX:
        raise _unmappable(f"{commas} commas, at most {COMMAS_MAX} are looked through")
    try:
        asked = _Asked(decode_json(body, _decode, bytes_max=HOOK_BYTES_MAX), headers)
    except InvalidEvent as invalid:
        raise _unmappable(str(invalid)) from None
    if hook.ignore is not None and _is_found(asked.search("ignore", hook.ignore)):
        raise Ignored
    form = next((each for each in hook.events if each.when is None or _is_found(asked.search("when", each.when))), None)
    if form is None:
        raise _unmappable("no `when` of the hook finds something in it")
    identity = asked.text("id", hook.id) if hook.id is not None else hashlib.sha256(body).hexdigest()
    if identity is None:
        raise _unmappable("`id` finds nothing")
    event = _fields(asked, form, now_ms)
    event["id"] = stable_id(_NAMESPACE, tenant, hook.name, identity)
    raw = _encode({name: value for name, value in event.items() if value is not None and value not in ({}, [])})
    try:
        canonical(raw, tenant=tenant, append_ms=now_ms)
    except InvalidEvent as invalid:
        said = InvalidEvent(invalid.reason, refusal(invalid, raw))
        raise _unmappable(said.detail) from None
    return raw


class _Asked:
    """A body and its headers, asked by expressions."""

    def __init__(self, body: object, headers: Headers) -> None:
        self._body = body
        self._headers = headers

    def search(self, field: str, expression: str) -> object:
        try:
            found: object = compiled(expression).search(self._body)
        except _ODD as error:
            raise _unmappable(f"`{field}`: {' '.join(str(error).split())}") from None
        return found

    def value(self, field: str, value: Value) -> object:
        if isinstance(value, Header):
            return self._headers.get(value.header.lower())
        return self.search(field, value)

    def text(self, field: str, value: Value | None) -> str | None:
        return None if value is None else _text(field, self.value(field, value))

    def time(self, field: str, value: Value | None) -> str | None:
        return None if value is None else _time(field, self.value(field, value))


def _fields(asked: _Asked, form: EventForm, now_ms: int) -> dict[str, object]:
    name, flow, run, task = (
        asked.text(field, value)
        for field, value in (("event", form.event), ("flow", form.flow), ("run", form.run), ("task", form.task))
    )
    if name is None:
        raise _unmappable(f"`event` finds nothing{_as_text(form.event)}")
    resource = asked.text("resource", form.resource) or _resource(form.kind, run, task)
    if resource is None:
        raise _unmappable(f"`{'run' if form.kind == 'flow-run' else 'task'}` finds nothing")
    payload = {
        key: found for key, value in form.payload.items() if (found := asked.value(f"payload.{key}", value)) is not None
    }
    related = [*_about(form.kind, flow, run), *_related(asked, form)]
    if len(related) > RELATED_MAX:
        payload["related_left_out"] = len(related) - RELATED_MAX
    return {
        "id": "",  # the first of a record
        "occurred": asked.time("occurred", form.occurred) or rfc3339(now_ms),
        "event": name,
        "kind": form.kind,
        "flow": flow,
        "run": run,
        "task": task,
        "state": _state(asked, form),
        "scheduled_for": asked.time("scheduled_for", form.scheduled_for),
        "resource": {"id": resource, "name": flow} if flow and form.kind == "flow-run" else {"id": resource},
        "related": related[:RELATED_MAX],
        "payload": payload,
    }


def _as_text(value: Value) -> str:
    """Return the hint for a bare word, which is a name to look for where its writer may have meant text."""
    return f" (is it text? write \"'{value}'\")" if isinstance(value, str) and value.isidentifier() else ""


def _resource(kind: str, run: str | None, task: str | None) -> str | None:
    if kind == "flow-run":
        return run and f"flow-run.{run}"
    return task and f"task-run.{task}"


def _about(kind: str, flow: str | None, run: str | None) -> Iterator[dict[str, str]]:
    if flow:
        yield {"id": f"flow.{flow}", "role": "flow", "name": flow}
    if run and kind != "flow-run":
        yield {"id": f"flow-run.{run}", "role": "flow-run"}


def _related(asked: _Asked, form: EventForm) -> Iterator[dict[str, str]]:
    for role, value in form.related.items():
        found = asked.value(f"related.{role}", value)
        for each in cast("list[object]", found) if isinstance(found, list) else [found]:
            if name := _text(f"related.{role}", each):
                yield {"id": f"{role}.{name}", "role": role, "name": name}


def _state(asked: _Asked, form: EventForm) -> str | None:
    if form.state is None:
        return None
    if isinstance(form.state, Words):
        word = asked.text("state", form.state.from_)
        if word is not None and word not in form.state.words:
            raise _unmappable(f"`state`: {_shown(word)} stands in no `words`: add it, with null where it is no state")
        return None if word is None else form.state.words[word]
    state = asked.text("state", form.state)
    if state is not None and state not in STATES:
        raise _unmappable(f"`state`: got {_shown(state)}: expected one of {', '.join(STATES)}")
    return state


def _text(field: str, found: object) -> str | None:
    """Return what was found as text; None for nothing and for text without a character."""
    if found is None or isinstance(found, str):
        return found or None
    if isinstance(found, bool | int | float):
        return _encode(found).decode()
    raise _unmappable(f"`{field}`: expected text or a number, got {_shown(found)}")


def _time(field: str, found: object) -> str | None:
    """Return a time as RFC 3339: of ISO 8601 (without a zone it is UTC), or of seconds or milliseconds since 1970."""
    if found is None or found == "":
        return None
    try:
        if isinstance(found, int | float) and not isinstance(found, bool):
            seconds = found / 1000 if found >= MILLISECONDS_FROM else found
            return datetime.fromtimestamp(seconds, UTC).isoformat()
        moment = datetime.fromisoformat(cast("str", found).replace(" UTC", "+00:00"))
    except (ArithmeticError, AttributeError, OSError, TypeError, ValueError):
        raise _unmappable(f"`{field}`: expected a time, in ISO 8601 or since 1970, got {_shown(found)}") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


def _is_found(found: object) -> bool:
    """Tell whether an expression found something: as JMESPath has it, nothing is false, null and what is empty."""
    return not (found is None or found is False or found in ("", [], {}))


def _shown(value: Any) -> str:
    text = _encode(value).decode()
    return text if len(text) <= _SHOWN_CHARS_MAX else text[: _SHOWN_CHARS_MAX - 1] + "…"


def _unmappable(detail: str) -> InvalidEvent:
    return InvalidEvent(UNMAPPABLE, detail)

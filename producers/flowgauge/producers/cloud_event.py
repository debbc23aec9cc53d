"""CloudEvents 1.0 as events of ours: one mapping, whatever form they travel in. Pure.

    structured   {"specversion": "1.0", "id": …, "data": …}      over HTTP, alone or in a batch, and in Kafka
    binary       ce-id: …    ce-source: …    and a body          HTTP, values percent-encoded
                 ce_id: …    ce_source: …    and a value         Kafka, values as they are

Laws: an event becomes the same record in each form, byte for byte; and it has the same id each time, a function of its
source and its id, which together name a CloudEvent. docs/connect-cloudevents.md has the table, docs/adr/0028 says why
the `cloudevents` package does not read here.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, TypeVar
from urllib.parse import unquote_to_bytes
from uuid import UUID, uuid5

import msgspec

from flowgauge.schemas.check import decode_json, has_same_members, names_a_key_twice
from flowgauge.schemas.errors import InvalidEvent
from flowgauge.schemas.event import EVENT_BYTES_MAX
from flowgauge.schemas.times import rfc3339

STRUCTURED: Final = "application/cloudevents"  # what the content type begins with, unless the event is binary
NAMESPACE: Final = UUID("8f5a3c1e-6d0b-5a52-9f47-2c1b7d9e4a60")  # of a source's own namespace; never changes
FIELDS: Final = {  # extension → field of ours; any other is a label of the resource
    "kind": "kind",
    "flow": "flow",
    "run": "run",
    "task": "task",
    "state": "state",
    "scheduledfor": "scheduled_for",
}
_ABOUT_DATA = ("dataschema", "datacontenttype")
_NOT_KEPT = ("partitionkey",)  # says where a record lies in Kafka: it comes as the key, or not at all
_JSON = "application/json"  # said of data that is kept as JSON: nothing new
_SOURCES_CACHED = 1_024  # namespaces of sources; beyond it they are made again
_INTEGER_BITS_MAX = 64  # the specification says 32

_NAME = re.compile(r"[a-z0-9]*")
_LIST: Final = f"a list of events is sent over HTTP, with Content-Type {STRUCTURED}-batch+json"
_TIME_FORM: Final = 'expected a time with its zone, such as "2026-11-24T09:30:00Z"'
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_Decoded = TypeVar("_Decoded")
_encode = msgspec.json.Encoder().encode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_decode_anything = msgspec.json.Decoder().decode


def of_structured(raw: bytes, received_ms: int) -> bytes:
    """Return the event of ours that a CloudEvent in JSON becomes; `received_ms` is its time where it names none.

    Raises InvalidEvent. What it returns is still to be checked, as any sender's event.
    """
    try:
        given = _decoded(raw, _decode_object)
    except InvalidEvent as invalid:
        if raw.lstrip()[:1] != b"[":
            raise
        raise InvalidEvent(invalid.reason, f"{invalid.detail}: {_LIST}") from None
    data, packed = given.pop("data", None), given.pop("data_base64", None)
    if packed is not None:
        if data is not None:
            raise InvalidEvent("wrong field", "both `data` and `data_base64`: send one of them")
        data = _data(_unpacked(packed), given.get("datacontenttype"))
    return _event(given, data, received_ms)


def of_binary(attributes: dict[str, str], data: bytes, received_ms: int) -> bytes:
    """Return the same of a CloudEvent whose attributes stand beside its data."""
    for name in ("data", "data_base64"):
        if name in attributes:
            raise InvalidEvent("wrong field", f"`{name}` is no attribute: data is what the headers stand beside")
    return _event(attributes, _data(data, attributes.get("datacontenttype")), received_ms)


def of_kafka(headers: Sequence[tuple[str, bytes | None]], value: bytes | None, received_ms: int) -> bytes:
    """Return the same of a record in Kafka: structured unless it has `ce_` headers and no content type of ours."""
    attributes = _kafka_attributes(headers)
    is_structured = attributes.get("datacontenttype", "").lower().startswith(STRUCTURED)
    if is_structured or attributes.keys() <= {"datacontenttype"}:
        return of_structured(value or b"", received_ms)
    return of_binary(attributes, value or b"", received_ms)


def http_attributes(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the attributes in the headers of a request; their names are in small letters already.

    Raises InvalidEvent for one that stands twice or is not UTF-8 once it is decoded.
    """
    attributes: dict[str, str] = {}
    for name, value in headers:
        if name.startswith(b"ce-"):
            _add(attributes, name[3:].decode("latin-1"), _unescaped(value))
        elif name == b"content-type":
            _add(attributes, "datacontenttype", value)
    return attributes


def as_sent(headers: Iterable[tuple[bytes, bytes]], data: bytes) -> bytes:
    """Return a binary event as it reads on the wire, without headers that say nothing of it: one may be a token."""
    said = [each for each in headers if each[0].startswith((b"ce-", b"ce_")) or each[0] == b"content-type"]
    if all(name == b"content-type" for name, _ in said):
        return data  # a structured one
    return b"".join([*(b"%s: %s\r\n" % each for each in said), b"\r\n", data])


def event_id(source: str, its_id: str) -> UUID:
    """Return our id of a CloudEvent."""
    return uuid5(_namespace_of(source), its_id)


@lru_cache(maxsize=_SOURCES_CACHED)
def _namespace_of(source: str) -> UUID:
    return uuid5(NAMESPACE, source)


def _kafka_attributes(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, str]:
    attributes: dict[str, str] = {}
    for name, value in headers:
        lower = name.lower()
        if lower.startswith("ce_"):
            _add(attributes, lower.removeprefix("ce_"), value or b"")
        elif lower == "content-type":
            _add(attributes, "datacontenttype", value or b"")
    return attributes


def _unescaped(value: bytes) -> bytes:
    """Return a header's value without the quotes of older senders, then percent-decoded once."""
    if len(value) > 1 and value[:1] == value[-1:] == b'"':
        value = _ESCAPED.sub(rb"\1", value[1:-1])
    return unquote_to_bytes(value)


def _add(attributes: dict[str, str], name: str, value: bytes) -> None:
    if name in attributes:
        raise InvalidEvent("duplicate key", f"the attribute `{name[:64]}` stands twice")
    try:
        attributes[name] = value.decode()
    except UnicodeDecodeError as error:
        raise InvalidEvent("not UTF-8", f"byte {error.start} of the attribute `{name[:64]}`") from None


def _event(given: dict[str, Any], data: object, received_ms: int) -> bytes:
    _check_names(given)
    # Most are text, and this is asked of each attribute of each event: a call for it would cost as much as the rest.
    said = {
        name: text for name, value in given.items() if (text := value if isinstance(value, str) else _text(name, value))
    }
    if said.pop("specversion", "") != "1.0":
        raise InvalidEvent("wrong field", "`specversion`: expected 1.0, the version of CloudEvents that is read")
    its_id, source, event = (_required(said, name) for name in ("id", "source", "type"))
    about = {"id": its_id, **{name: said.pop(name) for name in _ABOUT_DATA if name in said}}
    if about.get("datacontenttype", "").partition(";")[0].strip().lower() == _JSON:
        del about["datacontenttype"]
    for name in _NOT_KEPT:
        said.pop(name, None)
    cause = said.get("causationid")
    return _encode(
        {
            "id": event_id(source, its_id),
            "occurred": _time(said.pop("time", None)) or _received(received_ms),
            "event": event,
            **{field: said.pop(name) for name, field in FIELDS.items() if name in said},
            "resource": {"id": _resource(source, said.get("subject")), "source": source, **said},
            **_payload(data),
            **({"follows": event_id(source, cause)} if cause else {}),
            "extra": {"cloudevent": about},
        }
    )


def _check_names(given: Iterable[str]) -> None:
    if _NAME.fullmatch("".join(given)) and "" not in given:
        return
    wrong = next((name[:64] for name in given if not name or not _NAME.fullmatch(name)), "")
    raise InvalidEvent("wrong field", f"{wrong!r} is no attribute's name: small letters and digits only")


def _text(name: str, value: object) -> str:
    """Return an attribute's canonical text, "" for null: one that is null or empty is as if it was not there."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() if value.bit_length() < _INTEGER_BITS_MAX:
            return str(value)
        case _:
            raise InvalidEvent("wrong field", f"`{name[:64]}`: an attribute is text, a whole number, true or false")


def _required(said: dict[str, str], name: str) -> str:
    text = said.pop(name, "")
    if not text:
        raise InvalidEvent("wrong field", f"`{name}` is missing: a CloudEvent has specversion, id, source and type")
    return text


def _resource(source: str, subject: str | None) -> str:
    return f"{source.removesuffix('/')}/{subject.removeprefix('/')}" if subject else source


def _time(text: str | None) -> str | None:
    """Return a time as it came; one that is none is refused here, by the name that its sender knows."""
    if text:
        try:
            is_time = msgspec.convert(text, datetime).tzinfo is not None
        except msgspec.ValidationError:
            is_time = False
        if not is_time:
            raise InvalidEvent("wrong field", f"`time`: got {text[:40]!r}: {_TIME_FORM}")
    return text


def _received(received_ms: int) -> str:
    try:
        return rfc3339(received_ms)
    except OverflowError:
        raise InvalidEvent("clock far off", f"{received_ms} ms is no time, and the event names none") from None


def _payload(data: object) -> dict[str, object]:
    """Return the member `payload`: an object as it is, anything else in one; none where there is no data."""
    if data is None or data in ("", {}):
        return {}
    return {"payload": data if isinstance(data, dict) else {"data": data}}


def _data(raw: bytes, content_type: object) -> object:
    """Return what a body says: as JSON where its content type says so or nothing, else as text, else as base64."""
    if not raw:
        return None
    if len(raw) > EVENT_BYTES_MAX:
        raise InvalidEvent("too large", f"{len(raw)} bytes of data, at most {EVENT_BYTES_MAX} are accepted")
    media_type = content_type.partition(";")[0].strip().lower() if isinstance(content_type, str) else ""
    if not media_type or media_type.endswith(("/json", "+json")):
        try:
            return _decoded(raw, _decode_anything)
        except InvalidEvent as invalid:
            if media_type:
                raise InvalidEvent(invalid.reason, f"data, said to be {media_type[:64]}: {invalid.detail}") from None
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"data_base64": base64.b64encode(raw).decode()}


def _unpacked(packed: object) -> bytes:
    try:
        if isinstance(packed, str):
            return base64.b64decode(packed, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise InvalidEvent("wrong field", "`data_base64`: expected bytes in base64")


def _decoded(raw: bytes, decode: Callable[[bytes], _Decoded]) -> _Decoded:
    """Return what `raw` says. Of a key that stands twice nobody could say which is meant: it is refused."""
    found = decode_json(raw, decode)
    if not has_same_members(raw, _encode(found)) and names_a_key_twice(raw):
        raise InvalidEvent("duplicate key", "a JSON object names one key twice")
    return found

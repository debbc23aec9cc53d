"""Laws of CloudEvents: one event is one record in every form, has one id for ever, and nothing hostile gets through."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid5

from cloudevents.core.bindings import http, kafka
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from flowgauge.producers.cloud_event import (
    FIELDS,
    NAMESPACE,
    event_id,
    http_attributes,
    of_binary,
    of_kafka,
    of_structured,
)
from flowgauge.producers.gateway.batch_body import split_events
from flowgauge.schemas.errors import InvalidEvent
from flowgauge.schemas.event import decode_event
from flowgauge.schemas.times import EPOCH, rfc3339
from flowgauge.transport.event_record import event_record

NOW_MS = 1_795_000_000_000
CORE = frozenset({"id", "source", "type", "subject", "time", "specversion", "data", "dataschema", "datacontenttype"})

TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=20)
YEAR_US = 365 * 86_400_000_000
TIMES = st.integers(NOW_MS * 1_000 - YEAR_US, NOW_MS * 1_000).map(lambda us: EPOCH + timedelta(microseconds=us))
NAMES = st.from_regex(r"[a-z0-9]{1,12}", fullmatch=True).filter(lambda name: name not in CORE | FIELDS.keys())
VALUES = TEXT | st.integers(-(2**31), 2**31 - 1)
OURS = {
    "kind": st.sampled_from(["flow-run", "task-run", "log", "nonsense"]),
    "flow": TEXT,
    "run": TEXT,
    "state": st.sampled_from(["running", "failed", "Failed"]),
    "scheduledfor": st.just("2026-11-29T02:00:00Z") | TEXT,
    "causationid": TEXT,
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
# What the package writes as it means it: text without a content type it would write as JSON here, as text there.
DATA: st.SearchStrategy[tuple[dict[str, str], Any]] = st.one_of(
    st.tuples(
        st.sampled_from([{}, {"datacontenttype": "application/json"}, {"datacontenttype": "application/x+json"}]),
        st.none() | st.dictionaries(TEXT, JSON, max_size=4),
    ),
    st.tuples(st.sampled_from([{"datacontenttype": "text/plain"}, {"datacontenttype": "text/xml; a=b"}]), st.text()),
    st.tuples(st.just({"datacontenttype": "image/png"}), st.binary(max_size=40)),
)


@st.composite
def cloud_events(draw: st.DrawFn) -> CloudEvent:
    content_type, data = draw(DATA)
    attributes: dict[str, Any] = {"specversion": "1.0", "time": draw(TIMES), **content_type}
    attributes |= {name: draw(TEXT) for name in ("id", "source", "type")}
    attributes |= draw(st.fixed_dictionaries({}, optional={"subject": TEXT, "dataschema": TEXT, **OURS}))
    return CloudEvent(attributes | draw(st.dictionaries(NAMES, VALUES, max_size=3)), data)


def raw_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode("ascii")) for name, value in headers.items()]


def structured(event: CloudEvent) -> bytes:
    return of_structured(http.to_structured_event(event).body, NOW_MS)


def batched(event: CloudEvent) -> bytes:
    one = http.to_structured_event(event).body
    return of_structured(split_events(b"[%b, %b]" % (one, one), "")[1], NOW_MS)


def binary(event: CloudEvent) -> bytes:
    message = http.to_binary_event(event)
    return of_binary(http_attributes(raw_headers(message.headers)), message.body, NOW_MS)


def kafka_structured(event: CloudEvent) -> bytes:
    message = kafka.to_structured_event(event)
    return of_kafka(list(message.headers.items()), message.value, NOW_MS)


def kafka_binary(event: CloudEvent) -> bytes:
    message = kafka.to_binary_event(event)
    return of_kafka(list(message.headers.items()), message.value, NOW_MS)


FORMS = (structured, batched, binary, kafka_structured, kafka_binary)


def record(event: bytes) -> bytes | str:
    """Return the record, or why there is none."""
    try:
        value = event_record(event, tenant="acme", append_ms=NOW_MS, partitions=4).value
    except InvalidEvent as invalid:
        return invalid.reason
    assert value is not None
    return value


@given(cloud_events())
def test_an_event_becomes_the_same_record_in_every_form(event: CloudEvent) -> None:
    found: list[bytes | str] = []
    for form in FORMS:
        try:
            found.append(record(form(event)))
        except InvalidEvent as invalid:
            found.append(invalid.reason)

    assert found == found[:1] * len(FORMS)


@given(cloud_events())
def test_nothing_that_an_event_says_is_lost(event: CloudEvent) -> None:
    try:
        made = record(structured(event))
    except InvalidEvent:
        return  # of data that no JSON of ours holds
    if isinstance(made, str):
        return
    kept = decode_event(made)
    said = {**event.get_attributes()}

    about = {name: said.pop(name) for name in ("id", "dataschema", "datacontenttype") if name in said}
    if about.get("datacontenttype") == "application/json":
        del about["datacontenttype"]
    assert kept.extra == {"cloudevent": about}
    assert (kept.event, kept.occurred) == (said.pop("type"), said.pop("time"))
    fields = {"kind": kept.kind, "flow": kept.flow, "run": kept.run, "task": kept.task, "state": kept.state}
    assert all(fields[name] == said.pop(name) for name in fields if name in said)
    said.pop("scheduledfor", None)
    said.pop("partitionkey", None)
    assert said.pop("specversion") == "1.0"
    assert {name: text for name, text in kept.resource.items() if name != "id"} == {
        name: str(value) for name, value in said.items()
    }
    assert (kept.follows is None) == ("causationid" not in said)


@given(cloud_events(), cloud_events())
def test_source_and_id_alone_make_the_id(one: CloudEvent, other: CloudEvent) -> None:
    other.get_attributes().update({name: one.get_attributes()[name] for name in ("id", "source")})

    try:
        ids = {json.loads(structured(each))["id"] for each in (one, other)}
    except InvalidEvent:
        return
    assert ids == {str(uuid5(uuid5(NAMESPACE, one.get_source()), one.get_id()))}


@given(st.lists(st.tuples(TEXT, TEXT), unique=True, min_size=2, max_size=20))
def test_no_two_events_share_an_id(names: list[tuple[str, str]]) -> None:
    ids: set[UUID] = {event_id(source, its_id) for source, its_id in names}

    assert len(ids) == len(names)


HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"ce-id", b"ce-source", b"ce-type", b"ce-specversion", b"ce-time", b"content-type"])
        | st.binary(max_size=8).map(lambda name: b"ce-" + name),
        st.sampled_from([b"1.0", b"%", b"%zz", b"%C0%A0", b'"', b'"\\"', b'"a\\', b"application/json"]) | st.binary(),
    ),
    max_size=9,
)
HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(CORE)) | st.text(), inner),
)


@given(HEADERS, st.binary(), st.integers(-(2**63), 2**63 - 1))
def test_hostile_headers_and_bodies_are_refused_and_never_raise(
    headers: list[tuple[bytes, bytes]], body: bytes, received_ms: int
) -> None:
    in_kafka = [(name.decode("latin-1").replace("-", "_", 1), value) for name, value in headers]
    required = [(b"ce-id", b"1"), (b"ce-source", b"/s"), (b"ce-type", b"t"), (b"ce-specversion", b"1.0")]

    refused(lambda: of_binary(http_attributes(headers), body, received_ms))
    refused(lambda: of_binary(http_attributes([*required, *headers]), body, received_ms))
    refused(lambda: of_kafka(in_kafka, body, received_ms))
    refused(lambda: of_kafka([("content-type", b"application/cloudevents+json")], body, received_ms))


@given(HOSTILE, st.lists(st.sampled_from(["id", "source", "type", "time", "data", "data_base64"])))
def test_hostile_json_is_refused_and_never_raises(value: object, names: Iterable[str]) -> None:
    whole = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"} | dict.fromkeys(names, value)

    for each in (value, whole):
        refused(lambda each=each: of_structured(json.dumps(each).encode(), NOW_MS))


def refused(make: Any) -> None:
    """Make an event and its record: either is there, or InvalidEvent says why not."""
    with suppress(InvalidEvent):
        event_record(make(), tenant="acme", append_ms=NOW_MS, partitions=4)


def test_the_append_time_stands_in_for_a_time_that_is_missing() -> None:
    raw = b'{"specversion":"1.0","id":"1","source":"/s","type":"t"}'

    assert json.loads(of_structured(raw, NOW_MS))["occurred"] == rfc3339(NOW_MS)

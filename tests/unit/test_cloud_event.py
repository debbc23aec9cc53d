"""What becomes of a CloudEvent, case by case: headers, data, attributes, and what no event can be made of."""

import base64
import json
from typing import Any

import pytest

from flowgauge.producers.cloud_event import event_id, http_attributes, of_binary, of_kafka, of_structured
from flowgauge.schemas.errors import InvalidEvent
from flowgauge.schemas.event import EVENT_BYTES_MAX
from flowgauge.schemas.times import rfc3339

NOW_MS = 1_795_000_000_000
REQUIRED = {"specversion": "1.0", "id": "7", "source": "/shop", "type": "order.shipped"}


def made(**more: object) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(of_structured(json.dumps({**REQUIRED, **more}).encode(), NOW_MS))
    return event


def of_body(content_type: str | None, body: bytes) -> object:
    attributes = {**REQUIRED, **({} if content_type is None else {"datacontenttype": content_type})}
    return json.loads(of_binary(attributes, body, NOW_MS)).get("payload")


def test_every_attribute_has_its_place() -> None:
    event = made(
        time="2026-11-29T02:00:30Z",
        subject="42",
        dataschema="https://schemas/order",
        datacontenttype="application/json",
        kind="flow-run",
        flow="nightly-orders",
        run="nightly-orders-42",
        task="t1",
        state="failed",
        scheduledfor="2026-11-29T02:00:00Z",
        causationid="6",
        traceparent="00-ab-cd-01",
        sampledrate=30,
        partitionkey="p",
        data={"rows": 42},
    )

    assert event == {
        "id": str(event_id("/shop", "7")),
        "occurred": "2026-11-29T02:00:30Z",
        "event": "order.shipped",
        "kind": "flow-run",
        "flow": "nightly-orders",
        "run": "nightly-orders-42",
        "task": "t1",
        "state": "failed",
        "scheduled_for": "2026-11-29T02:00:00Z",
        "resource": {
            "id": "/shop/42",
            "source": "/shop",
            "subject": "42",
            "causationid": "6",
            "traceparent": "00-ab-cd-01",
            "sampledrate": "30",
        },
        "payload": {"rows": 42},
        "follows": str(event_id("/shop", "6")),
        "extra": {"cloudevent": {"id": "7", "dataschema": "https://schemas/order"}},
    }


def test_the_least_that_an_event_says_is_enough() -> None:
    assert made(subject=None, data=None, flow="") == {
        "id": str(event_id("/shop", "7")),
        "occurred": rfc3339(NOW_MS),
        "event": "order.shipped",
        "resource": {"id": "/shop", "source": "/shop"},
        "extra": {"cloudevent": {"id": "7"}},
    }


def test_ids_never_change() -> None:
    assert str(event_id("/shop", "7")) == "3539fd7a-e927-5d28-bbfa-e1d47b5f3a57"


def test_true_and_numbers_are_the_text_that_binary_forms_have() -> None:
    headers = [(f"ce-{name}".encode(), value.encode()) for name, value in REQUIRED.items()]
    binary = of_binary(http_attributes([*headers, (b"ce-ok", b"true"), (b"ce-n", b"-3")]), b"", NOW_MS)

    assert json.loads(binary) == made(ok=True, n=-3)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        (b"%e2%82%ac", "€"),
        ("€".encode(), "€"),
        (b'"a \\"b\\" %25"', 'a "b" %'),
        (b"100%", "100%"),
        (b"%zz", "%zz"),
        (b"%2525", "%25"),
        (b'"', '"'),
    ],
)
def test_a_header_is_unquoted_and_decoded_once(value: bytes, text: str) -> None:
    assert http_attributes([(b"ce-subject", value)]) == {"subject": text}


@pytest.mark.parametrize(
    ("content_type", "body", "payload"),
    [
        ("application/json", b'{"a": 1}', {"a": 1}),
        ("application/vnd.x+json; charset=utf-8", b"[1]", {"data": [1]}),
        ("application/json", b"null", None),
        (None, b'{"a": 1}', {"a": 1}),
        (None, b"disk full", {"data": "disk full"}),
        ("text/plain", b"7", {"data": "7"}),
        ("application/xml", "<ü/>".encode(), {"data": "<ü/>"}),
        ("image/png", b"\x89PNG", {"data_base64": "iVBORw=="}),
        ("image/png", b"", None),
    ],
)
def test_data_is_kept_as_json_as_text_or_as_base64(content_type: str | None, body: bytes, payload: object) -> None:
    assert of_body(content_type, body) == payload
    packed = {"datacontenttype": content_type, "data_base64": base64.b64encode(body).decode()}
    assert made(**packed).get("payload") == payload


@pytest.mark.parametrize(
    ("more", "reason", "said"),
    [
        ({"specversion": "0.3"}, "wrong field", "expected 1.0"),
        ({"specversion": None}, "wrong field", "expected 1.0"),
        ({"id": ""}, "wrong field", "`id` is missing"),
        ({"time": "yesterday"}, "wrong field", "`time`: got 'yesterday': expected a time with its zone, such as"),
        (
            {"time": "2026-11-29T02:01:07"},
            "wrong field",
            "`time`: got '2026-11-29T02:01:07': expected a time with its zone",
        ),
        ({"source": None}, "wrong field", "`source` is missing"),
        ({"type": 1.5}, "wrong field", "`type`: an attribute is text"),
        ({"myExtension": "x"}, "wrong field", "'myExtension' is no attribute's name"),
        ({"labels": {"a": "b"}}, "wrong field", "`labels`: an attribute is text"),
        ({"n": 2**64}, "wrong field", "`n`: an attribute is text"),
        ({"data": 1, "data_base64": "MQ=="}, "wrong field", "send one of them"),
        ({"data_base64": "???"}, "wrong field", "expected bytes in base64"),
        ({"data_base64": "MQ==\n"}, "wrong field", "expected bytes in base64"),
        ({"data_base64": "ü"}, "wrong field", "expected bytes in base64"),
        ({"data_base64": 7}, "wrong field", "expected bytes in base64"),
        ({"datacontenttype": "a/json", "data_base64": "e30x"}, "not JSON", "data, said to be a/json"),
        ({"data": "x" * EVENT_BYTES_MAX}, "too large", "at most"),
    ],
)
def test_what_is_no_cloud_event_is_refused_with_the_reason(more: dict[str, object], reason: str, said: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        made(**more)

    assert refused.value.reason == reason
    assert said in refused.value.detail


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([(b"ce-id", b"%C0%A0")], "not UTF-8"),
        ([(b"ce-id", b"\xff")], "not UTF-8"),
        ([(b"ce-id", b"1"), (b"ce-id", b"2")], "duplicate key"),
        ([(b"content-type", b"text/plain"), (b"ce-datacontenttype", b"text/plain")], "duplicate key"),
    ],
)
def test_headers_that_say_nothing_for_sure_are_refused(headers: list[tuple[bytes, bytes]], reason: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        http_attributes(headers)

    assert refused.value.reason == reason


def test_data_of_a_binary_event_is_bounded_before_it_is_looked_at() -> None:
    with pytest.raises(InvalidEvent, match="too large"):
        of_binary(REQUIRED, b"\xff" * (EVENT_BYTES_MAX + 1), NOW_MS)


def test_data_is_no_header() -> None:
    with pytest.raises(InvalidEvent, match="`data` is no attribute"):
        of_binary({**REQUIRED, "data": "x"}, b"", NOW_MS)


def test_a_list_in_the_place_of_one_event_is_told_how_lists_are_sent() -> None:
    with pytest.raises(InvalidEvent, match=r"with Content-Type application/cloudevents-batch\+json$"):
        of_structured(b' [{"specversion": "1.0"}]', 0)


def test_a_key_that_stands_twice_is_refused() -> None:
    with pytest.raises(InvalidEvent, match="duplicate key"):
        of_structured(json.dumps(REQUIRED)[:-1].encode() + b',"type":"other"}', NOW_MS)


@pytest.mark.parametrize(
    "headers",
    [
        [("content-type", b"application/cloudevents+json; charset=utf-8"), ("ce_id", b"another")],
        [("Content-Type", b"application/json")],  # as some converters of Kafka Connect write it
        [],
    ],
)
def test_a_record_in_kafka_is_structured_unless_its_attributes_are_in_headers(
    headers: list[tuple[str, bytes | None]],
) -> None:
    raw = json.dumps({**REQUIRED, "data": {"a": 1}}).encode()
    attributes = [(f"ce_{name}", value.encode()) for name, value in REQUIRED.items()]

    assert json.loads(of_kafka(headers, raw, NOW_MS)) == made(data={"a": 1})
    assert json.loads(of_kafka([*attributes, ("CE_empty", None)], b'{"a": 1}', NOW_MS)) == made(data={"a": 1})


def test_a_record_without_a_value_is_an_event_only_if_its_headers_say_so() -> None:
    attributes: list[tuple[str, bytes | None]] = [(f"ce_{name}", value.encode()) for name, value in REQUIRED.items()]

    assert json.loads(of_kafka(attributes, None, NOW_MS)) == made()
    with pytest.raises(InvalidEvent, match="not JSON"):
        of_kafka([], None, NOW_MS)

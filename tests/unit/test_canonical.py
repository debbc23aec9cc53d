"""`canonical`: the one form in which an event stands in the log."""

import json

import pytest

from flowgauge.schemas.canonical import canonical
from flowgauge.schemas.check import check
from flowgauge.schemas.errors import InvalidEvent
from flowgauge.schemas.event import EVENT_BYTES_MAX
from flowgauge.schemas.times import parse_time_ms

APPEND_MS = parse_time_ms("2026-11-23T10:00:00Z")
ID = "01a207c7-d5fc-7558-9164-f669aabd48aa"
SENT = {"id": ID, "occurred": "2026-11-23T09:59:59.5Z", "event": "etl.done", "resource": {"id": "etl.1"}}
KEPT = {"id": ID, "tenant": "acme", "occurred": "2026-11-23T09:59:59.500000Z", "event": "etl.done"}
KEPT_RESOURCE = {"resource": {"id": "etl.1"}}


def sent(**changes: object) -> bytes:
    return json.dumps({**SENT, **changes}, separators=(",", ":")).encode()


def kept(raw: bytes) -> dict[str, object]:
    record, event = canonical(raw, tenant="acme", append_ms=APPEND_MS)

    assert check(record, APPEND_MS) == event
    found: dict[str, object] = json.loads(record)
    return found


def test_an_event_is_kept_compact_in_one_order_with_the_tenant_of_its_token() -> None:
    record, event = canonical(json.dumps(SENT).encode(), tenant="acme", append_ms=APPEND_MS)

    assert record == json.dumps(KEPT | KEPT_RESOURCE, separators=(",", ":")).encode()
    assert (event.tenant, event.event) == ("acme", "etl.done")


@pytest.mark.parametrize("tenant", ["other", "acme", "", None, 7, ["x"]])
def test_the_tenant_is_the_tokens_whatever_the_sender_says(tenant: object) -> None:
    assert kept(sent(tenant=tenant)) == KEPT | KEPT_RESOURCE


def test_a_tenant_whose_name_needs_escapes_is_kept() -> None:
    record, event = canonical(sent(), tenant='a"\\☃\n', append_ms=APPEND_MS)

    assert event.tenant == 'a"\\☃\n'
    assert check(record, APPEND_MS) == event


def test_unknown_fields_move_into_extra_in_one_order() -> None:
    raw = sent(zebra=1, apple={"b": [1]}, extra={"kept": True})

    assert json.dumps(kept(raw)["extra"]) == '{"kept": true, "apple": {"b": [1]}, "zebra": 1}'


def test_an_unknown_field_that_stands_in_extra_too_is_refused() -> None:
    with pytest.raises(InvalidEvent, match="duplicate key: `colour` stands both at the top and in `extra`"):
        kept(sent(colour="red", extra={"colour": "blue"}))


def test_an_extra_that_is_no_object_is_refused() -> None:
    with pytest.raises(InvalidEvent, match=r"wrong field: Expected `object`, got `list` - at `\$\.extra`"):
        kept(sent(colour="red", extra=[1]))


@pytest.mark.parametrize(
    ("written", "time"),
    [
        ("2026-11-23T09:59:59.123456789Z", "2026-11-23T09:59:59.123456Z"),
        ("2026-11-23T09:59:59.9999999Z", "2026-11-23T09:59:59.999999Z"),
        ("2026-11-23T11:59:59.9999995+02:00", "2026-11-23T09:59:59.999999Z"),
        ("2026-11-23T15:29:59.5+05:30", "2026-11-23T09:59:59.500000Z"),
        ("2026-11-23T09:59:59+00:00", "2026-11-23T09:59:59Z"),
        ("2026-11-23t09:59:59z", "2026-11-23T09:59:59Z"),
    ],
)
@pytest.mark.parametrize("field", ["occurred", "scheduled_for"])
def test_times_are_in_utc_and_cut_to_microseconds(field: str, written: str, time: str) -> None:
    assert kept(sent(**{field: written}))[field] == time


def test_a_zone_written_in_escapes_is_a_zone() -> None:
    escaped = sent().replace(b"59.5Z", b"59.9999999\\u005a")

    assert kept(escaped)["occurred"] == "2026-11-23T09:59:59.999999Z"


def test_a_time_that_has_no_year_in_utc_is_refused() -> None:
    raw = sent(occurred="9999-12-31T23:59:59-01:00")

    with pytest.raises(InvalidEvent, match="not within the years 1 to 9999"):
        canonical(raw, tenant="acme", append_ms=parse_time_ms("9999-12-31T23:00:00Z"))


def test_a_fraction_in_the_payload_is_left_alone() -> None:
    payload = {"at": "2026-11-23T09:59:59.123456789Z", "share": 0.123456789012}

    assert kept(sent(payload=payload))["payload"] == payload


def test_ids_are_written_one_way_so_that_equal_ids_are_equal() -> None:
    assert kept(sent(id=ID.upper()))["id"] == kept(sent(id=ID.replace("-", "")))["id"] == ID


def test_defaults_and_nulls_are_left_out() -> None:
    assert kept(sent(kind="other", flow=None, related=[], payload={}, extra={}, follows=None)) == KEPT | KEPT_RESOURCE


@pytest.mark.parametrize(
    "payload",
    [
        b'{"nul":"\\u0000","escape":"\\u001b[0m","tab":"\\t","text":"\\u003a\\u0022"}',
        b'{"big":123456789012345678901234567890,"small":-9223372036854775809,"whole":18446744073709551615}',
        b'{"float":0.1,"huge":1e308,"tiny":5e-324,"minus":-0.0}',
    ],
)
def test_values_are_kept_exactly(payload: bytes) -> None:
    raw = sent()[:-1] + b',"payload":' + payload + b"}"

    assert kept(raw)["payload"] == json.loads(payload)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "not JSON"),
        (b"{}", "wrong field"),
        (b"{", "not JSON"),
        (b"[]", "wrong field"),
        (b"null", "wrong field"),
        (b'{"tenant":"acme"}', "wrong field"),
        (sent()[:-1] + b',"id":"' + ID.encode() + b'"}', "duplicate key"),
        (sent()[:-1] + b',"tenant":"a","tenant":"b"}', "duplicate key"),
        (sent()[:-1] + b',"colour":1,"colour":2}', "duplicate key"),
        (sent()[:-1] + b',"colour":"\\ud800"}', "not JSON"),
        (sent()[:-1] + b',"colour":"\xff"}', "not UTF-8"),
        (sent()[:-1] + b',"colour":1e999}', "wrong field"),
        (sent()[:-1] + b',"colour":' + b"[" * 63 + b"]" * 63 + b"}", "too deep"),  # one more than 64 inside `extra`
        (sent(occurred="2030-01-01T00:00:00Z"), "clock far off"),
    ],
)
def test_what_is_no_event_is_refused_with_the_reason_of_check(raw: bytes, reason: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        canonical(raw, tenant="acme", append_ms=APPEND_MS)

    assert refused.value.reason == reason


def test_the_error_speaks_of_the_bytes_that_came() -> None:
    with pytest.raises(InvalidEvent, match=r"\(byte 5\)"):
        canonical(b'{"a":?}', tenant="a long tenant name", append_ms=APPEND_MS)


def test_an_event_that_outgrows_the_bound_by_its_tenant_is_refused() -> None:
    room = EVENT_BYTES_MAX - len(sent(payload={"text": ""}))

    with pytest.raises(InvalidEvent, match="too large"):
        canonical(sent(payload={"text": "x" * room}), tenant="acme", append_ms=APPEND_MS)

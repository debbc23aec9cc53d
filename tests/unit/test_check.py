"""`check`: every way in which bytes are no event, and what looks odd and is one."""

import json
from collections.abc import Callable

import pytest

from flowgauge.schemas.check import DEPTH_MAX, REASONS, check
from flowgauge.schemas.errors import InvalidEvent
from flowgauge.schemas.event import EVENT_BYTES_MAX, decode_event
from flowgauge.schemas.times import parse_time_ms

APPEND_MS = parse_time_ms("2026-11-23T10:00:00Z")
ID = "01a207c7-d5fc-7558-9164-f669aabd48aa"
FIELDS: dict[str, object] = {
    "id": ID,
    "tenant": "acme",
    "occurred": "2026-11-23T09:59:59.5Z",
    "event": "etl.done",
    "resource": {"id": "etl.1"},
}


def encoded(**changes: object) -> bytes:
    fields = {name: value for name, value in {**FIELDS, **changes}.items() if value is not None}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def with_member(member: bytes) -> bytes:
    return encoded()[:-1] + b"," + member + b"}"


def nested(depth: int) -> bytes:
    """Return an event whose deepest array stands `depth` deep."""
    inner = depth - 2  # inside the event and its payload
    return with_member(b'"payload":{"a":' + b"[" * inner + b"]" * inner + b"}")


BAD: list[tuple[bytes, str, str]] = [
    (b"", "not JSON", "truncated"),
    (b"nope", "not JSON", "invalid character"),
    (encoded()[:-1], "not JSON", "truncated"),
    (encoded() + b"{}", "not JSON", "trailing characters"),
    (b"[1]", "wrong field", "Expected `object`, got `array`"),
    (b'"text"', "wrong field", "Expected `object`, got `str`"),
    (encoded(id=None), "wrong field", "missing required field `id`"),
    (encoded(id="1"), "wrong field", "$.id"),
    (encoded(tenant=None), "wrong field", "`tenant`"),
    (encoded(tenant=""), "wrong field", "$.tenant"),
    (encoded(occurred=None), "wrong field", "`occurred`"),
    (encoded(occurred="2026-11-23T09:59:59"), "wrong field", "timezone"),
    (encoded(occurred="yesterday"), "wrong field", "$.occurred"),
    (encoded(occurred=1763892000), "wrong field", "$.occurred"),
    (encoded(event=None), "wrong field", "`event`"),
    (encoded(event="x" * 1_025), "wrong field", "$.event"),
    (encoded(kind="flow"), "wrong field", "$.kind"),
    (encoded(state="Failed"), "wrong field", "$.state"),
    (encoded(run=7), "wrong field", "$.run"),
    (encoded(resource=None), "wrong field", "`resource`"),
    (encoded(resource={"id": 1}), "wrong field", "$.resource"),
    (encoded(resource={"name": "x"}), "no resource id", "`resource`"),
    (encoded(resource={"id": ""}), "no resource id", "`resource`"),
    (encoded(resource={"id": "x", **{f"l{i}": "" for i in range(600)}}), "wrong field", "length <= 500"),
    (encoded(related=[{"id": "x", "role": "y"}] * 101), "wrong field", "length <= 100"),
    (encoded(related=[{"id": "x"}]), "related without id or role", "both labels"),
    (encoded(related=[{"role": "x", "id": ""}]), "related without id or role", "both labels"),
    (encoded(payload=[1]), "wrong field", "$.payload"),
    (encoded(payload={"text": "x" * 2_000_000}), "too large", f"at most {EVENT_BYTES_MAX}"),
    (encoded(event="\udcff"), "not UTF-8", "byte "),
    (encoded().replace(b"etl.done", b"\xff"), "not UTF-8", "byte "),
    (with_member(b'"unknown":"\xff"'), "not UTF-8", "byte "),
    (encoded().replace(b"etl.done", b"\\ud800"), "not JSON", ""),
    (encoded().replace(b"etl.done", b"\x00"), "not JSON", "invalid character"),
    (with_member(b'"payload":{"a":NaN}'), "not JSON", "invalid character"),
    (with_member(b'"payload":{"a":1e400}'), "wrong field", "out of range"),
    (with_member(b'"payload":{"a":' + b"9" * 5_000 + b"}"), "wrong field", "out of range"),
    (nested(DEPTH_MAX + 1), "too deep", "nested more than 64 deep"),
    (b"[" * 100_000, "too deep", "nested"),
    (b'{"a":' * 100_000, "too deep", "nested"),
    (with_member(b'"event":"other"'), "duplicate key", "twice"),
    (with_member(b'"payload":{"a":1,"a":1}'), "duplicate key", "twice"),
    (with_member(b'"payload":{"a" : 1, "a" : 2}'), "duplicate key", "twice"),
    (with_member(b'"payload":{"a"\t:1,"\\u0061":2}'), "duplicate key", "twice"),
    (with_member(b'"unknown":1,"unknown":2'), "duplicate key", "twice"),
    # What hid a second key when members were only counted: a value that has more `":` decoded than written.
    (with_member(b'"payload":{"a":1,"a":2,"b":"\\"\\u003a"}'), "duplicate key", "twice"),
    (with_member(b'"payload":{"a":1,"a":2,"b":"\\"\\u003A"}'), "duplicate key", "twice"),
    (with_member(b'"payload":{"a":1,"a":2,"b":"\\u0022:"}'), "duplicate key", "twice"),
    (with_member(b'"unknown":' + b"9" * 5_000 + b',"unknown":1'), "duplicate key", "twice"),
    (encoded(occurred="2025-10-19T09:59:59.999Z"), "clock far off", "-400 d and +1 d"),
    (encoded(occurred="2026-11-24T10:00:00.001Z"), "clock far off", "-400 d and +1 d"),
    (encoded(occurred="0001-01-01T00:00:00+23:00"), "clock far off", "-400 d and +1 d"),
    (encoded(scheduled_for="1969-12-31T23:59:59Z"), "wrong field", "`scheduled_for`"),
    (encoded(scheduled_for="0001-01-01T00:00:00+23:00"), "wrong field", "`scheduled_for`"),
    (encoded(scheduled_for="2200-01-01T00:00:00Z"), "wrong field", "`scheduled_for`"),
]

GOOD: list[bytes] = [
    encoded(),
    b" \r\n" + encoded() + b"\n",
    encoded(occurred="2025-10-19T10:00:00Z"),
    encoded(occurred="2026-11-24T10:00:00Z"),
    encoded(occurred="2026-11-23T15:29:59+05:30"),
    encoded(scheduled_for="2099-01-01T00:00:00Z"),
    encoded(kind="other", related=[], payload={}, extra={}),
    encoded(event="x" * 1_024),
    encoded(resource={"id": "x", **{f"l{i}": "" for i in range(499)}}),
    encoded(payload={"text": 'a ": b', "brackets": "[" * 1_000, "n": {"text": 1}}),
    encoded(payload={"text": "\x00\x1b[31m\u2028😀"}),
    with_member(b'"payload":{"a":{"a":1},"b":[{"a":1},{"a":2}]}'),
    with_member(b'"payload":{"a":123456789012345678901234567890,"b":-9223372036854775809}'),
    with_member(b'"payload" : {"a" : 1}'),
    with_member(b'"unknown":{"a":[1,2]}'),
    with_member(b'"unknown":{"a":' + b"9" * 5_000 + b"}"),  # canonical refuses these; nothing reads them
    nested(DEPTH_MAX),
]


@pytest.mark.parametrize(("raw", "reason", "detail"), BAD, ids=range(len(BAD)))
def test_bytes_that_are_no_event_are_refused_with_the_reason(raw: bytes, reason: str, detail: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        check(raw, APPEND_MS)

    assert (refused.value.reason, detail in refused.value.detail) == (reason, True), refused.value


@pytest.mark.parametrize("raw", GOOD, ids=range(len(GOOD)))
def test_bytes_that_are_an_event_are_read_whole(raw: bytes) -> None:
    assert check(raw, APPEND_MS) == decode_event(raw)


def test_every_reason_is_from_the_bounded_set_that_labels_metrics() -> None:
    assert {reason for _, reason, _ in BAD} == set(REASONS)


def test_an_answer_does_not_hang_on_how_deep_the_callers_stack_is() -> None:
    def deep(levels: int, then: Callable[[], object]) -> object:
        return then() if levels == 0 else deep(levels - 1, then)

    deep(600, lambda: check(nested(DEPTH_MAX), APPEND_MS))
    with pytest.raises(InvalidEvent, match="too deep"):
        deep(600, lambda: check(nested(DEPTH_MAX + 1), APPEND_MS))


def test_a_string_that_never_closes_is_looked_at_once() -> None:
    raw = b"[" * DEPTH_MAX + b'["' + b'\\"' * 500_000 + b"\\"

    with pytest.raises(InvalidEvent, match="too deep"):
        check(raw, APPEND_MS)

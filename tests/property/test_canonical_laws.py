"""Laws of `canonical`: it is stable, what it returns is valid, and it loses nothing but what it says."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgauge.schemas.canonical import canonical
from flowgauge.schemas.check import check, names_a_key_twice
from flowgauge.schemas.errors import InvalidEvent
from flowgauge.schemas.event import EVENT_FIELDS
from flowgauge.schemas.times import parse_time_ms

APPEND_MS = parse_time_ms("2026-11-23T10:00:00Z")

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(['":', '\\":', "\\u003a", "[{"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
LABELS = st.dictionaries(TEXT, TEXT, max_size=3)
FRACTIONS = st.integers(0, 9).flatmap(
    lambda digits: st.text("0123456789", min_size=digits, max_size=digits).map(lambda text: text and f".{text}")
)
ZONES = st.sampled_from(["Z", "+00:00", "+05:30", "-11:00"])
TIMES = st.tuples(FRACTIONS, ZONES).map(lambda parts: f"2026-11-23T09:59:59{parts[0]}{parts[1]}")
NAMES = st.none() | TEXT
EVENTS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "id": st.uuids().map(str),
        "occurred": TIMES,
        "event": TEXT.filter(bool),
        "resource": LABELS.map(lambda labels: {**labels, "id": "x"}),
    },
    optional={
        "tenant": VALUES,
        "kind": st.sampled_from(["flow-run", "log", "other"]),
        "flow": NAMES,
        "run": NAMES,
        "state": st.sampled_from([None, "running", "failed"]),
        "scheduled_for": st.none() | TIMES,
        "related": st.lists(LABELS.map(lambda labels: {**labels, "id": "x", "role": "y"}), max_size=2),
        "payload": st.dictionaries(TEXT, VALUES, max_size=4),
        "extra": st.dictionaries(TEXT, VALUES, max_size=2),
        "follows": st.none() | st.uuids().map(str),
    },
)
UNKNOWN = st.dictionaries(TEXT.map(lambda text: f"?{text}"), VALUES, max_size=3)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")])


def twins_kept_apart(fields: Mapping[str, Any], unknown: Mapping[str, Any]) -> dict[str, Any]:
    """Return the event with unknown fields that are not in its `extra` already."""
    return {**fields, **{name: value for name, value in unknown.items() if name not in fields.get("extra", {})}}


@given(EVENTS, UNKNOWN, SEPARATORS, st.booleans())
def test_a_canonical_record_is_valid_and_canonical_again(
    fields: dict[str, Any], unknown: dict[str, Any], separators: tuple[str, str], ascii_only: bool
) -> None:
    written = twins_kept_apart(fields, unknown)
    raw = json.dumps(written, separators=separators, ensure_ascii=ascii_only).encode()

    record, event = canonical(raw, tenant="acme", append_ms=APPEND_MS)

    assert check(record, APPEND_MS) == event
    assert canonical(record, tenant="acme", append_ms=APPEND_MS) == (record, event)


@given(EVENTS, UNKNOWN, SEPARATORS)
def test_how_an_event_is_written_does_not_change_its_record(
    fields: dict[str, Any], unknown: dict[str, Any], separators: tuple[str, str]
) -> None:
    written = twins_kept_apart(fields, unknown)
    backwards = dict(reversed(written.items()))

    one = canonical(json.dumps(written, separators=separators).encode(), tenant="acme", append_ms=APPEND_MS)
    other = canonical(json.dumps(backwards, ensure_ascii=False).encode(), tenant="acme", append_ms=APPEND_MS)

    assert one == other


@given(EVENTS, UNKNOWN)
def test_nothing_is_lost(fields: dict[str, Any], unknown: dict[str, Any]) -> None:
    written = twins_kept_apart(fields, unknown)

    record: dict[str, Any] = json.loads(canonical(json.dumps(written).encode(), tenant="acme", append_ms=APPEND_MS)[0])

    assert record.get("payload", {}) == fields.get("payload", {})
    assert record.get("extra", {}) == {**fields.get("extra", {}), **_unknown_of(written)}
    assert record["resource"] == fields["resource"]
    assert record.get("related", []) == fields.get("related", [])
    assert record["tenant"] == "acme"
    assert record["occurred"][:26].rstrip("Z") <= "2026-11-23T20:59:59.999999"


@given(EVENTS, st.data())
def test_a_key_that_stands_twice_is_always_refused(fields: dict[str, Any], data: st.DataObject) -> None:
    raw = json.dumps(fields, separators=data.draw(SEPARATORS), ensure_ascii=data.draw(st.booleans()))
    name = data.draw(st.sampled_from(sorted(fields)))
    twice = f"{raw[:-1]},{json.dumps(name)}:{json.dumps(fields[name])}}}".encode()

    assert names_a_key_twice(twice)
    with pytest.raises(InvalidEvent, match="duplicate key"):
        canonical(twice, tenant="acme", append_ms=APPEND_MS)


@given(st.binary(max_size=200) | EVENTS.map(lambda fields: json.dumps(fields).encode()), st.data())
def test_any_bytes_are_an_event_or_refused_with_a_reason(raw: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(raw)))
    broken = raw[:at] + data.draw(st.binary(max_size=3)) + raw[at + data.draw(st.integers(0, 3)) :]

    try:
        record, event = canonical(broken, tenant="acme", append_ms=APPEND_MS)
    except InvalidEvent:
        return
    assert check(record, APPEND_MS) == event


def _unknown_of(written: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in written.items() if name not in EVENT_FIELDS}

"""What a sender is told of an event that was refused: each fault with what to write instead."""

import json
from typing import Any

import pytest

from flowgauge.schemas.canonical import canonical
from flowgauge.schemas.errors import InvalidEvent
from flowgauge.schemas.refusal import refusal

NOW = 1_795_427_470_000
EVENT: dict[str, Any] = {
    "id": "018f3c2e-7b1a-7c3d-8e4f-000000000001",
    "occurred": "2026-11-23T09:51:06Z",
    "event": "x",
    "resource": {"id": "a"},
}
UUID_FORM = "expected a UUID, hex digits in the form 8-4-4-4-12, as Python's uuid4() makes it"
TIME_FORM = 'expected a time with its zone, such as "2026-11-24T09:30:00Z"'
STATES = "scheduled, late, pending, running, retrying, paused, cancelling, completed, failed, crashed, cancelled"


def told(raw: bytes, read: bytes | None = None) -> str:
    """Return what is told of `raw`, which is refused; `read` in its place is what the remedy may look at."""
    with pytest.raises(InvalidEvent) as refused:
        canonical(raw, tenant="t", append_ms=NOW)
    return refusal(refused.value, raw if read is None else read)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"state": "Failed"}, '`state`: got "Failed": did you mean "failed"?'),
        ({"state": "nonsense"}, f'`state`: got "nonsense": expected one of {STATES}'),
        ({"kind": "flowrun"}, '`kind`: got "flowrun": did you mean "flow-run"?'),
        ({"state": 3}, "Expected `str | null`, got `int` - at `$.state`"),
        ({"id": "abc"}, f'`id`: got "abc": {UUID_FORM}'),
        ({"follows": 5}, f"`follows`: got 5: {UUID_FORM}"),
        ({"occurred": "2026-11-23T09:51:06"}, f'`occurred`: got "2026-11-23T09:51:06": {TIME_FORM}'),
        ({"occurred": "a" * 99}, f'`occurred`: got "{"a" * 38}…: {TIME_FORM}'),
        ({"scheduled_for": "soon"}, f'`scheduled_for`: got "soon": {TIME_FORM}'),
        (
            {"resource": {"id": "a"} | {str(n): "x" for n in range(600)}},
            "`resource` has 601 labels: at most 500 are kept",
        ),
        ({"resource": {"id": "a", "n": 3}}, '`resource`: the label "n" is 3: a label is text, in quotes'),
        ({"related": [{"id": "a", "role": "b"}] * 101}, "`related` has 101 entries: at most 100 are kept"),
        ({"related": [{}, {"role": None}]}, '`related[1]`: the label "role" is null: a label is text, in quotes'),
        ({"flow": 3}, "Expected `str | null`, got `int` - at `$.flow`"),
    ],
)
def test_a_wrong_field_says_what_came_and_what_is_expected(fields: dict[str, object], says: str) -> None:
    assert told(json.dumps(EVENT | fields).encode()) == says


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("id", f"`id` is missing: {UUID_FORM}; a retry sends the same one"),
        ("occurred", f"`occurred` is missing: {TIME_FORM}"),
        ("event", '`event` is missing: expected a name such as "asset.materialized"'),
        ("resource", '`resource` is missing: expected what it happened to, such as {"id": "s3://lake/orders"}'),
    ],
)
def test_a_missing_field_says_what_to_write(name: str, says: str) -> None:
    assert told(json.dumps({each: value for each, value in EVENT.items() if each != name}).encode()) == says


def test_a_key_that_stands_twice_is_named_wherever_it_stands() -> None:
    raw = json.dumps(EVENT).encode()[:-1] + b',"payload":{"a":[{"deep":1,"deep":2}]}}'

    assert told(raw) == "a JSON object names one key twice: `deep`"


def test_a_clock_far_off_is_the_senders() -> None:
    assert told(json.dumps(EVENT | {"occurred": "2020-01-01T00:00:00Z"}).encode()).endswith(
        ": check the sender's clock"
    )


@pytest.mark.parametrize("read", [b"", b"[", b"{}", b"\xff", b"[" * 100_000])
def test_what_cannot_be_read_again_keeps_its_detail(read: bytes) -> None:
    assert told(json.dumps(EVENT | {"state": "Failed"}).encode(), read) == "Invalid enum value 'Failed' - at `$.state`"
    assert told(b'{"id":1,"id":2}', read) == "a JSON object names one key twice"

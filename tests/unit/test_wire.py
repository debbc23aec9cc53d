"""Golden wire bytes: what stands in logs out there must stay readable, and be written the same.

FLOWGAUGE_GOLDEN=write rewrites the files of tests/golden/wire/; read the diff in review.
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from flowgauge.schemas.control_records import (
    Pulse,
    RulesMarker,
    decode_pulse,
    decode_rules_marker,
    encode_record,
)
from flowgauge.schemas.delivery import (
    DeadLetter,
    Delivery,
    decode_dead_letter,
    decode_delivery,
    encode_dead_letter,
    encode_delivery,
)
from flowgauge.schemas.event import Event, decode_event, encode_event
from flowgauge.schemas.sample import Sample, SampleMessage, decode_message, encode_message
from flowgauge.schemas.transition import ExampleRun, Transition, decode_transition, encode_transition

FOLDER = Path(__file__).parents[1] / "golden" / "wire"
EVENT_ID = "01a207c7-d5fc-7558-9164-f669aabd48aa"
OCCURRED = datetime(2026, 11, 23, 9, 41, 6, 683_790, tzinfo=UTC)

RECORDS: list[tuple[str, Any, Callable[[Any], bytes], Callable[[bytes], Any]]] = [
    (
        "event.json",
        Event(
            id=UUID(EVENT_ID),
            tenant="acme",
            occurred=OCCURRED,
            event="flow-run.failed",
            kind="flow-run",
            flow="orders-sync",
            run="r-1",
            state="failed",
            scheduled_for=datetime(2026, 11, 23, 9, 41, tzinfo=UTC),
            resource={"id": "flow-run.r-1", "name": "brave-heron"},
            related=[{"id": "flow.orders-sync", "role": "flow", "name": "orders-sync"}],
            payload={"exception": {"type": "TimeoutError", "message": "orders-db: no answer — 30 s"}},
            follows=UUID("01a207c7-0000-7000-8000-000000000000"),
            extra={"colour": "red"},
        ),
        encode_event,
        decode_event,
    ),
    (
        "event-smallest.json",
        Event(id=UUID(EVENT_ID), tenant="default", occurred=OCCURRED, event="x", resource={"id": "y"}),
        encode_event,
        decode_event,
    ),
    (
        "sample-message.hex",
        SampleMessage(
            log_id="0f" * 16,
            source=3,
            start=41,
            end=45,
            clock_ms=1_795_426_866_700,
            rules_version=2,
            switched_ms=0,
            samples=[
                Sample(
                    42, 1_795_426_866_690, 0, ("acme", "orders-sync"), 1_795_426_866_683_790, "failed", EVENT_ID, "r-1"
                ),
                Sample(
                    44,
                    1_795_426_866_700,
                    1,
                    ("acme",),
                    1_795_426_866_683_790,
                    "seen",
                    EVENT_ID,
                    run="r-1",
                    flow="orders-sync",
                    value=2.5,
                    scheduled_ms=1_795_426_860_000,
                ),
            ],
        ),
        encode_message,
        decode_message,
    ),
    (
        "transition.json",
        Transition(
            transition_id="aa" * 16,
            incident_id="bb" * 16,
            seq=0,
            tenant="acme",
            rule="orders-sync failing",
            rule_kind="failure_rate",
            rules_version=2,
            key={"flow": "orders-sync"},
            from_state="inactive",
            to_state="firing",
            at_ms=1_795_426_870_000,
            opened_at_ms=1_795_426_870_000,
            reason="above threshold",
            value=0.5,
            threshold=0.2,
            samples=10,
            late_samples=1,
            window_ms=600_000,
            examples=[ExampleRun(1_795_426_866_683_790, EVENT_ID, "r-1", "orders-sync")],
            severity="critical",
            labels={"team": "data"},
            summary="{{ flow }} fails",
            notify=["data-oncall"],
        ),
        encode_transition,
        decode_transition,
    ),
    (
        "delivery.json",
        Delivery(
            delivery_id="cc" * 16,
            transition_id="aa" * 16,
            incident_id="bb" * 16,
            tenant="acme",
            rule="orders-sync failing",
            channel="data-oncall",
            to_state="firing",
            attempt=2,
            outcome="failed",
            at_ms=1_795_426_871_000,
            status=503,
            elapsed_ms=120,
            reason="status 503",
            next_attempt_ms=1_795_426_876_000,
        ),
        encode_delivery,
        decode_delivery,
    ),
    (
        "dead-letter.json",
        DeadLetter(
            tenant="acme",
            reason="not JSON",
            detail="JSON is malformed: invalid character (byte 0)",
            origin="gateway",
            at_ms=1_795_426_866_700,
            value=b"nope \xff\x00",
            size=7,
        ),
        encode_dead_letter,
        decode_dead_letter,
    ),
    ("pulse.json", Pulse(sent_ms=1_795_426_866_700, log_id="0f" * 16), encode_record, decode_pulse),
    ("rules-marker.json", RulesMarker(version=2), encode_record, decode_rules_marker),
]


@pytest.mark.parametrize(("name", "record", "encode", "decode"), RECORDS, ids=[record[0] for record in RECORDS])
def test_a_record_has_the_same_bytes_on_the_wire_and_reads_back(
    name: str, record: msgspec.Struct, encode: Callable[[Any], bytes], decode: Callable[[bytes], Any]
) -> None:
    file = FOLDER / name
    if os.environ.get("FLOWGAUGE_GOLDEN") == "write":
        file.write_text(_shown(name, encode(record)))

    assert _shown(name, encode(record)) == file.read_text()
    assert decode(encode(record)) == record


def test_every_golden_file_has_a_record() -> None:
    assert {file.name for file in FOLDER.iterdir()} == {name for name, *_ in RECORDS}


def _shown(name: str, encoded: bytes) -> str:
    """Return JSON as it is, msgpack as lines of 32 bytes in hex."""
    if name.endswith(".json"):
        return f"{encoded.decode()}\n"
    return "".join(f"{encoded[at : at + 32].hex()}\n" for at in range(0, len(encoded), 32))

"""Laws of the record of an event: one run is in one partition, however and by whomever it is told."""

import json
import zlib
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from tests.property.test_canonical_laws import APPEND_MS, EVENTS, SEPARATORS

from flowgauge.schemas.errors import InvalidEvent
from flowgauge.transport.event_record import event_record
from flowgauge.transport.log import Outgoing

PARTITIONS = st.integers(1, 256)


def record(fields: dict[str, Any], partitions: int, separators: tuple[str, str] = (",", ":")) -> Outgoing:
    raw = json.dumps(fields, separators=separators).encode()
    try:
        return event_record(raw, tenant="acme", append_ms=APPEND_MS, partitions=partitions)
    except InvalidEvent:  # of labels or payloads that json.dumps writes and nobody may send
        assume(condition=False)
        raise


@given(EVENTS, PARTITIONS)
def test_the_partition_is_the_checksum_of_run_or_resource(fields: dict[str, Any], partitions: int) -> None:
    made = record(fields, partitions)

    key = fields.get("run") or fields["resource"]["id"]
    assert (made.key, made.partition) == (key, zlib.crc32(key.encode()) % partitions)


@given(EVENTS, PARTITIONS, SEPARATORS, st.randoms())
def test_order_of_fields_and_spacing_change_neither_bytes_nor_partition(
    fields: dict[str, Any], partitions: int, separators: tuple[str, str], shuffle: Any
) -> None:
    members = list(fields.items())
    shuffle.shuffle(members)

    assert record(dict(members), partitions, separators) == record(fields, partitions)


@given(EVENTS, PARTITIONS)
def test_a_record_that_is_told_again_is_the_same_record(fields: dict[str, Any], partitions: int) -> None:
    made = record(fields, partitions)

    assert made.value is not None
    assert event_record(made.value, tenant="acme", append_ms=APPEND_MS, partitions=partitions) == made

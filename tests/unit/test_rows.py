"""Records become rows byte by byte, or dead letters with a reason."""

import pytest

from flowgauge.schemas.delivery import DEAD_LETTER_BYTES_MAX
from flowgauge.schemas.errors import InvalidEvent
from flowgauge.sinks.clickhouse.rows import SPECS, dead_letter, row

BY_TABLE = {spec.table: spec for spec in SPECS}


@pytest.mark.parametrize("value", [b'{"a":1}', b'{"a":{"b":"}"}}', '{"a":"☃"}'.encode(), b'{"a":",\\"_log\\":1"}'])
def test_a_row_is_the_record_with_its_place_and_clock(value: bytes) -> None:
    made = row(value, log_id="a", partition=3, offset=41, append_ms=1_795_000_000_007)

    assert made.line == value[:-1] + b',"_log":"a","_partition":3,"_offset":41,"_append":"1795000000.007"}'
    assert made.value() == value


def test_space_after_the_record_is_dropped() -> None:
    assert row(b'{"a":1} \n', log_id="a", partition=0, offset=0, append_ms=0).line.startswith(
        b'{"a":1,"_log":"a","_partition"'
    )


def test_an_early_clock_keeps_ten_digits_so_that_it_is_read_as_seconds() -> None:
    assert row(b'{"a":1}', log_id="a", partition=0, offset=0, append_ms=1_005).line.endswith(
        b'"_append":"0000000001.005"}'
    )


def test_a_dead_letter_names_its_source_and_is_cut() -> None:
    value = b'{"tenant":"acme","x":"' + b"y" * 100_000 + b'"}'
    letter = dead_letter(value, reason="wrong field", detail="d" * 2_000, partition=1, offset=9, append_ms=5)

    assert (letter.tenant, letter.origin, letter.source_partition, letter.source_offset) == ("acme", "sink", 1, 9)
    assert (len(letter.value), letter.size, letter.at_ms) == (DEAD_LETTER_BYTES_MAX, len(value), 5)
    assert len(letter.detail) == 1_000


@pytest.mark.parametrize("value", [b"not json", b"\xff", b'{"tenant":7}', b"[" * 100_000])
def test_a_letter_of_garbage_has_no_tenant(value: bytes) -> None:
    letter = dead_letter(value, reason="not JSON", detail="", partition=0, offset=0, append_ms=0)

    assert letter.tenant == ""


@pytest.mark.parametrize(
    ("table", "value", "reason"),
    [
        ("flowgauge.transitions", b"{}", "wrong field"),
        ("flowgauge.transitions", b"nope", "not JSON"),
        ("flowgauge.deliveries", b'{"delivery_id":"\xff"}', "not JSON"),
        ("flowgauge.dlq", b'{"reason":1}', "wrong field"),
        ("flowgauge.events", b"{}", "wrong field"),
    ],
)
def test_a_record_that_is_not_of_its_topic_is_refused(table: str, value: bytes, reason: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        BY_TABLE[table].validate(value, 0)

    assert caught.value.reason == reason

"""A source's clock over its records: one function for matchers, sinks and the growth of a log."""

import pytest

from flowgauge.schemas.clock import PULSE_SLACK_MS, PartitionClock
from flowgauge.schemas.control_records import Pulse, encode_record
from flowgauge.schemas.errors import LogMismatch, Unreadable
from flowgauge.schemas.topics import RecordKind
from flowgauge.transport.log import Record
from flowgauge.transport.source_clock import see


def pulse(value: bytes) -> Record:
    return Record(7, 1_000, RecordKind.PULSE, "", value)


def test_a_pulse_caps_what_comes_after_it() -> None:
    clock = PartitionClock()

    at_pulse = see(clock, pulse(encode_record(Pulse(sent_ms=900, log_id="log"))), 3, "log")
    after = see(clock, Record(8, 99_000, RecordKind.EVENT, "", b"{}"), 3, "log")

    assert (at_pulse, after) == (1_000, 900 + PULSE_SLACK_MS)


def test_a_pulse_that_cannot_be_read_is_told_with_its_place() -> None:
    with pytest.raises(Unreadable, match=r"the pulse at flowgauge\.events partition 3 offset 7 cannot be read"):
        see(PartitionClock(), pulse(b"{"), 3, "log")


def test_a_pulse_of_another_log_is_refused_with_its_place() -> None:
    other = encode_record(Pulse(sent_ms=900, log_id="other"))
    with pytest.raises(LogMismatch, match="partition 3 offset 7: a pulse of log other in log log"):
        see(PartitionClock(), pulse(other), 3, "log")

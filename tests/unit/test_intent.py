"""The note beside a committed offset: what was begun can be finished, exactly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgauge.schemas.clock import ClockState
from flowgauge.schemas.errors import InvariantBroken, LogMismatch
from flowgauge.sinks.clickhouse.intent import (
    REFUSED_MAX,
    SKIPS_MAX,
    Intent,
    Position,
    commit_intent,
    commit_position,
    read_position,
)
from flowgauge.sinks.clickhouse.quarantine import SLICES, Tally
from flowgauge.transport.log import METADATA_BYTES_MAX, Committed

CLOCK = ClockState(1_795_000_000_000, 1_794_999_999_000)


@st.composite
def intents(draw: st.DrawFn) -> Intent:
    start = draw(st.integers(0, 2**48))
    end = start + draw(st.integers(1, 2**31))
    skipped = draw(st.sets(st.integers(start, end - 1), max_size=SKIPS_MAX + REFUSED_MAX))
    clock = ClockState(draw(st.integers(0, 2**44)), draw(st.integers(0, 2**44)))
    counts = st.tuples(st.integers(0, 12_500_000), st.integers(0, 12_500_000))
    tally = Tally(draw(st.integers(0, 2**48)), tuple(draw(st.lists(counts, max_size=SLICES))))
    return Intent(start, end, clock, tuple(sorted(skipped)), tally)


@given(intents())
def test_an_intent_is_read_as_it_was_written_and_fits_the_metadata(intent: Intent) -> None:
    committed = commit_intent(intent)

    assert committed.next_offset == intent.start
    assert len(committed.metadata) <= METADATA_BYTES_MAX
    assert read_position(committed) == Position(intent.start, intent.clock, intent, intent.tally)


def test_a_position_without_an_intent_keeps_the_clock() -> None:
    assert read_position(commit_position(7, CLOCK)) == Position(7, CLOCK)


def test_a_new_group_begins_with_no_clock() -> None:
    assert read_position(Committed(0)) == Position(0, ClockState())


def test_a_token_names_log_topic_partition_and_range() -> None:
    assert Intent(10, 20, CLOCK).token("log1", "flowgauge.events", 3) == "log1-flowgauge.events-3-10-20"


def test_skips_are_kept_in_order_and_once() -> None:
    intent = Intent(10, 20, CLOCK, (12, 18))

    assert intent.skipping(15).skipping(12).skipped == (12, 15, 18)
    assert intent.cut_before(18) == Intent(10, 18, CLOCK, (12,))


def test_an_intent_of_another_version_is_not_replayed() -> None:
    with pytest.raises(LogMismatch, match=r"offsets \[5, 9\) was begun by note version 1"):
        read_position(Committed(5, '{"v":1,"clock":[1,1],"end":9}'))


def test_a_settled_note_of_another_version_is_read() -> None:
    assert read_position(Committed(5, '{"v":1,"clock":[1,0]}')) == Position(5, ClockState(1, 0))


def test_a_damaged_note_stops_the_sink() -> None:
    with pytest.raises(InvariantBroken, match="the note at offset 5 cannot be read"):
        read_position(Committed(5, '{"v":'))


def test_the_note_is_what_kafka_keeps_beside_an_offset() -> None:
    intent = Intent(100, 120, ClockState(5, 4), (101, 105))

    assert commit_intent(intent).metadata == '{"v":2,"clock":[5,4],"end":120,"skips":[1,4]}'
    assert commit_position(120, ClockState(9, 4)).metadata == '{"v":2,"clock":[9,4]}'
    counted = commit_position(120, ClockState(9, 4), Tally(2, ((1250, 0), (30, 2))))
    assert counted.metadata == '{"v":2,"clock":[9,4],"tally":[2,[[1250,0],[30,2]]]}'

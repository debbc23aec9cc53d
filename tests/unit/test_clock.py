"""The partition clock: its picture in schemas.clock, and that a restart goes on where it stood."""

from hypothesis import given
from hypothesis import strategies as st

from flowgauge.schemas.clock import PULSE_SLACK_MS, ClockState, PartitionClock

# (is a pulse, append time, sent time)
RECORDS = st.lists(st.tuples(st.booleans(), st.integers(1, 10**6), st.integers(1, 10**6)))


def run(clock: PartitionClock, records: list[tuple[bool, int, int]]) -> list[int]:
    return [clock.see_pulse(append, sent) if pulse else clock.see_record(append) for pulse, append, sent in records]


def test_a_broker_clock_that_jumps_ahead_is_capped_and_one_that_jumps_back_does_not_turn_time() -> None:
    clock = PartitionClock()

    seen = [
        clock.see_record(10_000),
        clock.see_pulse(10_300, 10_200),
        clock.see_record(99_000),
        clock.see_record(11_000),
    ]

    assert seen == [10_000, 10_300, 15_200, 15_200]


def test_before_the_first_pulse_the_append_time_counts() -> None:
    assert PartitionClock().see_record(99_000) == 99_000


def test_an_older_pulse_does_not_lower_the_cap() -> None:
    clock = PartitionClock()
    clock.see_pulse(10_000, 10_000)
    clock.see_pulse(10_001, 2_000)

    assert clock.see_record(99_000) == 10_000 + PULSE_SLACK_MS


@given(RECORDS)
def test_the_clock_never_runs_backwards_nor_past_what_was_appended(records: list[tuple[bool, int, int]]) -> None:
    seen = run(PartitionClock(), records)

    assert seen == sorted(seen)
    assert all(at <= max(append for _, append, _ in records) for at in seen)


@given(RECORDS, st.integers(0, 20))
def test_a_clock_restored_from_its_state_goes_on_as_if_never_stopped(
    records: list[tuple[bool, int, int]], at: int
) -> None:
    whole = PartitionClock()
    first = PartitionClock()

    expected = run(whole, records)
    head = run(first, records[:at])
    tail = run(PartitionClock(first.state()), records[at:])

    assert head + tail == expected


def test_the_state_is_small_and_starts_at_zero() -> None:
    assert PartitionClock().state() == ClockState(0, 0)

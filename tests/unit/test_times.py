"""Times and durations: what is read, what is written, what is refused."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgauge.schemas.times import format_duration, micros, parse_duration_ms, parse_time_ms, rfc3339


@given(st.integers(0, 4_102_444_800_000))
def test_a_time_reads_back_as_it_was_written(ms: int) -> None:
    assert parse_time_ms(rfc3339(ms)) == ms


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001  # bounds
def test_micros_are_exact(moment: datetime) -> None:
    assert micros(moment) == int(moment.timestamp()) * 1_000_000 + moment.microsecond


@pytest.mark.parametrize("text", ["1790000000000", "2026-09-21T13:33:20Z", "2026-09-21T15:33:20+02:00"])
def test_a_time_may_be_rfc_3339_or_milliseconds(text: str) -> None:
    assert parse_time_ms(text) in {1_790_000_000_000, 1_789_997_600_000}


@pytest.mark.parametrize("text", ["", "now", "2026-09-21T13:33:20", "12:30", "-5", "1e9"])
def test_other_times_are_refused_with_the_forms(text: str) -> None:
    with pytest.raises(ValueError, match="expected an RFC 3339 time with a zone, or epoch milliseconds"):
        parse_time_ms(text)


@pytest.mark.parametrize(
    ("text", "ms"), [("0s", 0), ("250ms", 250), ("90s", 90_000), ("1h30m", 5_400_000), ("1w1d", 691_200_000)]
)
def test_durations_are_read_in_their_units(text: str, ms: int) -> None:
    assert parse_duration_ms(text) == ms


@pytest.mark.parametrize("text", ["", "10", "m", "1 h", "-5m", "1.5h", "10M", "5m "])
def test_other_durations_are_refused_with_the_forms(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration such as 30s"):
        parse_duration_ms(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("10min", "10m"),
        ("5 minutes", "5m"),
        ("1.5h", "1h30m"),
        ("2 hrs, 30 mins", "2h30m"),
        ("10M", "10m"),
        ("5m ", "5m"),
        ("90sec", "1m30s"),
        ("3days", "3d"),
        ("500 msec", "500ms"),
    ],
)
def test_a_duration_in_other_words_is_guessed(text: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"got {text!r}: did you mean {meant}[?]$"):
        parse_duration_ms(text)


@pytest.mark.parametrize("text", ["", "10", "5 fortnights", "0.0001ms", "minutes", "1" * 50 + "min", "-5m"])
def test_what_is_no_duration_in_any_words_is_not_guessed(text: str) -> None:
    with pytest.raises(ValueError, match=r"7d, got '.*'$"):
        parse_duration_ms(text)


@given(st.integers(0, 10**12))
def test_a_duration_reads_back_as_it_was_written(ms: int) -> None:
    assert parse_duration_ms(format_duration(ms)) == ms

"""The figures of docs/sizing.md are those of its calculator, and what the calculator says hangs together."""

import pytest
from benchmarks.sizing import DOCUMENT, EVENTS_A_DAY, KEPT_DAYS, disk_bytes, first_walls, kept_bytes, plan_of, written


def test_the_tables_of_the_document_are_what_the_calculator_says() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")

    assert document == written(document), "run python -m benchmarks.sizing --write"


@pytest.mark.parametrize("days", KEPT_DAYS)
def test_disk_is_events_times_days_times_what_an_event_takes(days: int) -> None:
    assert [disk_bytes(day, days) for day in EVENTS_A_DAY] == [day * days * kept_bytes() for day in EVENTS_A_DAY]


def test_a_day_is_planned_by_its_mean_rate() -> None:
    assert [plan_of(day).rate for day in EVENTS_A_DAY] == [2_315, 23_148]


def test_the_lowest_wall_comes_first() -> None:
    rates = [rate for _, rate in first_walls()]

    assert rates == sorted(rates)
    assert rates[0] > 0

"""The timetable: which slots a start meets and when the next is due. Times are of Europe/Riga, 2021, or seconds."""

from datetime import datetime, timedelta
from itertools import islice

import pytest

from flowgauge.processors.cron import Dialect, parse_cron
from flowgauge.processors.slots import Interval, Schedule, zone_named
from flowgauge.processors.timetable import SLOTS_KEPT_MAX, Due, Slot, Timetable
from flowgauge.schemas.times import EPOCH, millis

HOUR_MS = 3_600_000


def each(seconds: int, anchor: int = 0) -> Timetable:
    return Timetable(Interval(timedelta(seconds=seconds), EPOCH + timedelta(seconds=anchor)))


def cron(text: str, dialect: Dialect = "debian") -> Timetable:
    return Timetable(Schedule(parse_cron(text, dialect), zone_named("Europe/Riga")))


def ms(text: str) -> int:
    return millis(datetime.fromisoformat(text))


def test_slots_of_an_interval_lie_as_far_apart_from_its_anchor_in_both_directions() -> None:
    table = each(60, anchor=90)

    assert [slot.at_ms // 1000 for slot in islice(table.after(30_000), 3)] == [90, 150, 210]
    assert [slot.at_ms // 1000 for slot in islice(table.after(29_999), 2)] == [30, 90]


def test_the_answers_do_not_hang_on_what_was_asked_before() -> None:
    asked = [5_000, 50_000, 7_000, 10_000_000, 49_999, 0, 10_001_000]
    table = each(10)

    found = [next(table.after(moment)).at_ms for moment in asked]

    assert found == [next(each(10).after(moment)).at_ms for moment in asked]


def test_however_many_slots_are_asked_for_few_are_kept() -> None:
    table = each(1)
    assert [slot.at_ms for slot in islice(table.after(0), 3 * SLOTS_KEPT_MAX)][-1] == 3_000 * SLOTS_KEPT_MAX

    assert next(table.after(5_000)) == Slot(6_000, 0)
    assert len(table._slots) == 1  # pyright: ignore[reportPrivateUsage]  # what it holds is seen nowhere else


@pytest.mark.parametrize(
    ("place", "met"),
    [
        (40.0, 40.0),  # between slots it meets what is behind
        (49.999, 49.999),
        (50.0, 60.0),  # 10 s early is early enough
        (60.0, 60.0),
        (61.0, 61.0),
    ],
)
def test_a_start_that_comes_a_little_early_meets_its_slot(place: float, met: float) -> None:
    assert each(60).met_by(round(place * 1000)) == round(met * 1000)


def test_where_slots_lie_close_together_early_is_a_quarter_of_what_lies_between() -> None:
    assert each(4).met_by(3_000) == 4_000
    assert each(4).met_by(2_999) == 2_999


def test_what_was_met_before_stays_met() -> None:
    assert each(60).met_by(5_000, 120_000) == 120_000
    assert each(60).met_by(115_000, 60_000) == 120_000


def test_the_first_slot_that_is_not_met_is_due() -> None:
    assert each(60).due(60_000, 5_000) == Due(120_000, 125_000)
    assert each(60).due(60_000, 500_000) == Due(120_000, 620_000)


def test_a_schedule_whose_years_are_over_has_nothing_due_and_is_asked_once() -> None:
    table = cron("0 0 1 1 * 0 2021", "airflow")
    new_year = ms("2021-01-01T00:00+02:00")

    assert table.due(new_year - 1, 1_000) == Due(new_year, new_year + 1_000)
    assert [table.due(new_year + far, 1_000) for far in (0, 1, HOUR_MS)] == [None] * 3
    assert table.met_by(new_year - 5_000) == new_year
    assert table.due(ms("2300-01-01T00:00Z"), 1_000) is None


@pytest.mark.parametrize(
    ("text", "since", "slots"),
    [
        ("0 * * * *", "2021-10-31T01:30+03:00", ["02:00", "03:00?", "03:00?", "04:00"]),  # 03:00 comes twice
        ("15 3 * * *", "2021-10-30T00:00+03:00", ["03:15", "03:15?", "03:15"]),
        ("15 3 * * *", "2021-03-27T00:00+02:00", ["03:15", "04:00?", "03:15"]),  # 03:15 was skipped
        ("0 * * * *", "2021-03-28T01:30+02:00", ["02:00", "04:00?", "05:00"]),
    ],
)
def test_a_slot_near_a_change_of_the_clock_is_in_doubt_by_as_much(text: str, since: str, slots: list[str]) -> None:
    table = cron(text)

    found = list(islice(table.after(ms(since)), len(slots)))

    assert [table.text(slot.at_ms)[11:16] + "?" * bool(slot.doubt_ms) for slot in found] == slots
    assert {slot.doubt_ms for slot in found} == {0, HOUR_MS}


def test_a_slot_in_doubt_is_met_an_hour_before_and_due_an_hour_after() -> None:
    table = cron("15 3 * * *")
    before, slot = ms("2021-10-30T03:15+03:00"), ms("2021-10-31T03:15+03:00")

    assert table.due(before, 60_000) == Due(slot, slot + HOUR_MS + 60_000)
    assert table.met_by(slot - HOUR_MS) == slot
    assert table.met_by(slot - HOUR_MS - 10_001) == slot - HOUR_MS - 10_001


def test_a_slot_after_those_in_doubt_may_be_due_before_them() -> None:
    table = cron("* * * * *")

    due = table.due(ms("2021-10-31T03:30+02:00"), 60_000)

    assert due == Due(ms("2021-10-31T04:00+02:00"), ms("2021-10-31T04:01+02:00"))


def test_slots_are_told_in_their_zone() -> None:
    assert cron("0 * * * *").text(ms("2021-10-31T01:00Z")) == "2021-10-31T03:00:00+02:00"
    assert each(60).text(60_000) == "1970-01-01T00:01:00+00:00"

"""Slots where clocks change, by dialect: tables, and what the schedulers themselves answered.

The tables: Europe/Riga in 2021, where 03:00 to 03:59 is skipped on 28 March and happens twice on 31 October. The
sources, besides the recordings in golden/slots that name the version and call they come from:

[debian]   cron(8) and cron.c: "local time changes of less than three hours"; MIN_STAR and HR_STAR of entry.c
[airflow]  _cron.py: _get_next, _covers_every_hour; timezone.py: make_aware takes fold=1
[dagster]  schedules.py: _timezone_aware_cron_iter, apply_post_transition, DAYLIGHT_SAVINGS_HOURS
[prefect]  schedules.py: _get_dates_whenever, "first-occurrence fold resolution". Before 3.9 it was otherwise.
[croniter] croniter.py of 7.0.0: _add_tzinfo, and _calc where "*" is in the hours
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from flowgauge.processors.cron import DIALECTS, YEAR_MAX, Dialect, parse_cron
from flowgauge.processors.slots import Schedule, zone_named

GOLDEN = Path(__file__).parents[1] / "golden" / "slots"
SPRING, AUTUMN = "2021-03-28T01:50+02:00", "2021-10-31T01:50+03:00"


def slots(text: str, dialect: Dialect, since: str, *, tz: str = "Europe/Riga", count: int = 3) -> Sequence[str]:
    """Return times of day with the offset in hours, such as 03:15+2; without a date, the tables are of one day."""
    found = Schedule(parse_cron(text, dialect), zone_named(tz)).after(datetime.fromisoformat(since))
    return [
        f"{local:%H:%M}{(local.utcoffset() or timedelta()).total_seconds() / 3600:+g}"
        for local in (slot.astimezone(ZoneInfo(tz)) for slot in islice(found, count))
    ]


@pytest.mark.parametrize(
    ("text", "dialect", "expected"),
    [
        # One time of the day: skipped.
        ("15 3 * * *", "debian", ["04:00+3", "03:15+3", "03:15+3"]),
        ("15 3 * * *", "airflow", ["04:15+3", "03:15+3", "03:15+3"]),
        ("15 3 * * *", "dagster", ["04:00+3", "03:15+3", "03:15+3"]),
        ("15 3 * * *", "prefect", ["04:15+3", "03:15+3", "03:15+3"]),
        ("15 3 * * *", "croniter", ["04:00+3", "03:15+3", "03:15+3"]),
        # Two times in the skipped hour become one slot, and Airflow goes on behind the later one.
        ("15,45 3 * * *", "debian", ["04:00+3", "03:15+3", "03:45+3"]),
        ("15,45 3 * * *", "airflow", ["04:15+3", "03:15+3", "03:45+3"]),
        ("15,45 3 * * *", "prefect", ["04:15+3", "04:45+3", "03:15+3"]),
        # Each hour: what is skipped is not made up for.
        ("0 * * * *", "debian", ["02:00+2", "04:00+3", "05:00+3"]),
        ("0 * * * *", "airflow", ["02:00+2", "04:00+3", "05:00+3"]),
        ("0 * * * *", "dagster", ["02:00+2", "04:00+3", "05:00+3"]),
        ("0 * * * *", "prefect", ["02:00+2", "04:00+3", "05:00+3"]),
        ("0 * * * *", "croniter", ["02:00+2", "04:00+3", "05:00+3"]),
        # In Debian a star in the minutes is enough for that; elsewhere it has to be in the hours.
        ("*/30 3 * * *", "debian", ["03:00+3", "03:30+3", "03:00+3"]),
        ("*/30 3 * * *", "dagster", ["04:00+3", "03:00+3", "03:30+3"]),
        ("*/30 3 * * *", "croniter", ["04:00+3", "03:00+3", "03:30+3"]),
    ],
)
def test_a_local_time_that_is_skipped(text: str, dialect: Dialect, expected: list[str]) -> None:
    assert slots(text, dialect, SPRING) == expected


@pytest.mark.parametrize(
    ("text", "dialect", "expected"),
    [
        ("15 3 * * *", "debian", ["03:15+3", "03:15+2", "03:15+2"]),  # the second is of the next day
        ("15 3 * * *", "airflow", ["03:15+2", "03:15+2", "03:15+2"]),
        ("15 3 * * *", "dagster", ["03:15+2", "03:15+2", "03:15+2"]),
        ("15 3 * * *", "prefect", ["03:15+3", "03:15+2", "03:15+2"]),
        ("15 3 * * *", "croniter", ["03:15+3", "03:15+2", "03:15+2"]),  # the second is of the same day
        ("0 * * * *", "debian", ["02:00+3", "03:00+3", "03:00+2"]),
        ("0 * * * *", "airflow", ["02:00+3", "03:00+3", "03:00+2"]),
        ("0 * * * *", "dagster", ["02:00+3", "03:00+3", "03:00+2"]),
        ("0 * * * *", "prefect", ["02:00+3", "03:00+3", "04:00+2"]),
        ("0 * * * *", "croniter", ["02:00+3", "03:00+3", "03:00+2"]),
        ("*/45 3 * * *", "debian", ["03:00+3", "03:45+3", "03:00+2"]),
        ("*/45 3 * * *", "airflow", ["03:00+2", "03:45+2", "03:00+2"]),
        ("*/45 3 * * *", "prefect", ["03:00+3", "03:45+3", "03:00+2"]),
        ("*/45 3 * * *", "croniter", ["03:00+3", "03:45+3", "03:00+2"]),
    ],
)
def test_a_local_time_that_happens_twice(text: str, dialect: Dialect, expected: list[str]) -> None:
    assert slots(text, dialect, AUTUMN) == expected


def test_both_readings_of_one_day_are_told_with_their_offsets() -> None:
    found = Schedule(parse_cron("15 3 * * *", "croniter"), zone_named("Europe/Riga")).after(
        datetime.fromisoformat(AUTUMN)
    )

    assert [slot.isoformat() for slot in islice(found, 3)] == [
        "2021-10-31T00:15:00+00:00",
        "2021-10-31T01:15:00+00:00",
        "2021-11-01T01:15:00+00:00",
    ]


@pytest.mark.parametrize(
    ("dialect", "day"), [("debian", 1), ("airflow", 31), ("dagster", 31), ("prefect", 1), ("croniter", 31)]
)
def test_asked_within_the_first_pass_of_a_repeated_hour_the_second_is_not_forgotten(dialect: Dialect, day: int) -> None:
    within = datetime.fromisoformat("2021-10-31T03:40+03:00")

    slot = next(Schedule(parse_cron("15 3 * * *", dialect), zone_named("Europe/Riga")).after(within))

    assert (slot.day, slot.hour, slot.minute) == (day, 1, 15)


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [("debian", "01:00-4"), ("dagster", "01:53-4"), ("prefect", "01:53-4"), ("croniter", "01:00-4")],
)
def test_dagster_corrects_no_time_that_is_skipped_at_midnight(dialect: Dialect, expected: str) -> None:
    """Havana puts its clocks forward at 00:00."""
    assert slots("53 0 * * *", dialect, "2019-03-09T22:13-05:00", tz="America/Havana", count=1) == [expected]


def test_debian_takes_a_change_of_more_than_three_hours_as_a_correction_of_the_clock() -> None:
    """Samoa had no 30 December 2011: cron(8) makes up for hours, not for a day."""
    since = "2011-12-29T13:00-10:00"

    assert slots("0 12 30 12 *", "croniter", since, tz="Pacific/Apia", count=1) == ["00:00+14"]
    assert slots("0 12 * * *", "debian", since, tz="Pacific/Apia", count=1) == ["12:00+14"]


def test_a_schedule_of_some_days_in_airflow_is_an_hour_off_in_the_first_hour_after_a_change() -> None:
    """It adds the time between the two local times to its last run, whatever the clock did since."""
    assert slots("0 * 1 * *", "airflow", "2021-03-01T22:30+02:00") == ["23:00+2", "01:00+3", "02:00+3"]
    assert slots("0 * 1 * *", "airflow", "2021-10-01T22:30+03:00") == ["23:00+3", "23:00+2", "00:00+2"]


@pytest.mark.parametrize("dialect", ["airflow", "dagster", "prefect", "croniter"])
def test_the_slots_are_those_that_the_scheduler_itself_answered(dialect: Dialect) -> None:
    first, *lines = (GOLDEN / f"{dialect}.jsonl").read_text(encoding="utf-8").splitlines()
    cases = [json.loads(line) for line in lines]

    found = [
        case
        | {
            "slots": [
                f"{slot:%Y-%m-%dT%H:%MZ}"
                for slot in islice(
                    Schedule(parse_cron(case["cron"], dialect), zone_named(case["tz"])).after(
                        datetime.fromisoformat(case["from"])
                    ),
                    len(case["slots"]),
                )
            ]
        }
        for case in cases
    ]

    assert "recorded from" in first
    assert len(cases) > 75
    assert found == cases


def test_slots_end_with_the_years_of_the_expression() -> None:
    schedule = Schedule(parse_cron("0 0 1 1,2 * 0 2030", "croniter"), zone_named("UTC"))

    assert [f"{slot:%Y-%m}" for slot in schedule.after(datetime(2026, 1, 1, tzinfo=UTC))] == ["2030-01", "2030-02"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_slots_end_before_the_last_year(dialect: Dialect) -> None:
    schedule = Schedule(parse_cron("@yearly", dialect), zone_named("UTC"))

    assert [slot.year for slot in schedule.after(datetime(2196, 6, 1, tzinfo=UTC))] == [2197, 2198, YEAR_MAX]


@pytest.mark.parametrize("year", [1969, YEAR_MAX + 1])
def test_a_time_of_another_century_is_refused(year: int) -> None:
    schedule = Schedule(parse_cron("@daily", "debian"), zone_named("UTC"))

    with pytest.raises(ValueError, match="expected a time of the years 1970 to 2199"):
        next(schedule.after(datetime(year, 6, 1, tzinfo=UTC)))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Europe/Rigga", "got 'Europe/Rigga': did you mean Europe/Riga?"),
        ("CEST", "got 'CEST'"),  # EST looks alike, and is six hours off
        ("Mars/X", "expected an IANA time zone such as Europe/Berlin, got 'Mars/X'"),
        ("../zone", "got '../zone'"),
        ("", "got ''"),
        ("Europe", "got 'Europe'"),
    ],
)
def test_an_unknown_zone_is_refused(name: str, said: str) -> None:
    with pytest.raises(ValueError, match="expected an IANA time zone") as refused:
        zone_named(name)

    assert said in str(refused.value)

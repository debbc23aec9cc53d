"""Cron expressions as each dialect reads them. The source of each fact stands beside it.

[debian]   cron 3.0pl1, entry.c and crontab(5) as Debian patches them
[cronsim]  2.8, README and cronsim.py
[croniter] 7.0.0, README and croniter.py
[airflow]  3.3.2, timetables/_cron.py and utils/dates.py
[dagster]  1.13.29, _utils/schedules.py and _vendored/croniter
[prefect]  3.9.1, validators.py and _vendor/croniter
"""

from datetime import datetime
from itertools import islice

import pytest

from flowgauge.processors.cron import CRON_CHARS_MAX, DIALECTS, Dialect, parse_cron

FROM = datetime(2026, 11, 30)  # noqa: DTZ001  # a local time, a Monday
CRONITERS: tuple[Dialect, ...] = ("airflow", "dagster", "prefect", "croniter")


def times(text: str, dialect: Dialect, count: int = 3) -> list[str]:
    return [wall.isoformat(timespec="minutes") for wall in islice(parse_cron(text, dialect).walls(FROM), count)]


@pytest.mark.parametrize(
    ("text", "dialects", "expected"),
    [
        # Day of month and day of week, both restricted: either suffices [debian: crontab(5); croniter: day_or].
        ("0 0 1 * 5", DIALECTS, ["2026-12-01T00:00", "2026-12-04T00:00", "2026-12-11T00:00"]),
        # One that begins with a star: both must match [debian: DOM_STAR, DOW_STAR].
        ("0 0 */10 * 5", ("debian",), ["2026-12-11T00:00", "2027-01-01T00:00", "2027-05-21T00:00"]),
        # croniter knows that as implement_cron_bug, which no scheduler here sets: either.
        ("0 0 */10 * 5", CRONITERS, ["2026-12-01T00:00", "2026-12-04T00:00", "2026-12-11T00:00"]),
        # 7 is Sunday everywhere; names of three letters in any case, in ranges as well [debian: get_number].
        ("0 0 * * 7", DIALECTS, ["2026-12-06T00:00", "2026-12-13T00:00", "2026-12-20T00:00"]),
        ("0 0 1 JAN-mar *", DIALECTS, ["2027-01-01T00:00", "2027-02-01T00:00", "2027-03-01T00:00"]),
        ("0 0 * * Mon-FRI/2", DIALECTS, ["2026-12-02T00:00", "2026-12-04T00:00", "2026-12-07T00:00"]),
        # A range that wraps [croniter: "backtracking order"].
        ("0 0 * * fri-mon", CRONITERS, ["2026-12-04T00:00", "2026-12-05T00:00", "2026-12-06T00:00"]),
        ("0 0 1 nov-feb *", CRONITERS, ["2026-12-01T00:00", "2027-01-01T00:00", "2027-02-01T00:00"]),
        # A step from one number goes on to the highest [croniter].
        ("5/25 0 * * *", CRONITERS, ["2026-11-30T00:05", "2026-11-30T00:30", "2026-11-30T00:55"]),
        # From the highest: that one alone since croniter 7, all before, as those carry it that bring their own.
        ("59/20 5 * * *", ("airflow", "croniter"), ["2026-11-30T05:59", "2026-12-01T05:59", "2026-12-02T05:59"]),
        ("59/20 5 * * *", ("dagster", "prefect"), ["2026-11-30T05:00", "2026-11-30T05:20", "2026-11-30T05:40"]),
        ("0 0 1 dec/3 *", ("airflow", "croniter"), ["2026-12-01T00:00", "2027-12-01T00:00", "2028-12-01T00:00"]),
        ("0 0 * * sat/3", ("dagster", "prefect"), ["2026-12-02T00:00", "2026-12-05T00:00", "2026-12-06T00:00"]),
        # A step longer than the field: its lowest value [all].
        ("*/99 * * * *", DIALECTS, ["2026-11-30T01:00", "2026-11-30T02:00", "2026-11-30T03:00"]),
        # The letters and signs of Quartz [croniter README].
        ("0 0 L * *", CRONITERS, ["2026-12-31T00:00", "2027-01-31T00:00", "2027-02-28T00:00"]),
        ("0 0 * * L5", CRONITERS, ["2026-12-25T00:00", "2027-01-29T00:00", "2027-02-26T00:00"]),
        ("0 0 * * 5#1", CRONITERS, ["2026-12-04T00:00", "2027-01-01T00:00", "2027-02-05T00:00"]),
        ("0 0 ? * ?", CRONITERS, ["2026-12-01T00:00", "2026-12-02T00:00", "2026-12-03T00:00"]),
        # A year at the end, behind a second [croniter: YEAR_FIELDS].
        ("0 0 1 * * 0 2030", ("prefect", "croniter"), ["2030-01-01T00:00", "2030-02-01T00:00", "2030-03-01T00:00"]),
        # Nicknames [debian: load_entry; croniter: expr_aliases; airflow: cron_presets].
        ("@hourly", DIALECTS, ["2026-11-30T01:00", "2026-11-30T02:00", "2026-11-30T03:00"]),
        ("@midnight", DIALECTS, ["2026-12-01T00:00", "2026-12-02T00:00", "2026-12-03T00:00"]),
        ("@weekly", DIALECTS, ["2026-12-06T00:00", "2026-12-13T00:00", "2026-12-20T00:00"]),
        ("@annually", DIALECTS, ["2027-01-01T00:00", "2028-01-01T00:00", "2029-01-01T00:00"]),
        ("@quarterly", ("airflow",), ["2027-01-01T00:00", "2027-04-01T00:00", "2027-07-01T00:00"]),
        # A day that never comes beside one that does [croniter 7.0.0: "contributes no dates"; debian: or].
        ("0 0 31 2 1", ("debian", "airflow", "croniter"), ["2027-02-01T00:00", "2027-02-08T00:00", "2027-02-15T00:00"]),
        ("0 0 29 2 1 0 2027", ("airflow", "croniter"), ["2027-02-01T00:00", "2027-02-08T00:00", "2027-02-15T00:00"]),
        # Rare, and yet it comes [cronsim README].
        ("0 0 29 2 */7", ("debian",), ["2032-02-29T00:00", "2060-02-29T00:00", "2088-02-29T00:00"]),
        ("0 0 * 2 mon#5", CRONITERS, ["2044-02-29T00:00", "2072-02-29T00:00", "2112-02-29T00:00"]),
    ],
)
def test_an_expression_names_the_times_that_its_scheduler_reads(
    text: str, dialects: tuple[Dialect, ...], expected: list[str]
) -> None:
    assert {dialect: times(text, dialect) for dialect in dialects} == dict.fromkeys(dialects, expected)


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("0 0 1 1 * 0 2020", "2020-01-01T00:00"),
        ("0 12 * * * 0 2020-2024/2", "2024-12-31T12:00"),
        ("0 12 * * * 0 *", None),
        ("0 12 * * *", None),
    ],
)
def test_an_expression_with_years_has_a_last_time(text: str, last: str | None) -> None:
    wall = parse_cron(text, "croniter").last_wall()

    assert (None if wall is None else wall.isoformat(timespec="minutes")) == last


@pytest.mark.parametrize("dialect", ["airflow", "prefect", "croniter"])
def test_a_sixth_field_is_the_second(dialect: Dialect) -> None:
    walls = islice(parse_cron("0 0 * * * */20", dialect).walls(FROM), 3)

    assert [wall.isoformat() for wall in walls] == ["2026-11-30T00:00:20", "2026-11-30T00:00:40", "2026-12-01T00:00:00"]


@pytest.mark.parametrize(
    ("text", "dialects", "said"),
    [
        ("61 * * * *", DIALECTS, "minute: cannot read '61': expected 0-59"),
        ("0 24 * * *", DIALECTS, "hour: cannot read '24': expected 0-23"),
        ("0 0 0 * *", DIALECTS, "day of month: cannot read '0': expected 1-31"),
        ("0 0 * 13 *", DIALECTS, "month: cannot read '13': expected 1-12 or jan-dec"),
        ("0 0 * foo *", DIALECTS, "month: cannot read 'foo': expected 1-12 or jan-dec"),
        ("0 0 * * 8", DIALECTS, "day of week: cannot read '8': expected 0-6 or sun-sat, 7 is Sunday"),
        ("*/0 * * * *", DIALECTS, "minute: cannot read '*/0': expected 0-59"),
        ("1,,2 * * * *", CRONITERS, "minute: cannot read '1,,2': expected 0-59"),
        ("0 0 * * 5#6", CRONITERS, "day of week: cannot read '5#6'"),
        ("0 0 * * 1,2#3", CRONITERS, "day of week: cannot read '1,2#3'"),  # CroniterUnsupportedSyntaxError
        ("0 0 1 1 * 60", ("airflow", "prefect", "croniter"), "second: cannot read '60': expected 0-59"),
        ("0 0 1 1 * 0 1969", ("airflow", "prefect", "croniter"), "year: cannot read '1969': expected 1970-2099"),
        # [debian] "Unsupported syntax: Step specified without range"; no wrapping; none of Quartz's letters.
        ("5/15 * * * *", ("debian",), "minute: '5/15' cannot be used with debian: a step needs a range: write 5-59/15"),
        ("0 0 * * fri-mon", ("debian",), "expected 0-6 or sun-sat, 7 is Sunday, and of a range the lower end first"),
        ("0 0 L * *", ("debian",), "day of month: 'L' cannot be used with debian: write 1-31"),
        ("0 0 * * 5#1", ("debian",), "day of week: '5#1' cannot be used with debian"),
        ("0 0 ? * *", ("debian",), "day of month: '?' cannot be used with debian"),
        # Drawn anew or from a name that is not here [croniter: HashExpander; prefect: validate_cron_string].
        ("H * * * *", DIALECTS, "H and R stand for values that are drawn: write 0-59, such as the one that was drawn"),
        ("0 R(0-5)/2 * * *", DIALECTS, "hour: 'R(0-5)/2' cannot be used with"),
        # croniter knows W since 6.2, not L-W of Quartz; debian, dagster and prefect know neither.
        ("0 0 15W * *", DIALECTS, "the weekday nearest to a day is not computed here: write 1-31"),
        # [dagster] is_valid_cron_string: "only recognizes cron strings that resolve to 5 parts".
        ("* * * * * *", ("debian", "dagster"), "5 fields (minute, hour, day of month, month, day of week); got 6 in"),
        (
            "* * * *",
            ("airflow", "prefect", "croniter"),
            "or 6 with a second, 7 with a second and a year, at the end; got 4",
        ),
        # Quartz and Spring have the second first.
        ("0 30 2 * * *", ("airflow", "prefect", "croniter"), "if its first is the second, write '30 2 * * * 0'"),
        (
            "0 0 2 * * *",
            ("airflow", "prefect", "croniter"),
            "names every second of its minutes, for the second stands last",
        ),
        ("0 0 2 * * ? 2030", ("prefect", "croniter"), "if its first is the second, write '0 2 * * ? 0 2030'"),
        ("0 0 2 * * mon", ("airflow", "croniter"), "second: cannot read 'mon': expected 0-59: if its first"),
        (
            "0 30 2 * * *",
            ("debian", "dagster"),
            "got 6 in '0 30 2 * * *': if its first is the second, write '30 2 * * *'",
        ),
        ("", DIALECTS, "got 0 in ''"),
        ("@reboot", DIALECTS, "'@reboot' names no times for"),
        ("@quarterly", ("debian", "dagster", "prefect", "croniter"), "write five fields, or one of @yearly, @annually"),
        ("@Daily", ("debian",), "'@Daily' names no times for debian"),  # strcmp; croniter lowers the case
        ("0 0 30 2 *", DIALECTS, "'0 0 30 2 *' never fires: no such day ever comes"),
        ("0 0 31 4,6,9,11 *", DIALECTS, "never fires"),
        # A weekday beside it suffices since croniter 7, but not one with a letter or sign ["clean_split"].
        ("0 0 31 2 1", ("dagster", "prefect"), "never fires"),
        ("0 0 31 2 1#1", CRONITERS, "never fires"),
        ("0 0 31 2 L1", CRONITERS, "never fires"),
        ("٣ * * * *", DIALECTS, f"expected at most {CRON_CHARS_MAX} ASCII characters, got '٣ * * * *'"),
        ("0," * 300 + "0 * * * *", DIALECTS, f"expected at most {CRON_CHARS_MAX} ASCII characters"),
    ],
)
def test_what_a_scheduler_does_not_read_is_refused_with_place_and_remedy(
    text: str, dialects: tuple[Dialect, ...], said: str
) -> None:
    for dialect in dialects:
        with pytest.raises(ValueError, match=r"\S") as refused:
            parse_cron(text, dialect)

        assert said in str(refused.value)
        assert "\n" not in str(refused.value)

"""`flowgauge rules next-slots`: what it prints, what it refuses, and that docs/schedules.md says the same."""

import re
import shlex
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import takewhile

import pytest
from tests.integration.fenced_blocks import ROOT, blocks, commands

from flowgauge.console.cli.rules import next_slots
from flowgauge.console.main import main
from flowgauge.processors.cron import DIALECTS, parse_cron
from flowgauge.processors.slots import Schedule, zone_named

PAGE = ROOT / "docs" / "schedules.md"
DAYS = {"March": "2021-03-28T02:45:00+02:00", "October": "2021-10-31T02:45:00+03:00"}
SINCE = ("--from", "2026-11-30T12:00:00Z")


def said(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> tuple[object, list[str], list[str]]:
    """Return the exit code and the lines of both streams."""
    with pytest.raises(SystemExit) as ended:
        main(["rules", "next-slots", *arguments])
    streams = capsys.readouterr()
    return ended.value.code, streams.out.splitlines(), streams.err.splitlines()


def test_slots_are_printed_one_a_line_with_their_offset(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--dialect", "prefect", "--tz", "America/New_York", *SINCE, "--count", "2")

    assert said(["@daily", *options], capsys) == (
        0,
        ["2026-12-01T00:00:00-05:00", "2026-12-02T00:00:00-05:00"],
        [],
    )


def test_ten_slots_from_now_in_utc_are_printed_where_nothing_else_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = said(["*/5 * * * *", "--dialect", "debian"], capsys)

    assert (code, len(lines)) == (0, 10)
    assert all(line.endswith("+00:00") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("61 * * * *", "--dialect", "debian"), "Invalid value for CRON: minute: cannot read '61': expected 0-59"),
        (("0 0 30 2 *", "--dialect", "airflow"), "Invalid value for CRON: '0 0 30 2 *' never fires: no such day ever"),
        (("@daily", "--dialect", "debian", "--tz", "Europe/Rigga"), "did you mean Europe/Riga?"),
        (
            ("@daily", "--dialect", "quartz"),
            "Invalid value for '--dialect': 'quartz' is not one of 'debian', 'airflow'",
        ),
        (("@daily",), "Missing option '--dialect'"),
        (("@daily", "--dialect", "debian", "--count", "0"), "'--count': 0 is not in the range 1<=x<=1000"),
        (("@daily", "--dialect", "debian", "--count", "1001"), "'--count': 1001 is not in the range 1<=x<=1000"),
        (
            ("@daily", "--dialect", "debian", "--from", "2026-11-30T12:00:00"),
            "Invalid value for --from: expected an RFC 3339 time with a zone",
        ),
        (
            ("@daily", "--dialect", "debian", "--from", "1026-11-30T12:00:00Z"),
            "Invalid value for --from: expected a time of the years 1970 to 2199",
        ),
        (
            ("0 0 1 1 * 0 2020", "--dialect", "prefect", *SINCE),
            "Invalid value for CRON: no slot comes after 2026-11-30T12:00:00+00:00: its years are over",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line_with_its_place(
    arguments: Sequence[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed, error = said(arguments, capsys)

    assert (code, printed) == (2, [])
    assert [each for each in error if each.startswith("Error: ") and line in each]


def test_the_dialects_of_the_command_are_those_that_there_are() -> None:
    (option,) = (each for each in next_slots.params if each.name == "dialect")

    assert tuple(option.type.to_info_dict()["choices"]) == DIALECTS


def test_the_example_of_the_page_prints_what_stands_below_it(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = commands(blocks(PAGE, "sh")[0])

    code, printed, _ = said(shlex.split(example)[3:], capsys)

    assert (code, printed) == (0, blocks(PAGE, "")[0].text.splitlines())


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading of the page, its header first."""
    below = PAGE.read_text(encoding="utf-8").split(f"\n{heading}\n", 1)[1]
    table = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)
    assert table
    lines = [line.strip("|\n").split("|") for line in table[0].splitlines()]
    return [[cell.strip() for cell in line] for number, line in enumerate(lines) if number != 1]


def test_the_page_names_all_dialects_in_each_of_its_tables() -> None:
    names = [f"`{dialect}`" for dialect in DIALECTS]

    assert [row[0] for row in rows("## Dialects")[1:]] == names
    assert rows("### What they read")[0][1:] == names
    assert [row[0] for row in rows("### Where clocks change")[1:]] == names


def between(schedule: Schedule, since: datetime, until: datetime) -> list[str]:
    """Return the slots of a zone east of Greenwich as the page writes them, such as 03:15+2."""
    slots = takewhile(lambda slot: slot <= until, schedule.after(since))
    return [f"{local:%H:%M}+{f'{local:%z}'[2]}" for local in (slot.astimezone(schedule.zone) for slot in slots)]


def test_the_page_tells_the_slots_where_clocks_change() -> None:
    (_, *columns), *told = rows("### Where clocks change")
    zone = zone_named("Europe/Riga")

    for dialect, row in zip(DIALECTS, told, strict=True):
        found: list[str] = []
        for column in columns:
            text, month = column.removeprefix("`").split("` in ")
            since = datetime.fromisoformat(DAYS[month])
            until = since + timedelta(hours=1 if month == "March" else 3)
            found.append(" ".join(between(Schedule(parse_cron(text, dialect), zone), since, until)) or "none")
        assert found == row[1:], dialect

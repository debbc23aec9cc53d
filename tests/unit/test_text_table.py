"""What commands print for people: tables, the heat map, one incident. Nothing in them speaks to the terminal."""

import json
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from tests.unit.test_incident_context import AT, CONTEXT

from flowgauge.console.heat_grid import heat_grid
from flowgauge.console.incident_text import incident_text
from flowgauge.console.main import main
from flowgauge.console.text_table import printable, text_table
from flowgauge.processors.kinds import KINDS
from flowgauge.schemas.incident_context import IncidentContext

HOSTILE = "a\x1b[2J\x9b31m\r\nok  rules\u202e\x7f\ud800"
RUN: dict[str, Any] = {
    "run": "r1",
    "flow": "orders",
    "state": "failed",
    "event_id": "e1",
    "occurred": "2027-01-15T07:48:00.000Z",
    "scheduled_for": None,
    "started": "2027-01-15T07:49:00Z",
    "ended": None,
    "attempts": 1,
    "seconds": None,
    "late_by_seconds": None,
    "message": "it failed",
    "error_lines": [],
}
BODY: dict[str, Any] = {
    "summary": "orders: 60% of 5 runs failed",
    "state": "firing",
    "severity": "critical",
    "opened_at": "2027-01-15T07:50:00.000Z",
    "standing": "Held: no run of orders has ended in the last 10m.",
    "flapping": None,
    "rule": "orders failing",
    "kind": "failure_rate",
    "key": {"flow": "orders"},
    "value": 0.6,
    "threshold": 0.2,
    "samples": 5,
    "late_samples": 0,
    "window": "10m",
    "reason": "failure rate above threshold",
    "runbook": "https://wiki.example/orders",
    "transitions": [
        {
            "at": "2027-01-15T07:50:00.000Z",
            "from": "inactive",
            "to": "firing",
            "value": 0.6,
            "samples": 5,
            "reason": "x",
        }
    ],
    "runs": [RUN],
    "runs_counted": 3,
    "deliveries": [],
    "context": msgspec.to_builtins(CONTEXT),
    "handling": {"says": ""},
    "acts": [],
}
NOTE = {"at": "2027-01-15T07:55:00.000Z", "by": "ann", "says": "noted: the disk is full"}


def hostile(value: object) -> object:
    """Put what no terminal should see into every text there is, but what names the rule's kind."""
    match value:
        case str():
            return value + HOSTILE
        case list():
            return [hostile(each) for each in cast("list[object]", value)]
        case dict():
            found = cast("dict[str, object]", value)
            return {name: inner if name == "kind" else hostile(inner) for name, inner in found.items()}
        case _:
            return value


def test_text_of_others_is_one_line_without_control_characters() -> None:
    assert printable(HOSTILE) == "a [2J 31m  ok  rules   "
    assert printable("a\nb\tc", keep="\n") == "a\nb c"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_no_text_of_an_incident_reaches_the_terminal_with_control_characters_or_lines_of_its_own(kind: str) -> None:
    line = {"time": "2027-01-15T07:49:01Z", "level": "ERROR", "logger": "x", "message": "refused"}
    body = BODY | {"kind": kind, "runs": [RUN | {"error_lines": [line], "late_by_seconds": 5.0}], "labels": {"a": "b"}}
    body |= {"acts": [NOTE], "handling": {"says": "acknowledged by ann"}}
    calm = incident_text(body)

    said = incident_text(cast("dict[str, Any]", hostile(body)))

    assert [each for each in said if not each.isprintable() and each != "\n"] == []
    assert said.count("\n") == calm.count("\n")


def test_no_cell_of_a_table_reaches_the_terminal_with_control_characters() -> None:
    shown = text_table(["flow", "key"], [[HOSTILE, {HOSTILE: HOSTILE}]])

    assert [each for each in shown if not each.isprintable() and each != "\n"] == []
    assert shown.count("\n") == 2


def test_an_incident_says_what_keeps_it_open_and_leaves_out_what_nothing_is_known_of() -> None:
    said = incident_text(BODY)

    assert said.startswith(
        "orders: 60% of 5 runs failed\n"
        "firing, critical, opened 2027-01-15T07:50:00.000Z\n"
        "Held: no run of orders has ended in the last 10m.\n\nWhy\n"
    )
    assert "Failing runs (1 of 3)\n  run  flow    state   started               attempts  message\n" in said


def test_an_incident_names_its_runbook_where_its_rule_has_one() -> None:
    assert "  runbook       https://wiki.example/orders\n" in incident_text(BODY)
    assert "runbook" not in incident_text(BODY | {"runbook": None})


def test_an_incident_says_what_stands_around_it_and_leaves_out_what_does_not() -> None:
    said = incident_text(BODY)
    alone = incident_text(BODY | {"context": msgspec.to_builtins(IncidentContext(incident_id="i1"))})

    tables = {part.split("\n")[0]: [row.split() for row in part.split("\n")[1:]] for part in said.split("\n\n")}
    assert tables["What changed before"][0] == ["at", "what", "name", "flow", "run", "detail"]
    assert tables["What changed before"][2] == [AT, "deployment", "version", "1.4.2", "orders", "run-1"]
    assert tables["Errors"][2] == ["12", "4", AT, "connection", "to", "<n>", "refused"]
    assert tables["Also open then"][2] == [AT, "firing", "warning", "orders", "late", "flow=orders", "i2"]
    assert "In the orchestrator\n  run-1 https://prefect.example/run-1\n" in said
    assert "ClickHouse could not tell in time: changes\n" in said
    sections = ("What changed before", "Errors", "Also open then", "In the orchestrator", "ClickHouse could not")
    assert [each for each in sections if each in alone] == []


def test_an_incident_whose_alert_flaps_says_so_below_its_state() -> None:
    said = incident_text(BODY | {"flapping": {"says": "flapping: 5 incidents in 2h"}})

    assert said.splitlines()[:5].count("flapping: 5 incidents in 2h") == 1


def test_an_incident_says_who_looks_after_it_and_what_people_did() -> None:
    said = incident_text(BODY | {"handling": {"says": "acknowledged by ann"}, "acts": [NOTE]})

    assert said.splitlines()[3] == "acknowledged by ann"
    assert "What people did\n  2027-01-15T07:55:00.000Z ann noted: the disk is full\n" in said


def test_an_event_told_once_was_never_opened() -> None:
    said = incident_text(BODY | {"state": "happened", "standing": ""})

    assert said.splitlines()[1] == "happened, critical, at 2027-01-15T07:50:00.000Z"


def test_late_runs_are_told_by_their_times_and_their_delay() -> None:
    waiting = RUN | {"run": "r2", "state": "late", "started": None, "late_by_seconds": 660.0}
    runs = [RUN | {"state": "running", "late_by_seconds": 60.0}, waiting]

    said = incident_text(BODY | {"kind": "late", "runs": runs, "runs_counted": 2})

    section = said[said.index("Late runs") :].split("\n\n")[0]
    assert section.splitlines()[1].split() == ["run", "flow", "state", "called_late", "started", "late_by"]
    assert "2027-01-15T07:48:00.000Z  2027-01-15T07:49:00Z  1 min 0 s" in section
    assert "2027-01-15T07:48:00.000Z  –                     11 min, not started" in section


def test_events_of_one_run_show_its_error_lines_once_and_no_empty_key() -> None:
    line = {"time": "2027-01-15T07:49:01Z", "level": "ERROR", "logger": "x", "message": "refused"}
    runs = [RUN | {"event_id": event_id, "error_lines": [line]} for event_id in ("e1", "e2")]

    said = incident_text(BODY | {"kind": "event", "key": {}, "runs": runs, "runs_counted": 2})

    assert said.count("Last error lines of r1") == 1
    section = said[said.index("Events") :].split("\n\n")[0]
    assert section.splitlines()[1].split() == ["occurred", "event_id", "run", "flow"]
    assert "\n  key " not in said


@pytest.mark.parametrize("form", ["table", "jsonl"])
def test_what_a_replay_complains_of_is_printable(tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str) -> None:
    (tmp_path / "rules.yaml").write_text("rules: [{name: a, when: {event: {}}}]", encoding="utf-8")
    fields: dict[str, object] = {
        "id": "00000000-0000-0000-0000-000000000001",
        "occurred": "2027-01-15T07:49:00Z",
        "event": "x",
        "flow": HOSTILE[:-1],
        "resource": {"id": HOSTILE[:-1]},
    }
    lines = [fields, fields | {"state": HOSTILE[:-1]}, fields | {"tenant": 1, HOSTILE[:-1]: 1, "kind": "\x9b"}]
    events = tmp_path / "events.jsonl"
    events.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines), encoding="utf-8")

    with pytest.raises(SystemExit) as ended:
        main(["replay", str(events), "--rules", str(tmp_path / "rules.yaml"), "--format", form])

    told = capsys.readouterr()
    assert ended.value.code == 1
    said = told.err + (told.out if form == "table" else "")
    assert [each for each in said if not each.isprintable() and each != "\n"] == []


def test_what_ends_a_command_is_printable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text('rules: [{name: "a\\e[2J", when: {event: {}}, "b\\e[31m": 1}]', encoding="utf-8")

    with pytest.raises(SystemExit) as ended:
        main(["rules", "validate", str(rules)])

    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "\x1b" not in said
    assert "b" in said


def test_the_heat_map_is_a_grid_that_fits_80_columns_and_tells_its_extremes_apart() -> None:
    rows = [
        {"weekday": 1, "hour": 0, "failed": 0, "finished": 4},
        {"weekday": 1, "hour": 1, "failed": 1, "finished": 1_000},
        {"weekday": 1, "hour": 2, "failed": 999, "finished": 1_000},
        {"weekday": 1, "hour": 23, "failed": 3, "finished": 3},
        {"weekday": 7, "hour": 9, "failed": 5, "finished": 40},
    ]

    lines = heat_grid(rows, "Europe/Berlin").splitlines()

    assert lines[0] == "Percent of finished runs that failed, by weekday and hour (Europe/Berlin)"
    assert lines[2] == "     00 01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19 20 21 22 23"
    assert lines[3] == "Mon   0 <1 99" + "  ·" * 20 + " ##"
    assert lines[9] == "Sun " + "  ·" * 9 + " 12" + "  ·" * 14
    assert (len(lines), max(map(len, lines[:11]))) == (13, 76)
    assert lines[12] == "1,008 of 2,047 runs failed (49.2%); most in the hour from Monday 02:00, 999 of 1000."

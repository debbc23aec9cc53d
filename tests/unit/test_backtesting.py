"""`flowgauge rules backtest` on files: the incidents of the replay under their ids, their numbers, and what differs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.captures import captured

from flowgauge.console.main import main
from flowgauge.processors.replay import Replay
from flowgauge.processors.ruleset import parse_rules
from flowgauge.schemas.times import parse_time_ms, rfc3339
from flowgauge.schemas.transition import Transition

UNTIL = "2026-11-23T12:00:00Z"
RULES = """
rules:
  - name: flow failing
    for_each: [flow]
    when: {failure_rate: {above: 20%, within: 5m, min_samples: 3, clear_below: 10%}}
    for: 10s
    keep_firing_for: 30s
    no_data: resolve
  - name: runs late
    when: {late: {after: 1m, at_least: 5, within: 5m}}
  - name: crashed
    match: {event: prefect.flow-run.Crashed}
    for_each: [flow]
    when: {event: {}}
  - {name: never, match: {flow: nobody}, when: {event: {}}}
"""


class Ended:
    """One `flowgauge rules backtest`, run to its end."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], lines: Sequence[bytes], *more: str) -> None:
        (folder / "rules.yaml").write_text(RULES)
        (folder / "events.jsonl").write_bytes(b"\n".join(lines))
        with pytest.raises(SystemExit) as ended:
            main(["rules", "backtest", str(folder / "rules.yaml"), "--events", str(folder / "events.jsonl"), *more])
        said = capsys.readouterr()
        self.code, self.out, self.err = ended.value.code, said.out, said.err.replace(f"{folder}/", "")

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.out)
        return body


@pytest.mark.parametrize("name", ["outage", "late"])
def test_its_incidents_are_those_of_the_replay_with_their_ids_and_times(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    lines = captured(name)
    told: dict[str, list[Transition]] = {}
    for item in Replay(lambda: lines, parse_rules("rules.yaml", RULES), until_ms=parse_time_ms(UNTIL)).transitions():
        told.setdefault(item.incident_id, []).append(item)
    expected = {
        (fired.transition_id, rfc3339(fired.at_ms), rfc3339(ended.at_ms) if (ended := end_of(lives)) else None)
        for lives in told.values()
        for fired in [item for item in lives if item.to_state == "firing"][:1]
    }

    body = Ended(tmp_path, capsys, lines, "--until", UNTIL, "--format", "json").body

    found = {(each["transition_id"], each["fired_at"], each["ended_at"]) for each in body["incidents"]}
    assert found == expected != set()
    assert {each["incident_id"] for each in body["incidents"]} <= told.keys()


def end_of(lives: list[Transition]) -> Transition | None:
    """Return what ended an incident; a single event ends as it fires."""
    last = lives[-1]
    return last if last.to_state == "resolved" or "event_id" in last.key else None


def test_each_rule_has_its_numbers_also_one_that_never_fires(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = Ended(tmp_path, capsys, captured("outage"), "--until", UNTIL, "--format", "json")

    numbers = {each["rule"]: each for each in ended.body["rules"]}
    assert list(numbers) == ["flow failing", "runs late", "crashed", "never"]
    assert (numbers["never"]["incidents"], numbers["never"]["noise"], numbers["never"]["keys"]) == (0, None, [])
    for each in numbers.values():
        mine = [item for item in ended.body["incidents"] if item["rule"] == each["rule"]]
        assert each["incidents"] == len(mine) == sum(key["incidents"] for key in each["keys"])
        assert each["firing_seconds"] == sum(item["seconds"] for item in mine)
        assert each["longest_seconds"] == max((item["seconds"] for item in mine), default=0)
    assert ended.code == 0


def test_rules_against_themselves_differ_in_nothing_and_stricter_ones_fire_later_or_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "same.yaml").write_text(RULES)
    (tmp_path / "less.yaml").write_text(
        RULES.replace("above: 20%", "above: 5%").replace("clear_below: 10%", "clear_below: 5%")
    )

    same = Ended(tmp_path, capsys, captured("outage"), "--against", str(tmp_path / "same.yaml"), "--until", UNTIL)
    less = Ended(
        tmp_path,
        capsys,
        captured("outage"),
        "--against",
        str(tmp_path / "less.yaml"),
        "--until",
        UNTIL,
        "--format",
        "json",
    )

    assert same.out.endswith("\n\nno difference: the same incidents at the same times\n")
    found = less.body["against"]["differences"]
    assert {each["what"] for each in found} <= {"fewer", "later", "shorter"}
    assert found


def test_only_what_fired_since_then_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    everything = Ended(tmp_path, capsys, captured("outage"), "--until", UNTIL, "--format", "json").body
    last = max(each["fired_at"] for each in everything["incidents"])
    later = Ended(tmp_path, capsys, captured("outage"), "--until", UNTIL, "--since", last, "--format", "json").body

    assert later["incidents"] == [each for each in everything["incidents"] if (each["ended_at"] or UNTIL) >= last]
    assert len(later["incidents"]) < len(everything["incidents"])
    assert later["events"] == everything["events"]


@pytest.mark.parametrize("more", [(), ("--until", "2026-11-25")])
def test_a_time_after_the_end_of_the_history_is_refused_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    ended = Ended(tmp_path, capsys, captured("outage"), "--since", "2026-11-26", *more)

    end = more[1] + "T00:00:00.000Z" if more else "2026-11-23T10:"
    assert (ended.code, ended.out) == (2, "")
    assert f"--since: the history ends at {end}" in ended.err
    assert "before 2026-11-26T00:00:00.000Z: nothing can be told of that time; write an earlier --since" in ended.err


def test_lines_that_cannot_be_read_are_told_and_end_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = Ended(tmp_path, capsys, [b"no event", *captured("outage")[:1]])

    assert ended.code == 1
    assert ended.err.startswith("events.jsonl:1: ")


@pytest.mark.parametrize("arguments", [("--flap", "soon"), ("--since", "last week"), ("--until", "2026-13-01")])
def test_what_is_no_time_ends_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, str]
) -> None:
    ended = Ended(tmp_path, capsys, captured("outage")[:1], *arguments)

    assert ended.code == 2
    assert arguments[0] in ended.err

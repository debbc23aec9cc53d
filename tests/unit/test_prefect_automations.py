"""Prefect's automations as rules, with a note on what differs."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from flowgauge.console.main import flowgauge
from flowgauge.processors.prefect_automations import imported, imported_file, trigger_of
from flowgauge.processors.ruleset import parse_rules
from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.rule import RULE_NAME_MAX

LONG = "n" * RULE_NAME_MAX

FAILURES: Mapping[str, Any] = {
    "id": "7b0b4f6e-4a5e-4b5c-9f43-0a2a5f2a1f11",
    "name": "5 failures a minute",
    "description": "data\nteam",
    "enabled": True,
    "trigger": {
        "type": "event",
        "id": "1c7a1d6a-55a7-4d0a-8b3c-0a2a5f2a1f12",
        "match": {"prefect.resource.id": "prefect.flow-run.*"},
        "match_related": {},
        "after": [],
        "expect": ["prefect.flow-run.Failed"],
        "for_each": ["related:deployment:prefect.resource.id"],
        "posture": "Reactive",
        "threshold": 5,
        "within": 60.0,
    },
    "actions": [{"type": "send-notification", "subject": "s", "body": "b"}],
    "actions_on_trigger": [],
    "actions_on_resolve": [],
}


def event_trigger(**fields: object) -> dict[str, Any]:
    return {"type": "event", "posture": "Reactive", "expect": ["x"], **fields}


def named(name: str, **fields: object) -> dict[str, Any]:
    return {"name": name, "trigger": event_trigger(), "actions": [], **fields}


def test_an_event_trigger_is_taken_over_word_for_word() -> None:
    (found,) = imported([FAILURES]).rules

    assert found.rule == {
        "name": "5 failures a minute",
        "when": {
            "prefect": {
                "posture": "Reactive",
                "match": {"prefect.resource.id": "prefect.flow-run.*"},
                "expect": ["prefect.flow-run.Failed"],
                "for_each": ["related:deployment:prefect.resource.id"],
                "threshold": 5,
                "within": "1m",
            }
        },
        "labels": {"description": "data team"},
    }


def test_what_is_printed_is_a_rule_file_with_notes(tmp_path: Path) -> None:
    file = tmp_path / "automations.json"
    file.write_text(json.dumps([FAILURES, named("both", trigger={"type": "compound", "triggers": []})]))

    result = CliRunner().invoke(flowgauge, ["rules", "import-prefect", str(file)])

    assert result.exit_code == 1
    assert result.stderr == "left out: both: a compound trigger has no counterpart\n"
    (rule,) = parse_rules("rules.yaml", result.stdout).rules
    assert (rule.name, rule.key_names) == ("5 failures a minute", ("related.deployment.id", "event_id"))
    assert "  # its action send-notification is not carried out: name a channel under `notify`\n" in result.stdout


def test_yaml_and_a_single_automation_are_read_too() -> None:
    assert imported_file("a.yaml", yaml.safe_dump(dict(FAILURES))) == imported([FAILURES])


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"trigger": {"type": "sequence"}}, "a sequence trigger has no counterpart"),
        ({"trigger": event_trigger(posture="Metric")}, "a trigger of posture Metric has no counterpart"),
        ({"trigger": event_trigger(threshold=0)}, "a threshold of 0 has no counterpart: it is at least 1"),
        ({"trigger": {"type": {"a": 1}}}, "a {'a': 1} trigger has no counterpart"),
        ({"trigger": {"type": "event"}}, "its trigger has no posture: Reactive, or Proactive"),
        ({"trigger": event_trigger(posture=[])}, "a trigger of posture [] has no counterpart"),
        ({"trigger": event_trigger(posture={"a": 1})}, "a trigger of posture {'a': 1} has no counterpart"),
        ({"trigger": event_trigger(expct=["y"])}, "an event trigger of Prefect has no field expct"),
        ({"trigger": event_trigger(threshold=True)}, "a threshold of True has no counterpart: it is at least 1"),
        ({"trigger": event_trigger(for_each={"a": "b"})}, "`for_each` is {'a': 'b'}, expected texts"),
        ({"trigger": event_trigger(expect=[1])}, "`expect` is [1], expected texts"),
        ({"trigger": event_trigger(expect=False)}, "`expect` is False, expected texts"),
        ({"trigger": event_trigger(match=0)}, "`match` and `match_related` are labels with what they must be"),
        ({"trigger": event_trigger(within=2_678_401)}, "`within` is 2678401, longer than 31d"),
        ({"trigger": event_trigger(within="P32D")}, "`within` is P32D, longer than 31d"),
        ({"trigger": event_trigger(within=f"P{'9' * 400}D")}, f"`within` is P{'9' * 58}…, longer than 31d"),
        ({"trigger": event_trigger(within=10**400)}, f"`within` is 1{'0' * 58}…, longer than 31d"),
        ({"trigger": event_trigger(within=math.inf)}, "`within` is inf, longer than 31d"),
        ({"trigger": event_trigger(within=math.nan)}, "`within` is nan, expected seconds"),
        ({"trigger": event_trigger(within=-1)}, "`within` is -1, expected seconds"),
        ({"trigger": event_trigger(within=True)}, "`within` is True, expected seconds"),
        ({"trigger": event_trigger(within="PT")}, "`within` is PT, expected seconds"),
        ({"trigger": event_trigger(within=0.0001)}, "`within` is 0.0001 s: parts of a millisecond have no counterpart"),
        ({"trigger": event_trigger(match={"env": []})}, "an empty list for env matches nothing: it never fires"),
        ({"trigger": "x"}, "its trigger is no object"),
        ({"enabled": False}, "it is disabled in Prefect"),
        ({"actions": 5}, "`actions` is 5, expected a list"),
        ({"actions_on_resolve": {"type": "x"}}, "`actions_on_resolve` is {'type': 'x'}, expected a list"),
    ],
)
def test_what_has_no_counterpart_is_left_out_with_the_reason(fields: dict[str, Any], reason: str) -> None:
    (left_out,) = imported([named("a", **fields)]).left_out

    assert str(left_out) == f"left out: a: {reason}"


@pytest.mark.parametrize(
    ("names", "rules"),
    [
        (["a", "a"], ["a", "a (2)"]),
        (["a", "a", "a (2)"], ["a", "a (3)", "a (2)"]),
        (["a (2)", "a", "a", "a"], ["a (2)", "a", "a (3)", "a (4)"]),
        ([LONG + "x", LONG + "y", LONG], [f"{LONG[:-4]} (2)", f"{LONG[:-4]} (3)", LONG]),
    ],
    ids=["the same", "the second has a name of another", "the first has", "alike in all that is kept"],
)
def test_a_name_is_kept_where_it_fits_and_others_count_until_they_are_free(names: list[str], rules: list[str]) -> None:
    assert [each.rule["name"] for each in imported([named(name) for name in names]).rules] == rules


@given(names=st.lists(st.sampled_from(["a", "a (2)", "a (2) (2)", LONG, LONG + "x", LONG + "y", f"{LONG[:-4]} (2)"])))
def test_no_two_rules_have_one_name(names: list[str]) -> None:
    found = [each.rule["name"] for each in imported([named(name) for name in names]).rules]

    assert len(set(found)) == len(names)
    assert {name for name in names if len(name) <= RULE_NAME_MAX} <= set(found)


def test_what_is_left_out_takes_no_name() -> None:
    found = imported([named("a", enabled=False), named("a"), named("a", trigger=0), named("a")]).rules

    assert [each.rule["name"] for each in found] == ["a", "a (2)"]


@pytest.mark.parametrize(
    "kind", ["x\n  - name: planted", "x\0\x07", "\ud800", "\u2028  - name: planted", "\ufeff", ["\0"]]
)
def test_a_note_is_a_line_of_the_file_that_can_be_read(kind: object) -> None:
    text = imported([named("a", actions=[{"type": kind}])]).text

    assert [each.name for each in parse_rules("rules.yaml", text).rules] == ["a"]


def test_what_is_left_out_is_told_in_a_line_that_can_be_shown() -> None:
    (left_out,) = imported([named("a\nb\x1b", trigger={"type": "x\0y"})]).left_out

    assert str(left_out) == "left out: a b : a x y trigger has no counterpart"


@pytest.mark.parametrize(
    ("within", "written"), [(90, "1m30s"), ("PT1H0.5S", "1h500ms"), ("P1D", "1d"), (12.5, "12s500ms")]
)
def test_seconds_and_iso_durations_are_read(within: object, written: str) -> None:
    assert trigger_of(event_trigger(within=within))["within"] == written


def test_silence_shorter_than_prefect_allows_is_what_prefect_makes_of_it() -> None:
    assert trigger_of(event_trigger(posture="Proactive", within=0))["within"] == "10s"


@pytest.mark.parametrize(
    "text",
    [
        "[1]",
        "a: 1",
        "'x'",
        "trigger: {}",
        "{name: '', trigger: {}}",
        "{name: 5, trigger: {}}",
        "{name: [], trigger: {}}",
    ],
)
def test_what_holds_no_automation_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="expected automations"):
        imported_file("a.yaml", text)

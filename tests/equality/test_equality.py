"""One history goes every way to the same transitions, word for word; and a difference is found."""

import json
from functools import cache
from pathlib import Path

import pytest
from tests.equality.__main__ import REFERENCE, compare_all, kafka_ways, local_ways
from tests.equality.comparison import Said, differences, incidents_of, kinds, lines_of
from tests.equality.histories import EXTRACTS, append_ms_of, write_history
from tests.equality.rules import RULE_FILES
from tests.equality.ways import History, replayed
from tests.equality.week import week_lines

from flowgauge.processors.kinds import KINDS
from flowgauge.processors.replay import Replay
from flowgauge.processors.ruleset import RuleSet, parse_rules
from flowgauge.schemas.transition import Transition

EVENTS, HOURS = 3_000, 6  # the last of the week: fewer, and a kind of rule tells nothing of them
RULES = RuleSet(tuple(rule for name, text in RULE_FILES.items() for rule in parse_rules(name, text).rules), 1)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    """Return the history that all ways share."""
    return write_history(tmp_path_factory.mktemp("history"), EVENTS, EXTRACTS, hours=HOURS, only_runs=True)


@pytest.fixture(scope="module")
def replay(history: History) -> Said:
    """Return what every way is held to, as the command said it once."""
    return replayed(history)


@cache
def few_hours() -> list[Transition]:
    lines = list(week_lines(EVENTS, hours=HOURS, only_runs=True))
    return list(Replay(lambda: lines, RULES).transitions())


def test_the_days_are_the_same_each_time_and_no_two_events_have_one_append_time() -> None:
    lines = list(week_lines(3_000))
    appends = [append_ms_of(line) for line in lines]

    assert lines == list(week_lines(3_000))
    assert appends == sorted(set(appends))
    assert len(lines) >= 3_000


def test_every_run_of_the_days_ends() -> None:
    events = [json.loads(line) for line in week_lines(3_000, hours=48, only_runs=True)]

    last = {each["run"]: each["state"] for each in sorted(events, key=lambda each: str(each["occurred"]))}
    assert {*last.values()} == {"completed", "failed"}


def test_rules_of_every_kind_tell_something_of_a_few_hours() -> None:
    found = kinds(lines_of(few_hours()), RULES.rules)

    assert found.keys() == KINDS.keys()
    assert all(found.values()), found


def test_what_is_lost_doubled_or_changed_on_a_way_is_told() -> None:
    lines = lines_of(few_hours())
    *rest, last = lines
    first, second = pair_of(lines)
    others = [line for line in lines if line not in {first, second}]

    assert differences(Said(lines, 0), Said([*others, first, second], 0)) == {}
    assert differences(Said(lines, 0), Said([*others, second, first], 0))["missing"] == 2
    assert differences(Said(lines, 0), Said([*others, first], 0))["missing"] == 1
    found = differences(Said(lines, 0), Said(rest, 0))
    assert (found["missing"], found["unexpected"]) == (1, 0)
    assert last.decode() in str(found["examples"])
    assert differences(Said(lines, 0), Said([*lines, last], 0))["unexpected"] == 1
    assert differences(Said(lines, 0), Said([*rest, last.replace(b"team-", b"teem-")], 0))["missing"] == 1


def pair_of(lines: list[bytes]) -> list[bytes]:
    """Return the lines of the first incident that has two."""
    found: dict[str, list[bytes]] = {}
    for line in lines:
        found.setdefault(json.loads(line)["incident_id"], []).append(line)
    return next(each for each in found.values() if len(each) == 2)


def test_an_incident_begins_with_what_is_told_first_and_ends_with_what_resolves_it() -> None:
    lines = lines_of(few_hours())
    told = {each.incident_id for each in few_hours() if each.to_state in {"firing", "no_data"}}

    found = [json.loads(line) for line in incidents_of(lines)]

    assert {each["incident_id"] for each in found} == told
    ended = {each.incident_id: each.at_ms for each in few_hours() if each.to_state == "resolved"}
    assert {each["incident_id"] for each in found if each["ended_at"]} - ended.keys() == {
        each["incident_id"] for each in found if "event_id" in each["key"]
    }


@pytest.mark.integration
@pytest.mark.timeout(600)
def test_replay_backtests_a_log_that_was_lived_and_the_embedded_profile_say_the_same(
    history: History, replay: Said, tmp_path: Path
) -> None:
    report = compare_all(history, {**local_ways(history, tmp_path, kills=2), REFERENCE: lambda: replay})

    assert report.differences == {}
    assert report.silent == []
    assert sum(report.states.values()) > 400


@pytest.mark.integration
@pytest.mark.timeout(900)
def test_kafka_with_one_and_with_three_detectors_says_what_the_replay_says(
    history: History, replay: Said, kafka: str, tmp_path: Path
) -> None:
    report = compare_all(history, {REFERENCE: lambda: replay, **kafka_ways(history, tmp_path, kafka)})

    assert report.differences == {}

"""The words of a notice: what people read, whichever channel tells them."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.notices import DETAILS, FIRING, RESOLVED, notice, notices, storm

from flowgauge.processors.kinds import KINDS
from flowgauge.schemas.transition import ExampleRun
from flowgauge.sinks.webhooks.kinds.kind import Notice
from flowgauge.sinks.webhooks.kinds.wording import (
    LINES_MAX,
    RULES_MAX,
    SENT_AGAIN,
    UNITS,
    Fact,
    cut,
    gathered,
    is_group,
    units,
    worded,
)


def test_an_incident_is_told_with_its_numbers_its_runs_and_where_to_look() -> None:
    words = worded(notice(FIRING, details=DETAILS))

    assert words.headline == "🔴 Firing: orders-sync failing"
    assert words.line == "🔴 Firing: orders-eu in prod: 60% of 5 runs failed"
    assert words.facts == (
        Fact("Severity", "critical"),
        Fact("Why", "value above threshold"),
        Fact("Value", "60%"),
        Fact("Threshold", "20%"),
        Fact("Measured on", "5 samples, 1 late one left out"),
        Fact("Window", "10m"),
        Fact("For", "flow=orders-eu, resource.env=prod", is_quoted=True),
        Fact("When", "2026-11-23 09:51:06 UTC"),
        Fact("Labels", "team=data", is_quoted=True),
        Fact("Tenant", "acme", is_quoted=True),
    )
    assert words.runs[0] == "loyal-heron of orders-eu, 2026-11-23 09:50:00 UTC"
    assert words.details == DETAILS
    assert words.link == "https://gauge.example/incidents/a41c9c35b2f14f6f8f0e1d2c3b4a5968"


def test_the_end_says_how_long_it_took() -> None:
    words = worded(notice(FIRING, RESOLVED))

    assert words.headline == "✅ Resolved: orders-sync failing"
    assert Fact("When", "2026-11-23 10:10:06 UTC, 19m after it opened") in words.facts


def test_a_value_is_told_in_the_unit_of_its_rule() -> None:
    def value(kind: str, number: float) -> str:
        facts = worded(notice(replace(FIRING, rule_kind=kind, value=number))).facts
        return next(fact.text for fact in facts if fact.name == "Value")

    assert value("duration", 90.5) == "1m30s"
    assert value("absence", -1.0) == "-1s"
    assert value("consecutive_failures", 1_204.0) == "1,204"
    assert value("change", 1.5) == "1.50"
    assert value("duration", 1e300) == "1e+300"


def test_the_units_are_those_of_the_rules() -> None:
    assert {name: kind.unit for name, kind in KINDS.items() if kind.unit in {"share", "seconds"}} == UNITS


def test_what_happened_once_is_not_called_firing() -> None:
    event = replace(FIRING, rule_kind="event", window_ms=0, value=None, threshold=None)

    assert worded(notice(event)).headline == "⚡ Happened: orders-sync failing"


def test_a_storm_is_told_by_rule_and_state_with_its_first_lines() -> None:
    words = gathered(notice(*storm(1_000), details=("since 09:51",)))

    assert words.headline == "🔴 1,000 incidents: 900 firing, 100 resolved"
    assert [(each.rule, each.text) for each in words.rules] == [
        ("orders failing", "300 firing, 34 resolved"),
        ("billing failing", "300 firing, 33 resolved"),
        ("stock failing", "300 firing, 33 resolved"),
    ]
    assert words.lines[0].line == "🔴 Firing: flow-1: 60% of 5 runs failed"
    assert (len(words.lines), words.more, words.more_rules) == (LINES_MAX, 980, 0)
    assert words.link == "https://gauge.example/"
    assert words.details == ("since 09:51",)


def test_of_many_rules_those_with_most_incidents_are_told() -> None:
    many = [replace(each, rule=f"rule {number * number % 31}") for number, each in enumerate(storm(300)[:300])]

    words = gathered(notice(*many))

    assert (len(words.rules), words.more_rules) == (RULES_MAX, 6)
    assert {each.text for each in words.rules} == {"20 firing", "19 firing"}


def test_two_states_of_one_incident_are_one_message_about_its_newest() -> None:
    assert not is_group(notice(FIRING, RESOLVED))
    assert is_group(notice(FIRING, replace(FIRING, incident_id="b" * 32)))


def test_what_is_sent_again_says_so() -> None:
    again = dataclasses.replace(notice(FIRING, details=DETAILS), is_replay=True)

    assert worded(again).details == (SENT_AGAIN, *DETAILS)


def test_a_run_without_a_name_is_told_by_its_event() -> None:
    nameless = replace(FIRING, examples=[ExampleRun(1_795_427_400_000_000, "e-1", "")])

    assert worded(notice(nameless)).runs == ("e-1, 2026-11-23 09:50:00 UTC",)


@given(notices)
def test_no_word_holds_a_line_break_or_a_control_character(told: Notice) -> None:
    words = worded(told)

    said = [words.headline, words.line, *words.runs, *words.details, *(fact.text for fact in words.facts)]
    assert all(char.isprintable() for text in said for char in text.replace("\ufe0f", ""))
    assert all(fact.text for fact in words.facts)


@given(st.text(), st.integers(1, 60))
def test_a_text_is_cut_only_where_it_is_too_long(text: str, most: int) -> None:
    kept = cut(text, most)

    assert units(kept) <= most
    assert kept == text if units(text) <= most else text.startswith(kept.removesuffix("…"))

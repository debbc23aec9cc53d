"""Silences over changes of the clock, patterns that would take for ever elsewhere, and many silences at once."""

import pytest

from flowgauge.schemas.control import Matcher, MatcherOp, Recurrence, Silence, Silenced, SilenceExpired
from flowgauge.schemas.controls_in_force import ControlsInForce
from flowgauge.schemas.hours import hours_of
from flowgauge.schemas.safe_pattern import PATTERN_CHARS_MAX, check_pattern, full_match
from flowgauge.schemas.silencing import SILENCES_MAX, Silences
from flowgauge.schemas.times import parse_time_ms, rfc3339
from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks.people import People
from flowgauge.sinks.webhooks.policy import Hidden

SUNDAY, SATURDAY = 6, 5


def transition(flow: str) -> Transition:
    return Transition(
        transition_id="t", incident_id="i", seq=0, tenant="acme", rule="failures", rule_kind="failure_rate",
        rules_version=1, key={"flow": flow}, from_state="inactive", to_state="firing", at_ms=0, opened_at_ms=0,
        reason="",
    )  # fmt: skip


def silenced(silence_id: str, op: MatcherOp, value: str) -> Silenced:
    silence = Silence(
        silence_id=silence_id, matchers=[Matcher("flow", op, value)], starts_ms=0, ends_ms=100, reason="moves"
    )
    return Silenced(control_id=silence_id, tenant="acme", at_ms=0, by="ann", silence=silence)


def windows(days: list[int], minutes: tuple[int, int], since: str, until: str) -> list[tuple[str, str]]:
    from_minute, to_minute = minutes
    recurrence = Recurrence(days=days, from_minute=from_minute, to_minute=to_minute, timezone="Europe/Berlin")
    found = hours_of(recurrence).windows(parse_time_ms(since), parse_time_ms(until))
    return [(rfc3339(each.from_ms)[:16], rfc3339(each.to_ms)[:16]) for each in found]


def test_an_hour_that_the_clock_skips_is_no_window() -> None:
    assert windows([SUNDAY], (120, 180), "2026-03-28T00:00:00Z", "2026-03-31T00:00:00Z") == []
    assert windows([SUNDAY], (90, 210), "2026-03-28T00:00:00Z", "2026-03-31T00:00:00Z") == [
        ("2026-03-29T00:30", "2026-03-29T01:30")
    ]


def test_an_hour_that_the_clock_shows_twice_is_a_window_twice() -> None:
    assert windows([SUNDAY], (120, 180), "2026-10-24T00:00:00Z", "2026-10-27T00:00:00Z") == [
        ("2026-10-25T00:00", "2026-10-25T02:00")
    ]
    assert windows([SATURDAY], (22 * 60, 150), "2026-10-24T00:00:00Z", "2026-10-27T00:00:00Z") == [
        ("2026-10-24T20:00", "2026-10-25T00:30"),
        ("2026-10-25T01:00", "2026-10-25T01:30"),
    ]


def test_a_window_over_midnight_is_of_the_day_on_which_it_begins() -> None:
    assert windows([SATURDAY], (22 * 60, 120), "2026-07-03T00:00:00Z", "2026-07-06T00:00:00Z") == [
        ("2026-07-04T20:00", "2026-07-05T00:00")
    ]


def test_a_window_from_a_minute_to_the_same_is_a_whole_day() -> None:
    assert windows([SATURDAY, SUNDAY], (360, 360), "2026-07-03T00:00:00Z", "2026-07-08T00:00:00Z") == [
        ("2026-07-04T04:00", "2026-07-06T04:00")
    ]


def test_of_thousands_of_silences_the_one_that_matches_is_found() -> None:
    silences = Silences()
    for number in range(4_000):
        silences.take(silenced(f"s{number}", "=", f"flow-{number}"))

    assert [silences.silenced_until_ms(transition(f"flow-{n}"), 5) for n in (0, 3_999, 4_000)] == [
        (100, "s0"),
        (100, "s3999"),
        None,
    ]


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|a)*b", "(.*)*x", ".*.*.*.*.*.*x", "(x+x+)+y"])
def test_a_pattern_that_would_take_for_ever_elsewhere_is_answered(pattern: str) -> None:
    assert not full_match(pattern)("a" * 20_000 + "x" * 20_000 + "!")


@pytest.mark.parametrize(
    ("pattern", "text", "is_match"),
    [
        ("orders", "orders-eu", False),
        ("orders|stock", "orders-eu", False),
        ("orders.*", "orders-eu", True),
        ("orders.*", "orders\nstock", True),
        ("orders", "orders\n", False),
        ("", "", True),
        (".*", "\ud800", False),
    ],
)
def test_a_pattern_matches_a_whole_text(pattern: str, text: str, is_match: bool) -> None:
    assert full_match(pattern)(text) == is_match


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("orders(", "'orders(' is no pattern: unclosed group"),
        ("a)|(b", "'a)|(b' is no pattern: unopened group"),
        (r"(a)\1", "is no pattern: backreferences are not supported"),
        ("(?=a)", "is no pattern: look-around"),
        ("\ud800", "is no pattern"),
        ("a" * (PATTERN_CHARS_MAX + 1), f"at most {PATTERN_CHARS_MAX} characters, this one has 201"),
        (r"\w{100}", r"is too large: repeat less, or write [a-z0-9_] for \w"),
    ],
)
def test_a_pattern_that_is_none_or_too_large_is_refused(pattern: str, said: str) -> None:
    with pytest.raises(ValueError, match="pattern") as caught:
        check_pattern(pattern)

    assert said in str(caught.value)


def test_the_notifier_hides_by_what_is_in_force_until_that_is_erased() -> None:
    in_force = ControlsInForce()
    people = People(in_force)
    in_force.take(silenced("s", "=", "orders"))

    before = people.hidden(transition("orders"), 5)
    in_force.forget("s")

    assert (before, people.hidden(transition("orders"), 5)) == (Hidden(100, "s"), None)


def test_silences_that_were_ended_by_hand_go_before_those_that_hide_something() -> None:
    silences = Silences()
    silences.take(silenced("active", "=", "orders"))
    for number in range(SILENCES_MAX):
        long = Silence(silence_id=f"s{number}", matchers=[], starts_ms=0, ends_ms=10**12, reason="long")
        silences.take(Silenced(control_id=f"c{number}", tenant="other", at_ms=1, by="eve", silence=long))
        silences.take(
            SilenceExpired(control_id=f"e{number}", tenant="other", at_ms=2, by="eve", silence_id=long.silence_id)
        )

    assert (len(silences), silences.dropped) == (SILENCES_MAX, 1)
    assert silences.silenced_until_ms(transition("orders"), 5) == (100, "active")

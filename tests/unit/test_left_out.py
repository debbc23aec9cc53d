"""Samples that no window took: counted by rule for an hour, told where people look, and once an hour in the log."""

import pytest
import structlog
from tests.property.detection import START_MS
from tests.unit.test_detector import FAILING, Feeder, ruleset, sample
from tests.unit.test_matcher import EACH, event, matcher

from flowgauge.console.web.banner import banner
from flowgauge.console.web.incident_json import health_json
from flowgauge.processors import held_keys
from flowgauge.processors.leaving_out import count_left_out
from flowgauge.schemas.left_out import CAUSES_MAX, HOUR_MS, OTHER_RULES, Cause, Count, LeftOutTally, Recent, note
from flowgauge.transport.health import Health

NOW = 1_800_000_000_000
MINUTE = 60_000
LATE = Cause("late", "acme", "orders failing")


def tally(*counts: tuple[Cause, int, int]) -> LeftOutTally:
    """Return a tally of (cause, samples, minutes ago)."""
    found = LeftOutTally()
    for cause, samples, minutes in counts:
        found.add({cause: Count(samples, NOW - minutes * MINUTE)}, NOW)
    return found


def test_the_detector_says_of_which_rule_late_skewed_and_refused_samples_are(monkeypatch: pytest.MonkeyPatch) -> None:
    feeder = Feeder(ruleset(FAILING + "}"))
    monkeypatch.setattr(held_keys, "KEYS_MAX", 1)

    counts = feeder.see(
        60_000, sample(0, append=10_001), sample(1, append=12_000), sample(20_000, append=9_999),
        sample(50_000, append=50_001, key=("t", "b")),
    ).counts  # fmt: skip

    assert (counts.late, counts.skewed, counts.keys_refused) == (2, 1, 1)
    assert counts.left_out == {
        Cause("late", "t", "failing"): Count(2, START_MS + 12_000),
        Cause("skewed", "t", "failing"): Count(1, START_MS + 9_999),
        Cause("keys_refused", "t", "failing"): Count(1, START_MS + 50_001),
    }


def test_a_rule_with_too_many_keys_of_a_tenant_leaves_the_room_of_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    feeder = Feeder(ruleset(FAILING + "}"))
    monkeypatch.setattr(held_keys, "KEYS_OF_RULE_MAX", 2)

    counts = feeder.see(5_000, *(sample(at, key=("t", f"{at}")) for at in range(4)), sample(9, key=("u", "a"))).counts

    assert (counts.samples, counts.keys_refused) == (5, 2)
    assert counts.left_out == {Cause("keys_refused", "t", "failing"): Count(2, START_MS + 3)}
    assert feeder.detector.keys == 3


def test_a_key_that_is_forgotten_makes_room_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    feeder = Feeder(ruleset(FAILING + "}"))
    monkeypatch.setattr(held_keys, "KEYS_OF_RULE_MAX", 1)
    feeder.see(1_000, sample(0, "completed", key=("t", "a")))
    feeder.see(30 * MINUTE)
    feeder.see(60 * MINUTE)

    counts = feeder.see(61 * MINUTE, sample(60 * MINUTE, key=("t", "b"))).counts

    assert (counts.keys_refused, feeder.detector.keys) == (0, 1)


def test_the_matcher_says_of_which_rule_an_event_without_a_key_is() -> None:
    counts = matcher(EACH).match([event(0, flow=None), event(1)]).counts

    assert counts.missing_key == 1
    assert counts.left_out == {Cause("missing_key", "t", "each"): Count(1, 1_000)}


def test_what_came_in_the_last_hour_is_summed_and_older_forgotten() -> None:
    found = tally((LATE, 5, 90), (LATE, 7, 30), (LATE, 2, 1), (Cause("late", "acme", "b"), 1, 2))

    assert found.recent(NOW)["late"] == Recent(10, NOW - 30 * MINUTE, NOW - MINUTE, ("b", "orders failing"))
    assert found.recent(NOW)["skewed"] == Recent()
    assert found.recent(NOW + 2 * HOUR_MS)["late"] == Recent()


def test_a_cause_is_told_in_the_log_once_an_hour() -> None:
    health, step = Health(), {LATE: Count(2, NOW)}

    with structlog.testing.capture_logs() as lines:
        count_left_out(health, step)
        count_left_out(health, step)
        count_left_out(health, {})

    assert [(line["log_level"], line["why"], line["rule"], line["samples"]) for line in lines] == [
        ("warning", "late", "orders failing", 2)
    ]
    assert health.left_out.add(step, now_ms := 2 * NOW) == [(LATE, 6)]
    assert health.left_out.add(step, now_ms + HOUR_MS - 1) == []


def test_past_the_bound_further_rules_are_counted_together() -> None:
    found = LeftOutTally()
    for number in range(CAUSES_MAX + 5):
        found.add({Cause("late", "acme", f"rule {number}"): Count(1, NOW)}, NOW)

    late = found.recent(NOW)["late"]

    assert (late.samples, OTHER_RULES in late.rules, len(late.rules)) == (CAUSES_MAX + 5, True, CAUSES_MAX + 1)


def test_a_step_keeps_the_newest_time() -> None:
    step: dict[Cause, Count] = {}
    for at_ms in (5, 9, 7):
        note(step, LATE, at_ms)

    assert step == {LATE: Count(3, 9)}


def test_the_banner_says_that_late_samples_raise_no_alert_and_what_to_look_at() -> None:
    health = Health(clock_ms=NOW, left_out=tally((LATE, 11, 20), (LATE, 1, 5)))

    shown = banner(health, NOW)

    assert (shown.tone, shown.headline) == ("is-pending", "flowgauge works, but some samples raise no alert")
    (line,) = shown.lines
    assert line == (
        "12 samples came later than their rule allows since 07:40:00 UTC, the newest at 07:55:00 UTC: they raise no "
        "alert; look at allowed_lateness and at the senders' clocks (rule 'orders failing')"
    )


def test_a_lacking_key_is_told_to_programs_and_does_not_colour_the_banner() -> None:
    health = Health(clock_ms=NOW, left_out=tally((Cause("missing_key", "acme", "by env"), 4, 3)))

    assert banner(health, NOW).tone == "is-resolved"
    assert health_json(health, NOW)["left_out"]["missing_key"] == {
        "samples": 4,
        "newest": "2027-01-15T07:57:00.000Z",
        "rules": ("by env",),
    }
    assert health_json(health, NOW)["left_out"]["late"] == {"samples": 0, "newest": None, "rules": ()}


def test_a_tenant_sees_only_its_own() -> None:
    health = Health(clock_ms=NOW, left_out=tally((LATE, 3, 1), (Cause("late", "beta", "b"), 2, 1)))

    assert health.seen_by("acme", is_operator=False).left_out.recent(NOW)["late"].samples == 3
    assert health.seen_by("acme", is_operator=True).left_out.recent(NOW)["late"].samples == 5
    assert banner(health.seen_by("new", is_operator=False), NOW).tone == "is-resolved"

"""What the pages say, without a server: words, banner, heat map, rate chart, incidents."""

import pytest

from flowgauge.console.web.banner import banner
from flowgauge.console.web.heat_map import heat_map
from flowgauge.console.web.incident_views import FailingRun, delivery_rows, incident_page, incident_row
from flowgauge.console.web.overview import Asked, overview
from flowgauge.console.web.rate_chart import rate_chart
from flowgauge.console.web.words import ago, moment, percent, span, value_of
from flowgauge.schemas.delivery import Delivery
from flowgauge.schemas.transition import AlertState, Transition
from flowgauge.transport.health import Health

NOW = 1_800_000_000_000
MINUTE = 60_000


def transition(seq: int, to_state: AlertState, at_ms: int, *, from_state: AlertState = "inactive") -> Transition:
    return Transition(
        transition_id=f"t{seq}",
        incident_id="i1",
        seq=seq,
        tenant="default",
        rule="orders failing",
        rule_kind="failure_rate",
        rules_version=3,
        key={"flow": "orders"},
        from_state=from_state,
        to_state=to_state,
        at_ms=at_ms,
        opened_at_ms=NOW - 10 * MINUTE,
        reason="failure rate above threshold",
        value=0.6 if to_state == "firing" else 0.1,
        threshold=0.2,
        samples=5,
        late_samples=1,
        window_ms=10 * MINUTE,
        severity="critical",
        summary="{{ flow }}: {{ value|percent }} of {{ samples }} runs failed",
    )


def delivery(attempt: int, outcome: str, at_ms: int, *, delivery_id: str = "d1") -> Delivery:
    return Delivery(
        delivery_id=delivery_id,
        transition_id="t0",
        incident_id="i1",
        tenant="default",
        rule="orders failing",
        channel="oncall",
        to_state="firing",
        attempt=attempt,
        outcome=outcome,  # type: ignore[arg-type]  # a literal, from the test's table
        at_ms=at_ms,
        status=204 if outcome == "delivered" else 500,
    )


@pytest.mark.parametrize(
    ("ms", "text"),
    [(400, "400 ms"), (59_999, "59 s"), (90_000, "1 min 30 s"), (600_000, "10 min"), (5_400_000, "1 h 30 min")],
)
def test_a_span_has_the_units_that_matter(ms: int, text: str) -> None:
    assert span(ms) == text


def test_a_time_that_lies_a_little_ahead_is_now_and_not_in_the_future() -> None:
    assert (ago(-300), ago(1_999), ago(2_000)) == ("just now", "just now", "2 s ago")


def test_a_moment_of_another_day_says_the_day() -> None:
    assert moment(NOW, NOW).text == "08:00:00 UTC"
    assert moment(NOW - 86_400_000, NOW).text == "2027-01-14 08:00:00 UTC"


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (0.6, "failure_rate", "60 %"),
        (0.0714, "failure_rate", "7.1 %"),
        (0.0, "failure_rate", "0 %"),
        (12.0, "late", "12"),
        (1234.5, "event", "1,234.50"),
        (None, "late", "–"),
    ],
)
def test_a_value_is_said_in_its_unit(value: float | None, kind: str, text: str) -> None:
    assert value_of(value, kind) == text


def test_a_share_that_rounds_to_whole_percent_has_no_decimal() -> None:
    assert (percent(0.05), percent(0.056), percent(0.999)) == ("5 %", "5.6 %", "100 %")


def test_the_banner_is_calm_only_when_detection_is_near_the_present() -> None:
    health = Health(started_ms=NOW - MINUTE, clock_ms=NOW - 2_000)

    assert banner(health, NOW).tone == "is-resolved"
    assert banner(health, NOW + 40_000).tone == "is-unknown"


def test_unknown_detection_says_since_when_and_stands_over_other_problems() -> None:
    health = Health(started_ms=NOW - 5 * MINUTE, clock_ms=NOW - 2 * MINUTE, problems={"rules": "rules.yaml:3:1: broken"})

    shown = banner(health, NOW)

    assert (shown.headline, shown.since and shown.since.ago) == ("Detection is unknown since", "2 min 0 s ago")
    assert "rules: rules.yaml:3:1: broken" in shown.lines


def test_history_that_is_being_read_is_not_unknown() -> None:
    health = Health(started_ms=NOW, clock_ms=NOW - 86_400_000, loading=True)

    assert banner(health, NOW).headline == "Reading history, now at"


def test_messages_that_are_owed_for_long_are_told() -> None:
    health = Health(clock_ms=NOW, undelivered=3, undelivered_since_ms=NOW - 2 * MINUTE)

    shown = banner(health, NOW)

    assert shown.lines == ("3 messages not delivered yet, the oldest owed for 2 min 0 s",)


def test_the_heat_map_tells_no_runs_from_no_failures() -> None:
    shown = heat_map([{"weekday": 1, "hour": 9, "failed": 0, "finished": 4}])

    monday = shown.rows[0][1]
    assert (monday[9].level, monday[10].level) == ("h0", "h-none")
    assert monday[10].words == "Monday 10:00: no runs"


@pytest.mark.parametrize(("failed", "level"), [(0, "h0"), (5, "h1"), (6, "h2"), (30, "h3"), (60, "h4"), (61, "h5")])
def test_a_cell_is_coloured_by_the_share_that_failed(failed: int, level: str) -> None:
    shown = heat_map([{"weekday": 7, "hour": 0, "failed": failed, "finished": 100}])

    assert shown.rows[6][1][0].level == level


def test_the_heat_map_is_summed_up_in_a_sentence_that_names_the_worst_hour() -> None:
    shown = heat_map(
        [
            {"weekday": 1, "hour": 9, "failed": 28, "finished": 60},
            {"weekday": 2, "hour": 9, "failed": 1, "finished": 40},
        ]
    )

    assert shown.summary == "29 of 100 runs failed (29 %); most in the hour from Monday 09:00, 28 of 60."
    assert heat_map([]).summary == "No run has finished in this time."


def test_the_running_minute_counts_for_the_seconds_it_has_had() -> None:
    start = NOW // MINUTE * MINUTE

    shown = rate_chart([(start, 100)], start + 10_000)

    assert shown.bars[-1].words == "this minute: 10 per second"
    assert shown.peak == "10"


def test_an_hour_without_events_is_a_flat_chart() -> None:
    shown = rate_chart([], NOW)

    assert {bar.height for bar in shown.bars} == {0.0}
    assert shown.summary == "0 events in the last hour, 0 per second in the busiest minute."


def test_an_incident_keeps_the_numbers_of_its_last_breach_after_it_is_resolved() -> None:
    found = [
        transition(1, "resolved", NOW - MINUTE, from_state="firing"),
        transition(0, "firing", NOW - 10 * MINUTE),
    ]

    row = incident_row(found, NOW)

    assert (row.title, row.value, row.threshold) == ("orders: 60% of 5 runs failed", "60 %", "20 %")
    assert (row.state.text, row.lasted) == ("Resolved", "9 min")


def test_an_open_incident_lasts_until_now() -> None:
    assert incident_row([transition(0, "firing", NOW - 10 * MINUTE)], NOW).lasted == "10 min"


def test_an_event_that_is_told_at_once_has_happened_and_does_not_last() -> None:
    import msgspec

    told = msgspec.structs.replace(transition(0, "firing", NOW), rule_kind="event", window_ms=0, value=None)

    row = incident_row([told], NOW)

    assert (row.state.text, row.lasted) == ("Happened", "")


def test_the_incident_page_says_why_with_every_number() -> None:
    page = incident_page([transition(0, "firing", NOW - 10 * MINUTE)], [], [], NOW)

    assert dict(page.facts) == {
        "Value": "60 %",
        "Threshold": "20 %",
        "Samples": "5",
        "Late samples": "1 (seen too late, not counted in)",
        "Window": "10m, 2027-01-15T07:40:00.000Z to 2027-01-15T07:50:00.000Z",
        "Rule": "orders failing (failure_rate, rule set 3)",
    }
    assert page.reason == "Failure rate above threshold"
    assert page.meter is not None
    assert page.meter.words == "60 % against a threshold of 20 %"


def test_a_delivery_is_shown_by_its_newest_step() -> None:
    steps = [delivery(2, "delivered", NOW), delivery(1, "failed", NOW - 5_000), delivery(2, "started", NOW - 100)]

    (row,) = delivery_rows(steps, NOW)

    assert (row.outcome.text, row.attempts, row.last) == ("Delivered", 2, "HTTP 204")


def test_a_failing_run_shows_its_log_lines_and_without_them_its_message() -> None:
    with_lines = FailingRun("r1", "orders", "failed", NOW, "it failed", ("ERROR refused", "ERROR gave up"))
    without = FailingRun("r2", "orders", "failed", NOW, "it failed", ())

    page = incident_page([transition(0, "firing", NOW)], [], [with_lines, without], NOW)

    assert [run.text for run in page.runs] == ["ERROR refused\nERROR gave up", "it failed"]


def test_the_overview_counts_what_is_open_and_says_when_nothing_is() -> None:
    asked = Asked(open=[], recent=[], minutes=[], heat=[])

    view = overview(Health(clock_ms=NOW - 1_000), asked, NOW, rules=0)

    assert [(figure.name, figure.value) for figure in view.figures] == [
        ("Open incidents", "0"),
        ("Events per second", "0"),
        ("Detection behind", "1 s"),
        ("Messages owed", "0"),
    ]

"""What the pages say, without a server: words, banner, heat map, rate chart, incidents."""

from dataclasses import asdict, replace

import msgspec
import pytest
from tests.unit.test_incident_context import CONTEXT

from flowgauge.console.web.answer_records import WholeIncident
from flowgauge.console.web.banner import banner
from flowgauge.console.web.heat_map import heat_map
from flowgauge.console.web.incident_json import health_json, incident_json, incident_view_json
from flowgauge.console.web.incident_views import incident_page, incident_row
from flowgauge.console.web.overview import Asked, overview
from flowgauge.console.web.rate_chart import rate_chart
from flowgauge.console.web.run_views import RUN_LINES_MAX, run_page
from flowgauge.console.web.words import ago, moment, percent, span, value_of
from flowgauge.schemas.control import Acknowledged, Assigned
from flowgauge.schemas.controls_in_force import Handling
from flowgauge.schemas.incident_context import in_short
from flowgauge.schemas.summary import summarize
from flowgauge.schemas.times import rfc3339
from flowgauge.schemas.transition import ExampleRun, Transition
from flowgauge.sinks.clickhouse.incidents import (
    DeliveryView,
    Ended,
    Example,
    Incident,
    IncidentView,
    LogLine,
    RunView,
    Step,
)
from flowgauge.transport.health import Health

NOW = 1_800_000_000_000
MINUTE = 60_000

OPEN = Incident(
    incident_id="i1",
    tenant="default",
    rule="orders failing",
    rule_kind="failure_rate",
    severity="critical",
    key={"flow": "orders"},
    labels={"team": "data"},
    state="firing",
    is_open=True,
    opened_at_ms=NOW - 10 * MINUTE,
    at_ms=NOW - 10 * MINUTE,
    fired_at_ms=NOW - 10 * MINUTE,
    reason="failure rate above threshold",
    latest_reason="failure rate above threshold",
    value=0.6,
    threshold=0.2,
    samples=5,
    late_samples=1,
    window_ms=10 * MINUTE,
    summary="{{ flow }}: {{ value|percent }} of {{ samples }} runs failed",
    examples=[],
)
RESOLVED = replace(OPEN, state="resolved", is_open=False, at_ms=NOW - MINUTE, latest_reason="back below")
POINT = replace(
    OPEN,
    rule_kind="event",
    is_open=False,
    window_ms=0,
    value=None,
    key={"flow": "orders", "event_id": "e1"},
    summary="",
)
RUN = RunView(
    run="r1",
    flow="orders",
    state="failed",
    scheduled_for=None,
    started="2027-01-15T07:49:00Z",
    ended=None,
    attempts=1,
    seconds=None,
    message="it failed",
    error_lines=[],
)


EXAMPLE = Example((NOW - 11 * MINUTE) * 1_000, "e1", "r1", "orders")
LATE = replace(OPEN, rule_kind="late", value=1.0, threshold=1.0, examples=[EXAMPLE])


def step(seq: int, to_state: str, at_ms: int) -> Step:
    return Step(
        seq=seq,
        transition_id=f"t{seq}",
        from_state="inactive",
        to_state=to_state,
        at_ms=at_ms,
        reason="failure rate above threshold",
        value=0.6,
        threshold=0.2,
        samples=5,
        late_samples=0,
        window_ms=10 * MINUTE,
    )


def told(outcome: str, **fields: object) -> DeliveryView:
    known: dict[str, object] = {
        "delivery_id": "d1",
        "transition_id": "t0",
        "channel": "oncall",
        "to_state": "firing",
        "attempts": 2,
        "outcome": outcome,
        "status": 204,
        "reason": "",
        "at_ms": NOW,
        "next_attempt_ms": 0,
        "elapsed_ms": 12,
    }
    return DeliveryView(**{**known, **fields})  # type: ignore[arg-type]  # the fields stand above


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
        (0.6, "failure_rate", "60%"),
        (0.0714, "failure_rate", "7.1%"),
        (0.0, "failure_rate", "0%"),
        (12.0, "late", "12"),
        (330.5, "absence", "5 min"),
        (90_000.0, "absence", "1 d 1 h"),
        (1800.4, "duration", "30 min"),
        (300.0, "missed", "5 min"),
        (1234.5, "event", "1,234.50"),
        (None, "late", "–"),
    ],
)
def test_a_value_is_said_in_its_unit(value: float | None, kind: str, text: str) -> None:
    assert value_of(value, kind) == text


def test_a_share_has_a_decimal_only_where_there_is_one() -> None:
    assert (percent(0.05), percent(0.056), percent(0.999)) == ("5%", "5.6%", "99.9%")


def test_the_banner_is_calm_only_when_detection_is_near_the_present() -> None:
    health = Health(started_ms=NOW - MINUTE, clock_ms=NOW - 2_000)

    assert banner(health, NOW).tone == "is-resolved"
    assert banner(health, NOW + 40_000).tone == "is-unknown"


def test_unknown_detection_says_since_when_and_stands_over_other_problems() -> None:
    health = Health(
        started_ms=NOW - 5 * MINUTE, clock_ms=NOW - 2 * MINUTE, problems={"rules": "rules.yaml:3:1: broken"}
    )

    shown = banner(health, NOW)

    assert (shown.headline, shown.since and shown.since.ago) == ("Detection is unknown since", "2 min 0 s ago")
    assert "rules: rules.yaml:3:1: broken" in shown.lines


def test_unknown_detection_names_the_partitions_that_hold_it_back_while_others_go_on() -> None:
    clocks = {0: NOW, 1: NOW - 2 * MINUTE, 2: NOW - MINUTE // 3}
    held = Health(clock_ms=NOW - 2 * MINUTE, source_clocks_ms=clocks)
    all_of_them = Health(clock_ms=NOW - 2 * MINUTE, source_clocks_ms=dict.fromkeys(range(3), NOW - 2 * MINUTE))
    known = Health(clock_ms=NOW - MINUTE // 3, source_clocks_ms={0: NOW, 1: NOW - MINUTE // 3})

    assert "Partition 1 of the events holds its clock back, the others go on." in banner(held, NOW).lines
    assert health_json(held, NOW)["held_back_by"] == [1]
    assert all_of_them.holding_back(NOW) == known.holding_back(NOW) == []
    assert not any("Partition" in line for line in banner(all_of_them, NOW).lines)


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

    assert shown.summary == "29 of 100 runs failed (29%); most in the hour from Monday 09:00, 28 of 60."
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
    row = incident_row(RESOLVED, NOW)

    assert (row.title, row.value, row.threshold) == ("orders: 60% of 5 runs failed", "60%", "20%")
    assert (row.state.text, row.lasted) == ("Resolved", "9 min")


def test_an_open_incident_lasts_until_now() -> None:
    assert incident_row(OPEN, NOW).lasted == "10 min"


def test_an_event_that_is_told_at_once_has_happened_and_does_not_last() -> None:
    row = incident_row(POINT, NOW)

    assert (row.state.text, row.lasted, row.title) == ("Happened", "", "orders failing")


def test_an_event_id_is_not_shown_among_the_keys_that_people_read() -> None:
    assert incident_row(POINT, NOW).key == (("flow", "orders"),)


def test_the_incident_page_says_why_with_every_number() -> None:
    page = incident_page(IncidentView(OPEN, [step(0, "firing", NOW)], [], []), NOW)

    assert [(fact.name, fact.text) for fact in page.facts] == [
        ("Value", "60%"),
        ("Threshold", "20%"),
        ("Samples", "5"),
        ("Late samples", "1 (came too late to count)"),
        ("Window", "10m"),
        ("Rule", "orders failing (failure_rate)"),
    ]
    assert [(fact.start, fact.end) for fact in page.facts if fact.start] == [
        (moment(NOW - 20 * MINUTE, NOW), moment(NOW - 10 * MINUTE, NOW))
    ]
    assert page.reason == "Failure rate above threshold"
    assert page.meter is not None
    assert (page.meter.words, page.meter.tone) == ("60% against a threshold of 20%", "is-firing")


def test_the_incident_page_leads_to_the_runbook_of_its_rule() -> None:
    named = replace(OPEN, runbook="https://wiki.example/orders")

    assert incident_page(IncidentView(named, [], [], []), NOW).runbook == "https://wiki.example/orders"
    assert incident_page(IncidentView(OPEN, [], [], []), NOW).runbook == ""


def test_the_incident_page_says_what_stands_around_it() -> None:
    context = incident_page(IncidentView(OPEN, [], [], []), NOW, context=CONTEXT).context

    assert [(row.error, row.times, row.runs) for row in context.errors] == [
        ("connection to <n> refused", "12 times", "4 runs"),
        ("disk full", "1 time", "1 run"),
    ]
    assert [(row.what, row.name, row.flow, row.run, row.detail) for row in context.changes] == [
        ("deployment version", "1.4.2", "orders", "run-1", ""),
        ("deploy event", "deploy.finished prod", "", "", "by ci"),
    ]
    assert [(row.incident_id, row.rule, row.state.text, row.severity.text) for row in context.related] == [
        ("i2", "orders late", "Firing", "Warning")
    ]
    assert context.links == {"run-1": "https://prefect.example/run-1"}
    assert context.untold == "changes"


def test_the_run_page_says_all_that_was_told_and_where_it_is_cut() -> None:
    row = {
        "time": "2027-01-15T07:49:00Z",
        "kind": "log",
        "name": "app",
        "event": "log.write",
        "state": "",
        "level": "ERROR",
    }
    told = [row | {"message": "Traceback:\n  x\nrefused"}, row | {"kind": "other", "level": "", "message": ""}]

    page = run_page("r1", told, NOW)

    assert [(each.kind, each.name, each.said, each.message) for each in page.rows] == [
        ("log", "app", "ERROR", "Traceback: … refused"),
        ("other", "app", "log.write", ""),
    ]
    assert not page.is_cut
    assert run_page("r1", told * RUN_LINES_MAX, NOW).is_cut


def test_the_timeline_begins_with_the_newest_step() -> None:
    steps = [step(0, "firing", NOW - MINUTE), step(2, "resolved", NOW), step(1, "recovering", NOW)]

    page = incident_page(IncidentView(RESOLVED, steps, [], []), NOW)

    assert [each.state.text for each in page.timeline] == ["Resolved", "Recovering", "Firing"]


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        ("delivered", "Delivered"),
        ("failed", "Will be retried"),
        ("dead", "Given up"),
        ("backfilled", "Recorded only"),
        ("invented", "invented"),
    ],
)
def test_a_delivery_says_what_became_of_it_in_words(outcome: str, text: str) -> None:
    page = incident_page(IncidentView(OPEN, [step(0, "firing", NOW)], [told(outcome)], []), NOW)

    assert (page.deliveries[0].outcome.text, page.deliveries[0].last) == (text, "HTTP 204, 12 ms")


def test_an_action_is_named_as_one_among_those_who_were_told() -> None:
    run = replace(told("delivered"), channel="action:restart worker")

    page = incident_page(IncidentView(OPEN, [step(0, "firing", NOW)], [told("delivered"), run], []), NOW)

    assert [row.channel for row in page.deliveries] == [told("delivered").channel, "action restart worker"]


def test_a_retry_says_when_it_comes() -> None:
    retry = told("failed", status=500, next_attempt_ms=NOW + 30_000)

    page = incident_page(IncidentView(OPEN, [step(0, "firing", NOW)], [retry], []), NOW)

    assert page.deliveries[0].next_at == moment(NOW + 30_000, NOW)


def test_a_failing_run_shows_its_newest_log_lines_last_with_their_exact_times() -> None:
    lines = [
        LogLine(time="2027-01-15T07:49:02.500Z", level="ERROR", logger="x", message="gave up"),
        LogLine(time="2027-01-15T07:49:01Z", level="ERROR", logger="x", message="refused"),
    ]
    view = IncidentView(replace(OPEN, examples=[EXAMPLE]), [], [], [replace(RUN, error_lines=lines)])

    (row,) = incident_page(view, NOW).examples

    assert [(line.iso, line.clock, line.level, line.text) for line in row.lines] == [
        ("2027-01-15T07:49:01.000Z", "07:49:01.000", "ERROR", "refused"),
        ("2027-01-15T07:49:02.500Z", "07:49:02.500", "ERROR", "gave up"),
    ]
    assert row.times == (("started", moment(NOW - 11 * MINUTE, NOW)),)


def late_row(**known: object) -> tuple[list[tuple[str, str]], str]:
    run = replace(RUN, **{"started": None, "state": "late", **known})  # type: ignore[arg-type]  # fields of RunView
    (row,) = incident_page(IncidentView(LATE, [], [], [run]), NOW).examples
    return [(word, at.text) for word, at in row.times], row.delay


def test_a_late_run_says_when_it_was_to_start_and_by_how_much_it_was_late() -> None:
    scheduled = rfc3339(NOW - 13 * MINUTE)

    started = late_row(scheduled_for=scheduled, started=rfc3339(NOW - 11 * MINUTE))
    waiting = late_row(scheduled_for=scheduled)
    cancelled = late_row(scheduled_for=scheduled, state="cancelled", ended=rfc3339(NOW))

    assert started == ([("scheduled for", "07:47:00 UTC"), ("started", "07:49:00 UTC")], "2 min 0 s late")
    assert waiting == ([("scheduled for", "07:47:00 UTC")], "not started, 13 min late so far")
    assert cancelled == ([("scheduled for", "07:47:00 UTC")], "never started")


def test_a_late_run_without_a_scheduled_time_counts_from_when_it_was_called_late() -> None:
    started = late_row(started=rfc3339(NOW - 9 * MINUTE))

    assert started == ([("called late", "07:49:00 UTC"), ("started", "07:51:00 UTC")], "2 min 0 s later")
    assert late_row() == ([("called late", "07:49:00 UTC")], "not started, 11 min later so far")


def test_a_late_run_that_nothing_else_is_known_of_is_shown_by_its_example() -> None:
    view = IncidentView(LATE, [], [], [])

    (row,) = incident_page(view, NOW).examples

    assert (row.flow, row.run, row.state, row.delay) == ("orders", "r1", "", "not started, 11 min later so far")


TITLES = {
    "failure_rate": "Failing runs",
    "burn_rate": "Failing runs",
    "consecutive_failures": "Failed runs",
    "missed": "Last start",
    "absence": "Last seen",
    "late": "Late runs",
    "event": "Events",
    "duration": "Long runs",
    "sequence": "Events",
    "other": "Runs",
}


def test_examples_are_called_what_they_are() -> None:
    titles = [
        incident_page(IncidentView(replace(OPEN, rule_kind=kind), [], [], []), NOW).example_words.title
        for kind in TITLES
    ]

    assert titles == list(TITLES.values())


def test_each_event_of_a_run_is_shown_and_each_failing_run_once() -> None:
    twice = [EXAMPLE, replace(EXAMPLE, occurred_us=EXAMPLE.occurred_us + 1_000_000, event_id="e2")]

    events = incident_page(IncidentView(replace(POINT, examples=twice), [], [], [RUN]), NOW).examples
    failing = incident_page(IncidentView(replace(OPEN, examples=twice), [], [], [RUN]), NOW).examples

    assert [(row.event_id, row.times[0][0], row.times[0][1].text) for row in events] == [
        ("e1", "happened", "07:49:00 UTC"),
        ("e2", "happened", "07:49:01 UTC"),
    ]
    assert [row.run for row in failing] == ["r1"]


NOT_CLEARED = "No reading since 2027-01-15 07:50:00 UTC has cleared it."


@pytest.mark.parametrize(
    ("state", "ended", "says"),
    [
        ("no_data", None, "No data since 2027-01-15 07:50:00 UTC: r. It stays open until data come again."),
        (
            "recovering",
            None,
            "Recovering since 2027-01-15 07:50:00 UTC: r. It resolves when readings show that it lasts.",
        ),
        (
            "firing",
            Ended(any_kind=0, finished=0, failed=0),
            "Held: no run of orders has ended in the last 10m, so there is no reading that could resolve it.",
        ),
        (
            "firing",
            Ended(any_kind=3, finished=2, failed=1),
            "2 runs of orders ended in the last 10m, 1 failed (50%).",
        ),
        (
            "firing",
            Ended(any_kind=3, finished=1, failed=0),
            "1 run of orders ended in the last 10m, 0 failed (0%).",
        ),
        ("firing", Ended(any_kind=3, finished=0, failed=0), NOT_CLEARED),
        ("firing", None, NOT_CLEARED),
    ],
)
def test_an_open_incident_says_what_keeps_it_open(state: str, ended: Ended | None, says: str) -> None:
    view = IncidentView(replace(OPEN, state=state, latest_reason="r"), [], [], [], ended)

    assert incident_page(view, NOW).standing == says
    assert incident_view_json(view, NOW)["standing"] == says


def test_what_is_counted_wider_than_the_key_says_only_that_there_was_nothing() -> None:
    narrow = replace(OPEN, key={"flow": "orders", "resource.env": "prod"})

    some = incident_page(IncidentView(narrow, [], [], [], Ended(any_kind=9, finished=9, failed=1)), NOW)
    none = incident_page(IncidentView(narrow, [], [], [], Ended(any_kind=0, finished=0, failed=0)), NOW)

    assert (some.standing, none.standing[:9]) == (NOT_CLEARED, "Held: no ")


def test_a_row_of_failures_without_a_window_says_so_and_what_ends_it() -> None:
    row = replace(OPEN, rule_kind="consecutive_failures", window_ms=0, value=3.0, threshold=3.0, samples=3)

    page = incident_page(IncidentView(row, [], [], []), NOW)

    assert page.standing == "A run that ends without failing clears it."
    assert [fact.text for fact in page.facts if fact.name in {"Window", "Value"}] == ["3", "no bound in time"]


def test_an_absence_shows_when_the_last_event_came_and_what_clears_it() -> None:
    silent = replace(OPEN, rule_kind="absence", value=330.5, threshold=300.0, samples=1, examples=[EXAMPLE])

    page = incident_page(IncidentView(silent, [], [], [RUN]), NOW)

    of_run = incident_page(IncidentView(replace(silent, key={"run": "r-1"}), [], [], [RUN]), NOW)

    assert page.standing == "The next event that matches clears it."
    assert of_run.standing == "The next event that matches, or the end of its run, clears it."
    assert [(word, at.text) for row in page.examples for word, at in row.times] == [("last seen", "07:49:00 UTC")]


def test_a_duration_says_what_ends_it_and_of_a_quantile_nothing_that_is_not_sure() -> None:
    long = replace(OPEN, rule_kind="duration", window_ms=0, value=3_700.0, threshold=3_600.0, samples=1)
    of_run, quantile = replace(long, key={"run": "r-1"}), replace(long, window_ms=86_400_000)

    says = [incident_page(IncidentView(each, [], [], [RUN]), NOW).standing for each in (of_run, long, quantile)]

    assert says == ["The end of the run clears it.", "It stays open while a run takes longer than that.", NOT_CLEARED]


def test_a_missed_slot_shows_the_run_before_it_and_what_clears_it() -> None:
    missed = replace(OPEN, rule_kind="missed", value=301.0, threshold=300.0, samples=1, examples=[EXAMPLE])

    page = incident_page(IncidentView(missed, [], [], [RUN]), NOW)

    assert page.standing == "A run for this slot or a later one clears it."
    assert [row.run for row in page.examples] == [EXAMPLE.run]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (2.0, "It stays open for 10m after the last whole sequence."),
        (1.0, "The steps that have not come yet clear it."),
    ],
)
def test_a_sequence_shows_each_of_its_events_and_what_clears_it(value: float, says: str) -> None:
    events = [EXAMPLE, replace(EXAMPLE, event_id="e2")]
    row = replace(OPEN, rule_kind="sequence", window_ms=600_000, value=value, threshold=2.0, examples=events)

    page = incident_page(IncidentView(row, [], [], [RUN]), NOW)

    assert page.standing == says
    assert [(shown.event_id, shown.times[0][0]) for shown in page.examples] == [("e1", "happened"), ("e2", "happened")]


@pytest.mark.parametrize(
    ("kind", "threshold", "says"),
    [("late", 1.0, "1 late run"), ("late", 3.0, "3 late runs"), ("event", 3.0, "3 events")],
)
def test_a_count_that_fires_says_what_it_must_come_down_to(kind: str, threshold: float, says: str) -> None:
    found = replace(LATE, rule_kind=kind, threshold=threshold)

    standing = incident_page(IncidentView(found, [], [], []), NOW).standing

    assert standing == f"It stays open while the last 10m hold {says} or more."


@pytest.mark.parametrize(("counted", "says"), [(10, "1 of 10"), (1, "")])
def test_more_runs_than_are_shown_are_said_with_their_number(counted: int, says: str) -> None:
    view = IncidentView(replace(LATE, samples=counted), [], [], [])

    assert incident_page(view, NOW).example_count == says
    assert incident_view_json(view, NOW)["runs_counted"] == counted


def test_of_a_rate_the_runs_that_failed_are_counted() -> None:
    view = IncidentView(replace(OPEN, examples=[EXAMPLE]), [], [], [])

    assert incident_page(view, NOW).example_count == "1 of 3"


def test_an_event_told_once_has_happened_for_people_and_programs_alike() -> None:
    body = incident_json(POINT)

    assert (body["state"], body["open"], body["summary"]) == ("happened", False, "orders failing")
    assert incident_row(POINT, NOW).state.text == "Happened"


def test_a_resolved_incident_stands_for_nothing() -> None:
    assert incident_page(IncidentView(RESOLVED, [], [], []), NOW).standing == ""


def test_the_title_is_what_the_webhook_of_the_firing_says() -> None:
    key = {"flow": "orders", "resource.env": "prod"}
    template = "{{ flow }} in {{ resource.env }}: {{ value|percent }}, {{ runs }}, {{ state }}"
    incident = replace(OPEN, key=key, summary=template, examples=[EXAMPLE])
    firing = Transition(
        transition_id="t",
        incident_id="i1",
        seq=0,
        tenant="default",
        rule="orders failing",
        rule_kind="failure_rate",
        rules_version=1,
        key=key,
        from_state="inactive",
        to_state="firing",
        at_ms=NOW,
        opened_at_ms=NOW,
        reason="r",
        value=0.6,
        examples=[ExampleRun(EXAMPLE.occurred_us, "e1", "r1", "orders")],
        summary=template,
    )

    assert incident_row(incident, NOW).title == summarize(firing) == "orders in prod: 60%, r1, firing"


def test_a_traceback_is_told_by_its_first_and_last_line() -> None:
    message = "Task failed\nTraceback (most recent call last):\n  File x\nConnectionError: refused\n"

    assert in_short(message) == "Task failed … ConnectionError: refused"
    assert in_short("one line\n") == "one line"


def test_an_incident_as_json_has_the_names_of_the_rule_language() -> None:
    view = IncidentView(replace(OPEN, examples=[EXAMPLE]), [step(0, "firing", NOW)], [told("delivered")], [RUN])

    body = incident_view_json(view, NOW)

    assert msgspec.convert(body, WholeIncident) == body
    assert (body["kind"], body["key"], body["window"]) == ("failure_rate", {"flow": "orders"}, "10m")
    assert body["transitions"][0]["to"] == "firing"
    assert body["deliveries"][0]["at"] == "2027-01-15T08:00:00.000Z"
    assert body["runs"] == [
        {
            **asdict(RUN),
            "event_id": "e1",
            "occurred": "2027-01-15T07:49:00.000Z",
            "late_by_seconds": None,
        }
    ]


HANDLING = Handling(
    (
        Acknowledged(control_id="c1", tenant="default", at_ms=NOW - MINUTE, by="ann", incident_id="i1"),
        Assigned(control_id="c2", tenant="default", at_ms=NOW, by="ann", incident_id="i1", to="bob"),
    ),
    is_cut=True,
)


def test_an_incident_says_on_its_page_who_did_what_the_newest_first() -> None:
    page = incident_page(IncidentView(OPEN, [], [], []), NOW, handling=HANDLING)

    assert page.row.handling == "acknowledged by ann, assigned to bob"
    assert [(act.by, act.says, act.at.ago) for act in page.acts] == [
        ("ann", "assigned it to bob", "just now"),
        ("ann", "acknowledged it", "1 min 0 s ago"),
    ]
    assert page.acts_cut


def test_an_incident_as_json_says_how_it_is_handled_and_who_did_what() -> None:
    body = incident_view_json(IncidentView(OPEN, [], [], []), NOW, handling=HANDLING)

    assert msgspec.convert(body, WholeIncident) == body
    assert body["handling"] == {
        "says": "acknowledged by ann, assigned to bob",
        "acknowledged": {"by": "ann", "at": rfc3339(NOW - MINUTE)},
        "assignee": "bob",
        "resolved_by_hand": None,
        "merged_into": None,
    }
    assert [(act["act"], act["by"], act["to"]) for act in body["acts"]] == [
        ("ack", "ann", None),
        ("assign", "ann", "bob"),
    ]
    assert body["acts_cut"]


def test_health_is_ok_only_without_problems_and_with_a_known_clock() -> None:
    assert health_json(Health(clock_ms=NOW), NOW)["ok"] is True
    assert health_json(Health(clock_ms=NOW, problems={"sink": "disk full"}), NOW)["ok"] is False
    assert health_json(Health(clock_ms=NOW - 10 * MINUTE), NOW)["detection_unknown_since"] is not None


def test_the_overview_counts_what_is_open_and_says_when_nothing_is() -> None:
    asked = Asked(open=[], recent=[], minutes=[], heat=[])

    view = overview(Health(clock_ms=NOW - 1_000), asked, NOW, rules=0)

    assert [(figure.name, figure.value) for figure in view.figures] == [
        ("Open incidents", "0"),
        ("Events per second", "0"),
        ("Detection behind", "1 s"),
        ("Messages owed", "0"),
    ]
    assert view.figures[0].note == "nothing to do"


def test_the_overview_counts_open_incidents_by_severity_the_worst_first() -> None:
    rows = [incident_row(replace(OPEN, severity=severity), NOW) for severity in ("warning", "critical", "warning")]
    asked = Asked(open=rows, recent=[], minutes=[], heat=[])

    view = overview(Health(clock_ms=NOW), asked, NOW, rules=1)

    assert (view.figures[0].value, view.figures[0].note) == ("3", "1 critical, 2 warning")


@pytest.mark.parametrize("summary", ["", "{{ nothing }}", "{{ broken"])
@pytest.mark.parametrize("incident", [OPEN, RESOLVED, POINT])
def test_a_title_without_a_summary_is_the_rule_and_claims_no_present_state(incident: Incident, summary: str) -> None:
    assert incident_row(replace(incident, summary=summary), NOW).title == "orders failing"


def test_two_events_of_one_run_show_its_error_lines_once_and_not_its_state() -> None:
    run = replace(RUN, error_lines=[LogLine(time="2027-01-15T07:49:01Z", level="ERROR", logger="x", message="refused")])
    examples = [EXAMPLE, replace(EXAMPLE, event_id="e2")]

    page = incident_page(IncidentView(replace(POINT, samples=2, examples=examples), [], [], [run]), NOW)

    assert [(row.event_id, len(row.lines), row.state) for row in page.examples] == [("e1", 1, ""), ("e2", 0, "")]

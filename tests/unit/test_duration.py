"""The kind `duration`: runs that take too long, and quantiles of those that finished. Times are seconds after START."""

from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.detection import START_MS, Happening, Line, event_at, records, rules

from flowgauge.processors.kinds import Duration, Window
from flowgauge.processors.kinds.times_taken import rank_of, rounded_us
from flowgauge.processors.kinds.underway import GIVEN_UP_MS, RUNS_MAX
from flowgauge.processors.reading import Verdict
from flowgauge.schemas.event import Event
from flowgauge.schemas.sample import Sample
from flowgauge.schemas.times import EPOCH

RULE = Duration.model_validate({"above": "30s"})
MEDIAN = Duration.model_validate(
    {"above": "20s", "quantile": "50%", "within": "10m", "min_samples": 3, "clear_below": "10s"}
)
DAY_MS = 86_400_000


def event(**fields: object) -> Event:
    base = {"id": UUID(int=1), "tenant": "t", "occurred": EPOCH, "event": "x", "resource": {"id": "r"}}
    return msgspec.convert(base | fields, Event)


def sample(at: float, outcome: str, run: str = "r") -> Sample:
    return Sample(0, 0, 0, ("t",), round(at * 1_000_000), outcome, f"{run}-{at}-{outcome}", run)


def run_of(at: float, seconds: float, run: str) -> list[Sample]:
    return [sample(at, "started", run), sample(at + seconds, "finished", run)]


def median_of(*seconds: float, rule: Duration = MEDIAN) -> Window:
    window = rule.new_window()
    window.add(100_000, [each for number, took in enumerate(seconds) for each in run_of(1, took, str(number))])
    return window


# ── runs that are underway ──


def test_a_run_takes_too_long_once_it_has_run_for_more_than_the_limit() -> None:
    window = RULE.new_window()
    window.add(2_000, [sample(1.5, "started")])

    assert window.next_change_ms() == 32_000
    readings = [window.read(at) for at in (2_000, 31_000, 32_000, 40_000)]

    assert [each.verdict for each in readings] == [Verdict.CLEAR, Verdict.CLEAR, Verdict.BREACH, Verdict.BREACH]
    assert [each.value for each in readings] == [0.5, 29.5, 30.5, 38.5]
    assert [each.samples for each in readings] == [0, 0, 1, 1]
    assert {each.threshold for each in readings} == {30.0}
    assert [run.event_id for run in window.examples()] == ["r-1.5-started"]


def test_a_run_that_takes_exactly_the_limit_is_in_time() -> None:
    window = RULE.new_window()
    window.add(2_000, [sample(1, "started")])
    assert window.read(31_000).verdict is Verdict.CLEAR

    window.add(32_000, [sample(31, "finished")])

    assert window.read(32_000).verdict is Verdict.CLEAR
    assert window.next_change_ms() is None


def test_the_end_clears_and_says_how_long_it_took() -> None:
    window = RULE.new_window()
    window.add(2_000, [sample(1, "started")])
    assert window.read(32_000).verdict is Verdict.BREACH

    window.add(41_000, [sample(40.5, "ended")])

    reading = window.read(41_000)
    assert (reading.verdict, reading.value, reading.reason) == (
        Verdict.CLEAR,
        39.5,
        "the run that took too long has ended",
    )


def test_a_run_that_ends_in_the_pane_in_which_it_passes_its_limit_is_told_for_that_pane() -> None:
    window = RULE.new_window()
    window.add(2_000, [sample(1.5, "started")])

    window.add(32_000, [sample(31.6, "finished")])

    assert [window.read(at).verdict for at in (32_000, 33_000)] == [Verdict.BREACH, Verdict.CLEAR]


def test_a_further_attempt_goes_on_and_a_run_after_its_end_begins_anew() -> None:
    window = RULE.new_window()
    window.add(2_000, [sample(1, "started")])
    window.add(21_000, [sample(20, "started")])
    assert window.read(32_000).verdict is Verdict.BREACH

    window.add(34_000, [sample(33, "ended"), sample(33.5, "started")])

    assert [window.read(at).verdict for at in (34_000, 63_000, 64_000)] == [
        Verdict.CLEAR,
        Verdict.CLEAR,
        Verdict.BREACH,
    ]


def test_of_equal_times_the_end_comes_last() -> None:
    window = RULE.new_window()

    window.add(2_000, [sample(1, "finished"), sample(1, "started")])

    assert window.next_change_ms() is None


def test_an_end_without_a_start_says_nothing() -> None:
    window = RULE.new_window()

    window.add(2_000, [sample(1, "finished")])

    assert (window.read(90_000).verdict, window.next_change_ms()) == (Verdict.CLEAR, None)


def test_of_several_runs_the_longest_is_told_until_none_takes_too_long() -> None:
    window = RULE.new_window()
    window.add(11_000, [sample(1, "started", "a"), sample(5, "started", "b"), sample(10, "started", "c")])
    assert (window.read(40_000).value, window.read(40_000).samples) == (39.0, 2)

    window.add(50_000, [sample(49, "ended", "a"), sample(49, "ended", "c")])

    assert [(each.verdict, each.samples) for each in (window.read(50_000), window.read(51_000))] == [
        (Verdict.BREACH, 3),
        (Verdict.BREACH, 1),
    ]


def test_a_run_whose_end_is_never_told_is_given_up() -> None:
    window = RULE.new_window()
    window.add(2_000, [sample(1, "started")])
    assert window.read(32_000).verdict is Verdict.BREACH

    given_up_ms = window.next_change_ms()

    assert given_up_ms == 32_000 + GIVEN_UP_MS
    assert window.read(given_up_ms - 1_000).verdict is Verdict.BREACH
    reading = window.read(given_up_ms)
    assert (reading.verdict, reading.value) == (Verdict.CLEAR, None)
    assert reading.reason == "no end of the run was told, and it is not watched any longer"
    assert window.next_change_ms() is None


@pytest.mark.parametrize("rule", [RULE, MEDIAN])
def test_more_runs_than_there_is_room_for_are_counted(rule: Duration) -> None:
    window = rule.new_window()

    window.add(2_000, [sample(1, "started", str(number)) for number in range(RUNS_MAX + 2)])
    window.add(3_000, [sample(2, "started", "0")])  # it is underway: nothing new

    assert (window.take_refused(), window.take_refused()) == (2, 0)


# ── quantiles of finished runs ──


def test_a_quantile_above_the_limit_breaches_and_below_the_other_clears() -> None:
    readings = [median_of(5, 50, took).read(600_000) for took in (30.0, 20.0, 10.0, 9.9)]

    assert [each.verdict for each in readings] == [Verdict.BREACH, Verdict.BETWEEN, Verdict.BETWEEN, Verdict.CLEAR]
    assert [each.samples for each in readings] == [3, 3, 3, 3]
    assert readings[1].value == 20.0
    assert readings[0].value == pytest.approx(30, rel=1 / 64)


def test_too_few_runs_hold_and_none_are_no_data() -> None:
    assert median_of(50, 50).read(600_000).verdict is Verdict.HELD
    assert MEDIAN.new_window().read(600_000).verdict is Verdict.EMPTY
    window = median_of(50, 50, 50)
    assert (window.next_change_ms(), window.read(700_000).verdict) == (700_000, Verdict.EMPTY)


def test_a_cancelled_run_ends_and_does_not_count() -> None:
    window = median_of(50, 50, 50)

    window.add(200_000, [sample(101, "started"), sample(102, "ended"), sample(103, "finished")])

    assert window.read(200_000).samples == 3
    assert [run.run for run in window.examples()] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("quantile", "total", "rank"),
    [(0.95, 20, 19), (0.95, 21, 20), (0.5, 3, 2), (0.07, 100, 7), (1.0, 5, 5), (0.01, 5, 1), (0.99, 100, 99)],
)
def test_the_quantile_is_that_of_the_nearest_rank(quantile: float, total: int, rank: int) -> None:
    assert rank_of(quantile, total) == rank


@given(took_us=st.integers(0, 10**13), bounds=st.sets(st.integers(0, 10**13), max_size=3))
def test_rounding_is_small_keeps_the_order_and_crosses_no_bound(took_us: int, bounds: set[int]) -> None:
    ascending = sorted(bounds)
    rounded = rounded_us(took_us, ascending)

    assert took_us <= rounded <= took_us + took_us / 64
    assert rounded <= rounded_us(took_us + 1, ascending)
    assert all((rounded > bound) == (took_us > bound) for bound in bounds)


def test_a_window_stored_and_restored_reads_the_same_and_is_small() -> None:
    long = RULE.new_window()
    long.add(32_000, [sample(1, "started", "a"), sample(31, "started", "b"), sample(31.9, "finished", "a")])
    for rule, window, at in ((RULE, long, 32_000), (MEDIAN, median_of(5, 50, 30), 600_000)):
        restored = rule.load_window(msgspec.msgpack.decode(msgspec.msgpack.encode(window.dump())))

        assert restored.read(at) == window.read(at)
        assert (restored.next_change_ms(), restored.examples()) == (window.next_change_ms(), window.examples())
        assert len(msgspec.msgpack.encode(window.dump())) < 300


# ── rules ──


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"run": "r", "state": "running"}, "started"),
        ({"run": "r", "state": "completed"}, "finished"),
        ({"run": "r", "state": "failed"}, "finished"),
        ({"run": "r", "state": "cancelled"}, "ended"),
        ({"run": "r", "state": "paused"}, None),
        ({"run": "r", "state": "retrying"}, None),
        ({"state": "running"}, None),
        ({"run": "r"}, None),
    ],
)
def test_a_run_begins_with_running_and_ends_with_a_terminal_state(fields: dict[str, str], outcome: str | None) -> None:
    assert RULE.outcome(event(**fields)) == outcome


@pytest.mark.parametrize(
    ("quantile", "min_samples", "note"),
    [
        ("95%", 5, "of fewer than 20 finished runs it is the longest"),
        ("99%", 5, "of fewer than 100 finished runs it is the longest"),
        ("95%", 20, None),
        ("50%", 5, None),
        ("100%", 5, None),
    ],
)
def test_a_quantile_of_few_runs_is_noted_as_the_longest(quantile: str, min_samples: int, note: str | None) -> None:
    fields = {"above": "1m", "quantile": quantile, "within": "1d", "min_samples": min_samples}

    assert Duration.model_validate(fields).notes().get("quantile") == note


LONG = """
rules:
  - name: long
    for_each: [run]
    when: {duration: {above: 30s}}
"""


def told(*happened: tuple[float, str], until: int) -> list[tuple[str, int, float | None]]:
    """Return (state, seconds after START, value) of the transitions of one run's states."""
    line = Line(rules(LONG))
    made = [
        Happening(
            START_MS + round(at * 1000),
            START_MS + round(at * 1000),
            event_at(UUID(int=number + 1), round(at * 1000), state),
        )
        for number, (at, state) in enumerate(happened)
    ]
    line.feed(0, records(made))
    return [(item.to_state, (item.at_ms - START_MS) // 1000, item.value) for item in line.end(START_MS + until * 1000)]


def test_a_run_that_takes_too_long_fires_while_it_runs_and_its_end_resolves_it() -> None:
    assert told((1, "running"), (50.25, "completed"), until=300) == [("firing", 32, 31.0), ("resolved", 51, 49.25)]


def test_a_run_that_ends_in_time_is_never_told() -> None:
    assert told((1, "running"), (31, "failed"), until=300) == []


def test_a_run_that_only_just_takes_too_long_is_told_once() -> None:
    assert told((1.5, "running"), (31.501, "completed"), until=300) == [("firing", 32, 30.001), ("resolved", 33, None)]


def test_a_paused_run_goes_on() -> None:
    states = ((1, "running"), (10, "paused"), (40, "running"), (50, "completed"))

    assert [state for state, _, _ in told(*states, until=300)] == ["firing", "resolved"]


def test_a_log_that_stands_still_raises_nothing() -> None:
    assert told((1, "running"), until=41) == []
    assert told((1, "running"), until=42) == [("firing", 32, 31.0)]


def test_a_run_given_up_resolves_by_itself() -> None:
    days = GIVEN_UP_MS // DAY_MS
    assert [state for state, _, _ in told((1, "running"), until=days * 86_400 + 60)] == ["firing", "resolved"]


# ── ends that come too late: the rule allows 10 s ──


def told_late(*rows: tuple[float, float, str]) -> list[tuple[str, float, float | None]]:
    """Return what a rule tells of a run from rows of (when it happened, when the log got it, state)."""
    happened = [
        Happening(START_MS, START_MS + round(append * 1000), event_at(UUID(int=number), round(at * 1000), state))
        for number, (at, append, state) in enumerate(rows)
    ]
    line = Line(rules("rules: [{name: long, for_each: [run], when: {duration: {above: 30s}}}]"))
    for record in records(happened):
        line.feed(0, [record])
        line.crash()
    return [(each.to_state, (each.at_ms - START_MS) / 1000, each.value) for each in line.end(START_MS + 900_000)]


def test_an_end_that_comes_too_late_ends_the_watch_when_the_log_gets_it() -> None:
    assert told_late((0, 0, "running"), (40, 60.5, "completed")) == [("firing", 31, 31), ("resolved", 61, 40)]
    assert told_late((0, 0, "running"), (20, 60.5, "completed")) == [("firing", 31, 31), ("resolved", 61, None)]
    assert told_late((0, 0, "running"), (5, 20, "completed")) == []


def test_an_attempt_that_began_after_an_end_that_comes_too_late_takes_its_own_time() -> None:
    assert told_late((0, 0, "running"), (20, 20, "running"), (10, 25, "failed")) == [("firing", 51, 31)]
    assert told_late((0, 0, "running"), (20, 20, "running"), (25, 25, "running"), (10, 45, "failed")) == [
        ("firing", 31, 31),
        ("resolved", 46, 26),
        ("firing", 51, 31),
    ]


def test_an_end_that_is_sent_again_too_late_ends_no_attempt_after_it() -> None:
    rows = [(0, 0, "running"), (10, 10, "failed"), (20, 20, "running"), (10, 45, "failed")]

    assert told_late(*rows) == [("firing", 51, 31)]

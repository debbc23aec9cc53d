"""The kind `consecutive_failures`: what a row is, and what ends it. Times are seconds; panes of 1 s."""

from uuid import UUID

import msgspec
import pytest
from tests.property.detection import START_MS, Line, event_at, rules

from flowgauge.processors.kinds import ConsecutiveFailures, Window
from flowgauge.processors.reading import Verdict
from flowgauge.schemas.event import Event, encode_event
from flowgauge.schemas.sample import Sample
from flowgauge.schemas.times import EPOCH
from flowgauge.schemas.topics import RecordKind
from flowgauge.transport.log import Record

ROW = ConsecutiveFailures.model_validate({"times": 3})
LATELY = ConsecutiveFailures.model_validate({"times": 3, "within": "10s"})


def ends(at: int, outcomes: str) -> list[Sample]:
    """Return an end a ms of the pane that ends at `at` s: x failed, o did not."""
    words = {"x": "failed", "o": "finished"}
    begin_us = (at - 1) * 1_000_000
    return [
        Sample(0, 0, 0, ("t",), begin_us + number * 1000, words[outcome], f"{at}-{number}", f"r{at}-{number}")
        for number, outcome in enumerate(outcomes)
    ]


def told(*panes: tuple[int, str], rule: ConsecutiveFailures = ROW) -> Window:
    window = rule.new_window()
    for at, outcomes in panes:
        window.add(at * 1000, ends(at, outcomes))
    return window


@pytest.mark.parametrize(
    ("outcomes", "expected", "length"),
    [
        ("xx", Verdict.BETWEEN, 2),
        ("xxx", Verdict.BREACH, 3),
        ("xxxx", Verdict.BREACH, 4),
        ("xxxo", Verdict.CLEAR, 0),
        ("xxoxx", Verdict.BETWEEN, 2),
        ("oxxx", Verdict.BREACH, 3),
        ("o", Verdict.CLEAR, 0),
    ],
)
def test_so_many_in_a_row_breach_and_one_that_does_not_fail_ends_the_row(
    outcomes: str, expected: Verdict, length: int
) -> None:
    for rule in (ROW, LATELY):
        reading = told((1, outcomes), rule=rule).read(1_000)
        assert (reading.verdict, reading.value, reading.threshold, reading.samples) == (expected, length, 3, length)


def test_a_row_has_no_bound_in_time_without_a_window() -> None:
    window = told((1, "x"), (86_400, "x"), (30 * 86_400, "x"))

    assert window.read(30 * 86_400_000).verdict is Verdict.BREACH
    assert window.read(365 * 86_400_000).verdict is Verdict.BREACH
    assert window.next_change_ms() is None


def test_a_row_that_goes_on_is_kept_and_one_that_ended_is_not() -> None:
    assert [told((1, outcomes)).is_lasting() for outcomes in ("x", "xxx", "xo", "o")] == [True, True, False, False]


def test_the_state_of_a_row_is_small_however_long_it_is() -> None:
    window = told(*((at, "xxxxxxxxxx") for at in range(1, 1_001)))

    assert window.read(1_000_000).value == 10_000
    assert len(msgspec.msgpack.encode(window.dump())) < 300


def test_the_failures_must_lie_in_the_window() -> None:
    window = told((1, "x"), (4, "x"), (11, "x"), rule=LATELY)
    assert window.read(11_000).verdict is Verdict.BETWEEN  # [1, 11) does not hold the pane [0, 1)

    window.add(13_000, ends(13, "x"))
    assert window.read(13_000).verdict is Verdict.BREACH
    assert window.next_change_ms() == 14_000
    assert window.read(14_000).verdict is Verdict.BETWEEN  # the row goes on, further apart


def test_a_window_in_which_nothing_ended_is_empty_and_forgets_the_row() -> None:
    window = told((1, "xxx"), rule=LATELY)
    assert window.next_change_ms() == 11_000

    assert window.read(11_000).verdict is Verdict.EMPTY
    assert (window.next_change_ms(), window.is_lasting(), window.dump()) == (None, False, LATELY.new_window().dump())


def test_a_row_without_any_end_says_nothing() -> None:
    assert ROW.new_window().read(1_000).verdict is Verdict.HELD


def test_examples_are_the_first_of_the_row() -> None:
    window = told((1, "xox"), (2, "xxx"), (9, "xxx"))

    assert [run.event_id for run in window.examples()] == ["1-2", "2-0", "2-1", "2-2", "9-0"]


@pytest.mark.parametrize("rule", [ROW, LATELY])
def test_a_row_stored_and_restored_goes_on(rule: ConsecutiveFailures) -> None:
    window = told((1, "ox"), (5, "x"), rule=rule)

    restored = rule.load_window(msgspec.msgpack.decode(msgspec.msgpack.encode(window.dump())))
    for each in (window, restored):
        each.add(8_000, ends(8, "x"))

    assert (restored.read(8_000), restored.examples()) == (window.read(8_000), window.examples())
    assert restored.next_change_ms() == window.next_change_ms()


@pytest.mark.parametrize(
    ("state", "outcome"),
    [("failed", "failed"), ("crashed", "failed"), ("completed", "finished"), ("cancelled", None), ("running", None)],
)
def test_a_cancelled_run_counts_as_neither(state: str, outcome: str | None) -> None:
    fields = {"id": UUID(int=1), "tenant": "t", "occurred": EPOCH, "event": "x", "resource": {"id": "r"}}

    assert ROW.outcome(msgspec.convert(fields | {"state": state}, Event)) == outcome


def test_panes_are_the_smallest_without_a_window() -> None:
    day = ConsecutiveFailures.model_validate({"times": 3, "within": "1d"})

    assert (ROW.window_ms, ROW.pane_ms, day.window_ms, day.pane_ms) == (0, 1_000, 86_400_000, 720_000)


def end_of_run(offset: int, at: int, state: str, *, append: int | None = None) -> Record:
    """Return the record of an end at `at` s after START, appended then or `append` s after it."""
    value = encode_event(event_at(UUID(int=offset + 1), at * 1000, state))
    return Record(offset, START_MS + (at if append is None else append) * 1000, RecordKind.EVENT, "", value)


IN_A_ROW = "rules: [{name: row, for_each: [flow], when: {consecutive_failures: {times: 3}}}]"


def test_a_row_outlives_months_and_restarts() -> None:
    line = Line(rules(IN_A_ROW))
    month = 30 * 86_400

    for number in range(3):
        line.feed(0, [end_of_run(number, number * month, "failed")])
        line.crash()
    line.feed(0, [end_of_run(3, 3 * month, "completed")])
    found = line.end(START_MS + 3 * month * 1000 + 60_000)

    assert [(item.to_state, item.value, (item.at_ms - START_MS) // 1000) for item in found] == [
        ("firing", 3.0, 2 * month + 1),
        ("resolved", 0.0, 3 * month + 1),
    ]
    assert (line.detector.keys, found[0].window_ms) == (0, 0)  # what ended is forgotten


def test_ends_within_the_lateness_count_in_their_order_and_later_ones_are_told() -> None:
    line = Line(rules(IN_A_ROW))

    made = [(10, "failed", 10), (14, "completed", 14), (11, "failed", 16), (12, "failed", 18), (13, "failed", 40)]
    line.feed(0, [end_of_run(n, at, state, append=append) for n, (at, state, append) in enumerate(made)])
    found = line.end(START_MS + 90_000)

    assert [(item.to_state, (item.at_ms - START_MS) // 1000, item.late_samples) for item in found] == [
        ("firing", 13, 0),
        ("resolved", 15, 0),
    ]


def test_a_late_end_is_told_with_the_row_that_lacks_it() -> None:
    line = Line(rules(IN_A_ROW))

    made = [(1, "completed", 20), (21, "failed", 21), (22, "failed", 22), (23, "failed", 23)]
    line.feed(0, [end_of_run(n, at, state, append=append) for n, (at, state, append) in enumerate(made)])

    assert [(item.to_state, item.late_samples) for item in line.end(START_MS + 90_000)] == [("firing", 1)]

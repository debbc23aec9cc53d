"""The kind `change`: figures of a window against its baseline. Times are minutes; windows of 1 h, panes of 15 min."""

import re
from collections.abc import Sequence
from math import sqrt

import msgspec
import pytest
from pydantic import ValidationError

from flowgauge.processors.kinds import Change, Window
from flowgauge.processors.kinds.underway import RUNS_MAX
from flowgauge.processors.reading import Reading, Verdict
from flowgauge.processors.ruleset import parse_rules
from flowgauge.schemas.sample import Sample

HOUR = 60
WEEK = 7 * 24 * HOUR


def change(of: str, **fields: object) -> Change:
    return Change.model_validate({"of": of, "within": "1h", "trailing": "4h", **fields})


def sample(at: float, outcome: str, name: str, run: str = "r") -> Sample:
    return Sample(0, 0, 0, ("t",), round(at * 60_000_000), outcome, name, run)


def finished(at: int, failed: int, completed: int = 0) -> list[Sample]:
    outcomes = ["failed"] * failed + ["finished"] * completed
    return [sample(at, outcome, f"{at}-{number:04}") for number, outcome in enumerate(outcomes)]


def filled(rule: Change, panes: dict[int, list[Sample]]) -> Window:
    """Return a window to which the pane that ends at each minute was added."""
    window = rule.new_window()
    for end, samples in sorted(panes.items()):
        window.add(end * 60_000, samples)
    return window


def hours(rule: Change, *failed_and_completed: tuple[int, int], stride: int = HOUR) -> Reading:
    """Return the reading after windows with so many failed and completed runs."""
    panes = {
        (1 + number) * stride: finished(1, failed, completed)
        for number, (failed, completed) in enumerate(failed_and_completed)
    }
    # the first pane is known from its own begin on, and so is the whole first window
    window = filled(rule, {stride - 45: finished(1, 0, 1), **panes})
    return window.read(len(failed_and_completed) * stride * 60_000)


def counts(rule: Change, *failures: int, stride: int = HOUR) -> Reading:
    return hours(rule, *((failed, 0) for failed in failures), stride=stride)


def test_it_fires_above_the_baseline_by_factor_and_sigma() -> None:
    rule = change("failures")

    reading = counts(rule, 12, 9, 11, 10, 31)

    spread = sqrt(10.5)  # by chance; the four differ by less
    assert (reading.verdict, reading.value, reading.samples) == (Verdict.BREACH, 31.0, 31)
    assert reading.threshold == pytest.approx(max(21.0, 10.5 + 3 * spread))
    assert counts(rule, 12, 9, 11, 10, 21).verdict is Verdict.CLEAR


def test_a_baseline_that_differs_much_by_itself_allows_more() -> None:
    assert counts(change("failures"), 10, 10, 10, 10, 25).verdict is Verdict.BREACH
    assert counts(change("failures"), 1, 19, 1, 19, 25).verdict is Verdict.CLEAR
    assert counts(change("failures", sigma=0), 1, 19, 1, 19, 25).verdict is Verdict.BREACH


def test_down_is_told_only_where_it_is_asked_for() -> None:
    up, down, both = (change("runs", direction=each) for each in ("up", "down", "both"))

    assert [counts(each, 90, 100, 110, 100, 2).verdict for each in (up, down, both)] == [
        Verdict.CLEAR,
        Verdict.BREACH,
        Verdict.BREACH,
    ]
    assert [counts(each, 90, 100, 110, 100, 300).verdict for each in (up, down, both)] == [
        Verdict.BREACH,
        Verdict.CLEAR,
        Verdict.BREACH,
    ]
    assert counts(down, 90, 100, 110, 100, 2).threshold == pytest.approx(50, rel=0.01)


def test_nothing_any_more_is_a_count_of_0() -> None:
    window = filled(change("runs", direction="down"), {each * 15: finished(1, 0, 25) for each in range(1, 17)})

    readings = [window.read(at * 60_000) for at in (4 * HOUR, 5 * HOUR)]

    assert [(each.verdict, each.value) for each in readings] == [(Verdict.CLEAR, 100.0), (Verdict.BREACH, 0.0)]


def test_a_small_count_beside_a_small_baseline_is_clear() -> None:
    assert counts(change("failures", sigma=0), 1, 1, 1, 1, 9).verdict is Verdict.CLEAR
    assert counts(change("failures", sigma=0), 1, 1, 1, 1, 10).verdict is Verdict.BREACH


def test_the_share_of_failures_is_compared_and_too_few_runs_hold() -> None:
    rule = change("failure_rate")
    before = ((2, 18), (1, 19), (2, 18), (1, 19))

    assert hours(rule, *before, (12, 8)).verdict is Verdict.BREACH
    assert hours(rule, *before, (12, 8)).value == 0.6
    assert hours(rule, *before, (2, 8)).verdict is Verdict.CLEAR  # by chance, of ten runs
    assert hours(rule, *before, (9, 0)).verdict is Verdict.HELD
    assert hours(rule, *before, (0, 0)).verdict is Verdict.EMPTY


def test_windows_of_too_few_runs_are_not_in_the_baseline_of_a_share() -> None:
    reading = hours(change("failure_rate"), (2, 18), (1, 2), (2, 18), (1, 19), (12, 8))

    assert (reading.verdict, reading.reason) == (Verdict.HELD, "fewer than 4 windows to compare with")


def test_before_a_baseline_is_known_nothing_fires() -> None:
    assert counts(change("failures"), 10, 10, 10, 100).verdict is Verdict.CLEAR
    late = filled(change("failures"), {15: finished(1, 1), 300: finished(1, 100)})
    assert late.read(300 * 60_000).verdict is Verdict.BREACH  # four windows of one failure, or of none
    early = filled(change("failures"), {30: finished(1, 1), 300: finished(1, 100)})
    assert early.read(300 * 60_000).verdict is Verdict.CLEAR  # the first of them was not seen whole


def test_where_many_windows_have_too_few_runs_an_alert_is_held_and_what_is_forgotten_holds_nothing() -> None:
    few = filled(change("failure_rate"), {each * HOUR: finished(1, 1 if each < 8 else 50) for each in range(1, 9)})
    forgotten = filled(change("failure_rate"), {15: finished(1, 1)})
    forgotten.read((15 + 5 * HOUR) * 60_000)
    forgotten.add(6 * HOUR * 60_000, finished(1, 50))

    assert few.read(8 * HOUR * 60_000).verdict is Verdict.HELD
    assert forgotten.read(6 * HOUR * 60_000).verdict is Verdict.CLEAR


@pytest.mark.parametrize("min_windows", [2, 4, 31, 32, 500])
def test_of_a_window_too_long_for_any_baseline_it_says_what_to_write(min_windows: int) -> None:
    with pytest.raises(ValidationError, match="`within` is too long") as refused:
        change("failures", within="31d", trailing="31d", min_windows=min_windows)

    (told,) = refused.value.errors()
    found = re.search(r"write (\w+) with `trailing: (\w+)`", told["msg"])
    assert found
    assert change("failures", within=found[1], trailing=found[2], min_windows=min_windows).windows == min_windows


def test_without_trailing_it_is_compared_with_the_same_time_of_four_weeks() -> None:
    rule = Change.model_validate({"of": "failures", "within": "1h"})
    quiet = {4 * WEEK + 2 * HOUR - 180: finished(1, 100)}  # another hour
    panes = {HOUR + week * WEEK: finished(1, 30 if week < 4 else 65) for week in range(5)}

    assert filled(rule, {15: finished(1, 1), **panes}).read((4 * WEEK + HOUR) * 60_000).verdict is Verdict.BREACH
    assert filled(rule, {**panes, **quiet}).read((4 * WEEK + HOUR) * 60_000).verdict is Verdict.CLEAR  # three weeks


def test_mean_times_of_runs_are_compared() -> None:
    rule = change("duration", min_samples=2, min_windows=3)  # the first window is not seen whole

    def window(*minutes: int) -> Window:
        panes: dict[int, list[Sample]] = {}
        for hour, took in enumerate(minutes):
            end = (hour + 1) * HOUR
            panes[end - 45] = [sample(end - 50, "started", f"{hour}-s{run}", f"{hour}-{run}") for run in "ab"]
            panes[end] = [sample(end - 50 + took, "finished", f"{hour}-e{run}", f"{hour}-{run}") for run in "ab"]
        return filled(rule, panes)

    slow, usual = window(10, 11, 10, 11, 30), window(10, 11, 10, 11, 20)
    reading = slow.read(5 * HOUR * 60_000)

    assert (reading.verdict, reading.value, reading.samples) == (Verdict.BREACH, 1800.0, 2)
    assert usual.read(5 * HOUR * 60_000).verdict is Verdict.CLEAR
    assert [run.run for run in slow.examples()] == ["4-a", "4-b"]


def test_it_is_read_at_each_pane_while_it_remembers_any_and_then_forgets_all() -> None:
    window = filled(change("failures"), {15: finished(1, 3)})

    assert window.read(15 * 60_000).value == 3.0
    assert window.next_change_ms() == 30 * 60_000
    window.read((15 + 5 * HOUR) * 60_000)
    assert window.next_change_ms() is None
    assert not window.is_lasting()


def test_more_runs_than_there_is_room_for_are_counted() -> None:
    window = change("duration").new_window()

    window.add(900_000, [sample(1, "started", str(number), str(number)) for number in range(RUNS_MAX + 2)])

    assert (window.take_refused(), window.take_refused()) == (2, 0)


@pytest.mark.parametrize("of", ["failures", "duration"])
def test_a_window_stored_and_restored_reads_the_same(of: str) -> None:
    rule = change(of)
    panes: Sequence[list[Sample]] = [
        [*finished(each, 2, 1), sample(each, "started", f"s{each}", str(each))] for each in range(1, 10)
    ]
    window = filled(rule, {(1 + number) * 30: samples for number, samples in enumerate(panes)})
    at = 4 * HOUR * 60_000
    window.read(at)

    restored = rule.load_window(msgspec.msgpack.decode(msgspec.msgpack.encode(window.dump())))

    assert (restored.next_change_ms(), restored.examples()) == (window.next_change_ms(), window.examples())
    assert [restored.read(at + each * 900_000) for each in range(8)] == [
        window.read(at + each * 900_000) for each in range(8)
    ]


def test_four_busy_weeks_are_stored_small() -> None:
    window = Change.model_validate({"of": "failures", "within": "1h"}).new_window()
    for end in range(15_000_000, 15_000_000 + 15 * 2_692, 15):
        window.add(end * 60_000, finished(end - 1, 20, 20))
        window.read(end * 60_000)

    assert len(msgspec.msgpack.encode(window.dump())) < 12_000


def test_a_rule_looks_at_the_events_its_figure_is_made_of() -> None:
    def states(of: str) -> set[str | None] | None:
        text = f"rules: [{{name: a, for_each: [flow], when: {{change: {{of: {of}, within: 1h}}}}}}]"
        found = parse_rules("rules.yaml", text).rules[0].kind.states
        return None if found is None else set(found)

    assert states("events") is None
    assert states("failures") == {"completed", "failed", "crashed"}
    assert states("duration") == {"running", "completed", "failed", "crashed", "cancelled"}

"""The kind `failure_rate`: what counts, when it breaches, when it is held. Panes of 1 s, a window of 10 s."""

from uuid import UUID

import msgspec
import pytest

from flowgauge.processors.kinds import FailureRate
from flowgauge.processors.kinds.failure_rate import wilson_lower_end
from flowgauge.processors.reading import Verdict
from flowgauge.schemas.event import Event
from flowgauge.schemas.sample import Sample
from flowgauge.schemas.times import EPOCH

FIELDS = {"above": "20%", "within": "10s", "min_samples": 5, "clear_below": "10%"}
RULE = FailureRate.model_validate(FIELDS)


def samples(failed: int, finished: int) -> list[Sample]:
    outcomes = ["failed"] * failed + ["finished"] * (finished - failed)
    return [Sample(0, 0, 0, ("t",), number, outcome, f"{number:02}") for number, outcome in enumerate(outcomes)]


def verdict(failed: int, finished: int, rule: FailureRate = RULE) -> Verdict:
    window = rule.new_window()
    window.add(1_000, samples(failed, finished))
    return window.read(1_000).verdict


@pytest.mark.parametrize(
    ("failed", "finished", "expected"),
    [
        (0, 0, Verdict.EMPTY),
        (4, 4, Verdict.HELD),  # fewer than 5
        (1, 5, Verdict.BETWEEN),  # 20 % is not above 20 %
        (2, 5, Verdict.BREACH),
        (1, 10, Verdict.BETWEEN),  # 10 % is not below 10 %
        (1, 11, Verdict.CLEAR),
        (0, 5, Verdict.CLEAR),
    ],
)
def test_above_is_more_than_and_clear_is_less_than(failed: int, finished: int, expected: Verdict) -> None:
    assert verdict(failed, finished) is expected


def test_without_clear_below_it_is_clear_when_it_is_no_longer_above() -> None:
    rule = FailureRate.model_validate({"above": "20%", "within": "10s"})

    assert verdict(1, 5, rule) is Verdict.CLEAR


def test_the_window_holds_its_start_and_not_its_end() -> None:
    window = RULE.new_window()
    window.add(1_000, samples(5, 5))
    window.add(5_000, samples(0, 5))

    #  the pane [0, 1) is in every window up to [0, 10), which is read at 10 s
    assert [window.read(at).value for at in (5_000, 10_000, 11_000, 15_000)] == [0.5, 0.5, 0.0, None]
    assert window.next_change_ms() is None


def test_it_says_when_its_oldest_pane_leaves() -> None:
    window = RULE.new_window()
    window.add(3_000, samples(1, 1))

    assert window.next_change_ms() == 13_000


def test_a_window_stored_and_restored_reads_the_same() -> None:
    window = RULE.new_window()
    window.add(1_000, samples(2, 5))
    window.add(2_000, samples(1, 5))

    restored = RULE.load_window(msgspec.msgpack.decode(msgspec.msgpack.encode(window.dump())))

    assert [restored.read(at) for at in (2_000, 11_000, 12_000)] == [window.read(at) for at in (2_000, 11_000, 12_000)]


def test_examples_are_the_five_earliest_failed_runs() -> None:
    window = RULE.new_window()
    window.add(1_000, samples(4, 6))
    window.add(2_000, samples(4, 6))

    assert [run.event_id for run in window.examples()] == ["00", "00", "01", "01", "02"]


@pytest.mark.parametrize(
    ("state", "outcome"),
    [("failed", "failed"), ("crashed", "failed"), ("completed", "finished"), ("cancelled", None), ("running", None)],
)
def test_failed_and_crashed_are_failures_and_cancelled_is_neither(state: str, outcome: str | None) -> None:
    fields = {"id": UUID(int=1), "tenant": "t", "occurred": EPOCH, "event": "x", "resource": {"id": "r"}}
    event = msgspec.convert(fields | {"state": state}, Event)

    assert RULE.outcome(event) == outcome


def test_what_counts_as_failure_can_be_written() -> None:
    rule = FailureRate.model_validate(FIELDS | {"failures": ["cancelled"], "finished": ["cancelled", "completed"]})

    assert rule.states == frozenset[str | None]({"cancelled", "completed"})


GUARDED = FailureRate.model_validate(FIELDS | {"min_samples": 1, "guard": "wilson"})


@pytest.mark.parametrize(
    ("failed", "finished", "lower_end"),
    [(81, 263, 0.2553), (15, 148, 0.0624), (0, 20, 0.0), (1, 29, 0.0061)],
)
def test_the_lower_end_is_that_of_published_intervals(failed: int, finished: int, lower_end: float) -> None:
    """Newcombe, Two-Sided Confidence Intervals for the Single Proportion (1998), table I, method 3."""
    assert round(wilson_lower_end(failed, finished), 4) == lower_end


@pytest.mark.parametrize(
    ("failed", "finished", "expected"),
    [
        (0, 0, Verdict.EMPTY),
        (1, 1, Verdict.BREACH),  # 21 % … 100 %
        (1, 3, Verdict.BETWEEN),  # 6 % … 79 %
        (2, 5, Verdict.BETWEEN),
        (3, 5, Verdict.BREACH),  # 23 % … 88 %
        (7, 20, Verdict.BETWEEN),  # 18 % … 57 %
        (8, 20, Verdict.BREACH),  # 22 % … 61 %
        (1, 5, Verdict.BETWEEN),  # not above at all
        (0, 5, Verdict.CLEAR),
    ],
)
def test_a_guarded_rate_breaches_only_where_chance_is_ruled_out(failed: int, finished: int, expected: Verdict) -> None:
    assert verdict(failed, finished, GUARDED) is expected


def test_a_guard_keeps_the_minimum_and_how_it_clears() -> None:
    more = FailureRate.model_validate({"above": "20%", "within": "10s", "min_samples": 4, "guard": "wilson"})

    assert [verdict(3, 3, more), verdict(3, 4, more), verdict(1, 4, more)] == [
        Verdict.HELD,
        Verdict.BREACH,
        Verdict.BETWEEN,
    ]
    assert verdict(1, 5, more) is Verdict.CLEAR  # 20 % is not above 20 %


@pytest.mark.parametrize("above", ["0%", "5%", "20%", "50%", "80%", "95%", "99%"])
def test_the_smallest_count_that_can_fire_is_the_first_that_does(above: str) -> None:
    rule = FailureRate.model_validate({"above": above, "within": "10s", "min_samples": 1, "guard": "wilson"})

    first = next(count for count in range(1, 1_000) if verdict(count, count, rule) is Verdict.BREACH)

    assert rule.smallest_samples == first

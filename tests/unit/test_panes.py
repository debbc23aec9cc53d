"""Panes: their size for a window, and where they lie."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgauge.processors.panes import PANES_MAX, pane_end, pane_end_at_or_after, pane_ms


@pytest.mark.parametrize(
    ("within_ms", "pane"),
    [
        (600_000, 5_000),  # 10 m in 120 panes
        (60_000, 1_000),  # never under 1 s
        (1_000, 1_000),
        (1_500, 1_500),  # no whole part of it is 1 s or more
        (7_001, 7_001),  # 7,001 = 7,001 × 1: a prime has no other part
        (31 * 86_400_000, 22_320_000),
    ],
)
def test_a_pane_is_the_smallest_whole_part_of_the_window_that_is_not_too_small(within_ms: int, pane: int) -> None:
    assert pane_ms(within_ms) == pane


@given(st.integers(1_000, 31 * 86_400_000))
def test_panes_fill_the_window_and_are_at_most_120(within_ms: int) -> None:
    pane = pane_ms(within_ms)

    assert within_ms % pane == 0
    assert pane >= 1_000
    assert within_ms // pane <= PANES_MAX


def test_a_pane_holds_its_start_and_not_its_end() -> None:
    #  [4000, 5000) [5000, 6000)
    assert [pane_end(moment, 1_000) for moment in (4_999, 5_000, 5_999)] == [5_000, 6_000, 6_000]


def test_a_timer_runs_out_at_the_first_pane_end_not_before_it() -> None:
    assert [pane_end_at_or_after(moment, 1_000) for moment in (4_999, 5_000, 5_001)] == [5_000, 5_000, 6_000]

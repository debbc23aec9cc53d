"""What is a crash loop, and what the faults themselves explain."""

from functools import reduce

import pytest
from tests.torture.lives import LOOP_ENDS, Life, ends_in_a_row

FENCED = "Kafka at x: cannot read: another process has taken over (UnknownMemberIdError), or this one stood still"
EVICTED = "group g goes on without us: another process took over, or this one was silent for 6000 ms; it ends"


def life(code: int = 1, said: str = "boom", lived_s: float = 1.0, *, frozen: bool = False, by_us: bool = False) -> Life:
    return Life("sink-1", code, said, lived_s, was_frozen=frozen, by_us=by_us)


def in_a_row(*lives: Life) -> int:
    return reduce(ends_in_a_row, lives, 0)


@pytest.mark.parametrize("said", ["boom", FENCED, EVICTED])
def test_starts_that_come_to_nothing_by_themselves_are_a_crash_loop(said: str) -> None:
    assert in_a_row(*[life(said=said)] * 4) == LOOP_ENDS


def test_a_crash_by_a_signal_counts_as_one_with_an_exit_code() -> None:
    assert in_a_row(*[life(code=-11)] * 4) == LOOP_ENDS


@pytest.mark.parametrize("said", [FENCED, EVICTED])
def test_a_frozen_process_that_its_group_put_out_is_no_part_of_a_loop(said: str) -> None:
    assert in_a_row(*[life(said=said, frozen=True)] * 9) == 0


def test_a_frozen_process_that_ends_for_another_reason_is_part_of_a_loop() -> None:
    assert in_a_row(*[life(frozen=True)] * 4) == LOOP_ENDS


def test_a_former_owner_put_out_does_not_excuse_the_starts_after_it() -> None:
    assert in_a_row(life(said=FENCED, frozen=True), *[life(said=FENCED)] * 4) == LOOP_ENDS


def test_ends_with_kills_between_them_are_not_in_a_row() -> None:
    assert in_a_row(*[life(said=EVICTED), life(code=-9, by_us=True, lived_s=60.0)] * 9) == 0


def test_a_start_while_the_broker_is_away_neither_counts_nor_ends_a_row() -> None:
    away = life(code=3, said="cannot connect")

    assert in_a_row(*[away] * 9) == 0
    assert in_a_row(life(), away, life(), away, life(), life()) == LOOP_ENDS


def test_a_steady_life_begins_the_row_anew() -> None:
    assert in_a_row(life(), life(), life(), life(lived_s=20.0)) == 1

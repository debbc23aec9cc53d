"""Silence with records waiting is a standstill only when nothing moved between two looks."""

import pytest

from flowgauge.schemas.errors import StoodStill
from flowgauge.transport.kafka_standstill import LOOK_S, SILENCE_S, Standstill


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def standstill(clock: Clock) -> Standstill:
    return Standstill(clock)


def test_a_look_is_due_after_silence_and_not_after_records(standstill: Standstill, clock: Clock) -> None:
    assert not standstill.is_to_be_looked_at()
    clock.now_s += SILENCE_S
    assert standstill.is_to_be_looked_at()
    standstill.end()
    assert not standstill.is_to_be_looked_at()


def test_a_place_that_has_not_moved_before_its_end_between_two_looks_is_a_standstill(
    standstill: Standstill, clock: Clock
) -> None:
    clock.now_s += SILENCE_S
    standstill.look({0: (5, 5), 1: (7, 9)}, "group sink")
    assert not standstill.is_to_be_looked_at()
    clock.now_s += LOOK_S

    with pytest.raises(StoodStill, match="group sink gets nothing of partition 1 though it stands at 7 of 12"):
        standstill.look({0: (5, 5), 1: (7, 12)}, "group sink")


@pytest.mark.parametrize("later", [(8, 12), (9, 9)])
def test_what_moved_or_has_nothing_before_it_does_not_stand_still(
    standstill: Standstill, later: tuple[int, int]
) -> None:
    standstill.look({1: (7, 9)}, "group sink")
    standstill.look({1: later}, "group sink")


def test_records_in_between_begin_anew(standstill: Standstill) -> None:
    standstill.look({1: (7, 9)}, "group sink")
    standstill.end()
    standstill.look({1: (7, 9)}, "group sink")

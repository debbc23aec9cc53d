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


def test_a_look_is_due_at_a_partition_that_was_silent_and_not_at_others(standstill: Standstill, clock: Clock) -> None:
    assert standstill.to_be_looked_at([0, 1]) == []
    clock.now_s += SILENCE_S - 1
    standstill.note([0])
    clock.now_s += 1
    assert standstill.to_be_looked_at([0, 1]) == [1]
    assert standstill.to_be_looked_at([0, 1]) == []
    clock.now_s += LOOK_S
    assert standstill.to_be_looked_at([0, 1]) == [0, 1]
    standstill.begin()
    clock.now_s += LOOK_S
    assert standstill.to_be_looked_at([0, 1]) == []


def test_a_place_that_has_not_moved_before_its_end_between_two_looks_is_a_standstill(standstill: Standstill) -> None:
    standstill.look({0: (5, 5), 1: (7, 9)}, "group sink")

    with pytest.raises(StoodStill, match="group sink gets nothing of partition 1 though it stands at 7 of 12"):
        standstill.look({0: (5, 5), 1: (7, 12)}, "group sink")


@pytest.mark.parametrize("later", [(8, 12), (9, 9)])
def test_what_moved_or_has_nothing_before_it_does_not_stand_still(
    standstill: Standstill, later: tuple[int, int]
) -> None:
    standstill.look({1: (7, 9)}, "group sink")
    standstill.look({1: later}, "group sink")


def test_a_look_that_learnt_nothing_begins_anew(standstill: Standstill) -> None:
    standstill.look({1: (7, 9)}, "group sink")
    standstill.look({}, "group sink")
    standstill.look({1: (7, 9)}, "group sink")

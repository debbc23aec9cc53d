"""One history goes every way to the same transitions, word for word; and a difference is found."""

from pathlib import Path

import pytest
from benchmarks.rules import fifty_rules
from tests.equality.__main__ import compare_all
from tests.equality.comparison import Said, differences, lines_of
from tests.equality.day import day_lines
from tests.equality.histories import EXTRACTS, write_history

from flowgauge.processors.replay import Replay
from flowgauge.schemas.transition import Transition

DAY_EVENTS = 20_000


def small_day() -> list[Transition]:
    lines = list(day_lines(DAY_EVENTS, only_runs=True))
    return list(Replay(lambda: lines, fifty_rules()).transitions())


def test_a_day_is_the_same_each_time_and_in_the_order_of_its_append() -> None:
    lines = list(day_lines(2_000))
    appends = [int(line.removeprefix(b'{"_append":').partition(b",")[0]) for line in lines]

    assert lines == list(day_lines(2_000))
    assert appends == sorted(appends)


def test_what_is_lost_doubled_or_changed_on_a_way_is_told() -> None:
    lines = lines_of(small_day())
    one, two, *rest = lines

    assert differences(Said(lines, 0), Said(lines[::-1], 0)) == {}
    assert differences(Said(lines, 0), Said([two, *rest], 0)) == {
        "missing": 1,
        "unexpected": 0,
        "examples": [one.decode()],
    }
    assert differences(Said(lines, 0), Said([one, one, two, *rest], 0))["unexpected"] == 1
    assert differences(Said(lines, 0), Said([one.replace(b"firing", b"pending"), two, *rest], 0))["missing"] == 1


@pytest.mark.integration
@pytest.mark.timeout(900)
def test_replay_embedded_log_and_kafka_with_one_and_with_three_detectors_say_the_same(
    kafka: str, tmp_path: Path
) -> None:
    history = write_history(tmp_path, DAY_EVENTS, EXTRACTS, only_runs=True)

    report = compare_all(history, tmp_path, kafka)

    assert report.differences == {}
    assert sum(report.states.values()) > 400

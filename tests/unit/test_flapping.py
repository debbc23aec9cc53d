"""What flaps: which incidents follow each other too soon, and what would have made one of them."""

from collections.abc import Sequence
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from flowgauge.console.web.words import flapping_words
from flowgauge.schemas.flapping import (
    FLAP_MS,
    FLAPPING_MIN,
    FLAPPING_SPAN_MS,
    FLAPS_MAX,
    Flapping,
    Lived,
    flapping_among,
)

MINUTE = 60_000


def lived(*spans: tuple[int, int], recovering_ms: int = 0) -> list[Lived]:
    """Return incidents that fired and ended at these times; 0 of one that is open."""
    return [
        Lived(f"i{number}", fired_ms, fired_ms, max(0, ended_ms - recovering_ms) if ended_ms else 0, ended_ms)
        for number, (fired_ms, ended_ms) in enumerate(spans)
    ]


def flapping_of(found: Sequence[Lived], incident_id: str) -> Flapping | None:
    return flapping_among(found, {incident_id}).get(incident_id)


def test_three_incidents_with_short_pauses_flap_from_the_third_on() -> None:
    found = lived((0, 40_000), (10 * MINUTE, 11 * MINUTE), (20 * MINUTE, 0))

    assert [flapping_of(found, each.incident_id) for each in found] == [
        None,
        None,
        Flapping(incidents=3, span_ms=20 * MINUTE, shortest_ms=40_000, keep_firing_for_ms=10 * MINUTE),
    ]


def test_a_longer_pause_begins_anew_and_one_of_the_very_length_does_not() -> None:
    at_bound = lived((0, 1), (1 + FLAP_MS, 2 + FLAP_MS), (2 + 2 * FLAP_MS, 0))
    past_it = lived((0, 1), (2 + FLAP_MS, 3 + FLAP_MS), (3 + 2 * FLAP_MS, 0))

    assert flapping_of(at_bound, "i2") is not None
    assert flapping_of(past_it, "i2") is None


def test_an_incident_of_more_than_a_day_before_does_not_count() -> None:
    long = [(0, FLAPPING_SPAN_MS - 10), (FLAPPING_SPAN_MS - 5, FLAPPING_SPAN_MS - 4)]

    assert flapping_of(lived(*long, (FLAPPING_SPAN_MS, 0)), "i2") is not None
    assert flapping_of(lived(*long, (FLAPPING_SPAN_MS + 1, 0)), "i2") is None


def test_a_recovery_that_was_not_long_enough_counts_to_the_time_it_was_clear() -> None:
    """With `keep_firing_for: 8m` and pauses of 5 minutes the value was clear for 13."""
    found = lived((0, 9 * MINUTE), (14 * MINUTE, 23 * MINUTE), (28 * MINUTE, 0), recovering_ms=8 * MINUTE)

    flapping = flapping_of(found, "i2")

    assert flapping is not None
    assert flapping.keep_firing_for_ms == 15 * MINUTE


def test_what_fires_after_an_edit_of_the_rule_ended_an_incident_is_no_flap() -> None:
    found = lived((0, 40_000), (10 * MINUTE, 11 * MINUTE), (20 * MINUTE, 21 * MINUTE))
    edited = [found[0], found[1]._replace(by_edit=True), found[2]]
    last = [*found[:2], found[2]._replace(ended_ms=found[2].fired_ms + 1, by_edit=True)]

    assert flapping_of(edited, "i2") is None
    told = flapping_of(last, "i2")
    assert told is not None
    assert (told.incidents, told.shortest_ms) == (3, 40_000)


def test_the_day_is_the_one_before_it_opened_however_long_it_then_waited_to_fire() -> None:
    first, second, last = lived((0, FLAPPING_SPAN_MS - 10), (FLAPPING_SPAN_MS - 5, FLAPPING_SPAN_MS - 4), (0, 0))
    waited = last._replace(opened_ms=FLAPPING_SPAN_MS, fired_ms=FLAPPING_SPAN_MS + MINUTE)

    assert flapping_of([first, second, waited], "i2") is not None
    assert flapping_of([first, second, waited._replace(opened_ms=FLAPPING_SPAN_MS + 1)], "i2") is None


def test_of_a_long_row_the_last_count() -> None:
    found = lived(*((at * 2_000, at * 2_000 + 1_000) for at in range(FLAPS_MAX + 5)))

    told = flapping_of(found, f"i{FLAPS_MAX + 4}")

    assert told is not None
    assert told.incidents == FLAPS_MAX


def test_it_is_said_with_what_would_damp_it() -> None:
    said = flapping_words(Flapping(incidents=5, span_ms=7_200_000, shortest_ms=40_000, keep_firing_for_ms=600_000))

    assert said == "flapping: 5 incidents in 2 h 0 min, shortest 40 s; consider `keep_firing_for: 10m`"


histories = st.lists(st.tuples(st.integers(1, 2 * FLAP_MS), st.integers(1, FLAP_MS)), min_size=1, max_size=12)


@given(histories, st.randoms(use_true_random=False))
def test_it_tells_the_flaps_that_end_with_the_incident_whatever_their_order(
    pauses: Sequence[tuple[int, int]], random: Random
) -> None:
    spans: list[tuple[int, int]] = []
    at_ms = 0
    for pause_ms, length_ms in pauses:
        spans.append((at_ms + pause_ms, at_ms + pause_ms + length_ms))
        at_ms = spans[-1][1]
    found = lived(*spans)
    last = found[-1].incident_id
    flaps = 0
    while flaps < len(pauses) - 1 and pauses[-1 - flaps][0] <= FLAP_MS:
        flaps += 1
    random.shuffle(found)

    flapping = flapping_of(found, last)

    if flaps + 1 < FLAPPING_MIN:
        assert flapping is None
    else:
        row = pauses[-1 - flaps :]
        assert flapping is not None
        assert flapping.incidents == flaps + 1
        assert flapping.shortest_ms == min(length_ms for _, length_ms in row)
        assert flapping.keep_firing_for_ms > max(pause_ms for pause_ms, _ in row[1:])

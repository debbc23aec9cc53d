"""Laws of the comparison: each incident is told of once at most, itself is no difference, and it reads both ways."""

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.test_backtest import lived

from flowgauge.processors.backtest import Found, Interval, differences, found_in

UNTIL_MS = 1_000
MIRRORED = {
    "more": "fewer",
    "fewer": "more",
    "earlier": "later",
    "later": "earlier",
    "longer": "shorter",
    "shorter": "longer",
}


@st.composite
def histories(draw: st.DrawFn, name: str) -> Found:
    """Draw incidents of one key as a detector makes them: one after the other, the last perhaps open."""
    moments = sorted(draw(st.sets(st.integers(0, UNTIL_MS), max_size=12)))
    shared = draw(st.booleans())  # ids are of the moment of opening: those of both rule sets may be the same
    spans = [
        (f"{'' if shared else name}{fired}", fired, ended)
        for fired, ended in zip(moments[::2], [*moments[1::2], None], strict=False)
    ]
    return found_in(lived(*spans))


def moments(found: Found) -> list[set[int]]:
    """Return the moments of each incident, its ends included."""
    return [set(range(each.fired_ms, each.last_ms(UNTIL_MS) + 1)) for each in found.intervals]


@given(histories("a"), histories("b"))
def test_each_incident_is_told_of_once_at_most_and_only_what_meets_is_compared(one: Found, other: Found) -> None:
    told = differences(one, other, UNTIL_MS)

    for side, found in (([each.interval for each in told], one), ([each.against for each in told], other)):
        ids = [each.told.incident_id for each in side if each]
        assert len(ids) == len(set(ids))
        assert set(ids) <= {each.told.incident_id for each in found.intervals}
    for each in told:
        if each.interval and each.against:
            (ours,), (theirs,) = moments(Found([each.interval])), moments(Found([each.against]))
            assert ours & theirs


@given(histories("a"), histories("b"))
def test_what_meets_nothing_of_the_other_is_more_or_fewer(one: Found, other: Found) -> None:
    told = differences(one, other, UNTIL_MS)
    mine, others = moments(one), moments(other)

    more = {each.interval.told.incident_id for each in told if each.what == "more" and each.interval}
    fewer = {each.against.told.incident_id for each in told if each.what == "fewer" and each.against}
    alone = {
        each.told.incident_id
        for each, span in zip(one.intervals, mine, strict=True)
        if not any(span & theirs for theirs in others)
    }
    assert alone <= more
    assert len(one.intervals) - len(more) == len(other.intervals) - len(fewer)


@given(histories("a"), histories("b"))
def test_it_reads_both_ways(one: Found, other: Found) -> None:
    told = {(each.what, name(each.interval), name(each.against)) for each in differences(one, other, UNTIL_MS)}
    back = {
        (MIRRORED[each.what], name(each.against), name(each.interval)) for each in differences(other, one, UNTIL_MS)
    }

    assert told == back


def name(interval: Interval | None) -> str:
    return interval.told.incident_id if interval else ""


@given(histories("a"))
def test_nothing_differs_from_itself(one: Found) -> None:
    assert differences(one, one, UNTIL_MS) == []

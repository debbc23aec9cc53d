"""The chance of a pattern against the exact one, counted case by case, and what may not change it."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import product
from math import comb
from random import Random
from typing import TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from flowgauge.sinks.clickhouse.patterns import Examined, FlowHours, examine, patterns

Rows: TypeAlias = list[tuple[int, int, int]]  # hour, finished, failed
Ends: TypeAlias = list[tuple[int, int]]  # finished and failed of the hours of a stretch that have runs
Distribution: TypeAlias = dict[Fraction, Fraction]
FIRST = 24 * 20_720
DAYS_MAX = 5


@st.composite
def rows(draw: st.DrawFn) -> Rows:
    """Draw some days of a flow that runs at up to four hours, and mostly fails at the first of them."""
    chosen = draw(st.lists(st.integers(0, 23), min_size=2, max_size=4, unique=True))
    found: Rows = []
    for day in range(draw(st.integers(3, DAYS_MAX))):
        for hour in chosen:
            finished = draw(st.integers(0, 3))
            fails = draw(st.sampled_from((0, 1, 2, 3) if hour == chosen[0] else (0, 0, 0, 1)))
            if finished:
                found.append((FIRST + 24 * day + hour, finished, min(finished, fails)))
    return found or [(FIRST, 1, 0)]


def flow(found: Iterable[tuple[int, int, int]], name: str = "f") -> FlowHours:
    hours, finished, failed = zip(*found, strict=True)
    return FlowHours(name, hours, finished, failed)


def turned(ends: Ends, middle: int) -> tuple[Fraction, Distribution]:
    """Return the share of the middle, and those as the stretch goes round by each number of its hours."""
    rates = [Fraction(failed, finished) for finished, failed in ends]
    shares = [rate / sum(rates) for rate in rates]
    return shares[middle], {share: Fraction(times, len(shares)) for share, times in Counter(shares).items()}


def dealt(ends: Ends, middle: int) -> tuple[Fraction, Distribution]:
    """Return the share of the middle, and those as the failures are dealt to the finished runs."""
    finished, failed = sum(n for n, _ in ends), sum(k for _, k in ends)
    there = ends[middle][0]
    deals = {k: comb(there, k) * comb(finished - there, failed - k) for k in range(failed + 1) if k <= there}
    return Fraction(ends[middle][1], failed), {
        Fraction(k, failed): Fraction(ways, comb(finished, failed)) for k, ways in deals.items()
    }


def exact_chance(found: Rows, slot: int, spread: Callable[[Ends, int], tuple[Fraction, Distribution]]) -> Fraction:
    """Count how likely the sum of the shares of `slot` is to be what it is or more."""
    ends = {hour: (finished, failed) for hour, finished, failed in found}
    sums, observed = {Fraction(0): Fraction(1)}, Fraction(0)
    for middle in range(FIRST + slot, FIRST + DAYS_MAX * 24, 24):
        around = [hour for hour in range(middle - 12, middle + 12) if hour in ends]
        if middle not in around or not any(ends[hour][1] for hour in around):
            continue
        share, one = spread([ends[hour] for hour in around], around.index(middle))
        observed += share
        grown: defaultdict[Fraction, Fraction] = defaultdict(Fraction)
        for (so_far, likely), (more, how_likely) in product(sums.items(), one.items()):
            grown[so_far + more] += likely * how_likely
        sums = grown
    return sum((likely for total, likely in sums.items() if total >= observed), Fraction(0))


@given(rows())
def test_the_bound_is_never_below_the_exact_chance_of_either_kind(found: Rows) -> None:
    for each in examine(flow(found)).found:
        if each.kind == "hour":
            exact = max(exact_chance(found, each.slot, turned), exact_chance(found, each.slot, dealt))
            assert each.chance >= float(exact) - 1e-9
            assert each.chance <= 1


@given(rows(), st.randoms())
def test_the_order_of_the_hours_and_how_they_are_split_changes_nothing(found: Rows, chance: Random) -> None:
    split = [part for hour, finished, failed in found for part in ((hour, finished, 0), (hour, 0, failed))]
    chance.shuffle(split)

    whole, parts = examine(flow(found)), examine(flow(split))

    assert (parts.tried, parts.found) == (whole.tried, whole.found)


@given(rows(), st.integers(1, 60))
def test_the_same_weeks_later_show_the_same_hours_and_weekdays(found: Rows, weeks: int) -> None:
    later = [(hour + 168 * weeks, finished, failed) for hour, finished, failed in found]

    before, after = (
        [each for each in examine(flow(ends)).found if each.kind != "day of month"] for ends in (found, later)
    )

    assert after == before


@given(st.integers(0, 23), st.lists(st.integers(0, 5), min_size=3, max_size=40))
def test_a_flow_that_runs_at_one_hour_only_has_no_hour_of_failures(hour: int, failed: list[int]) -> None:
    found = [(FIRST + 24 * day + hour, 5, count) for day, count in enumerate(failed)]

    assert [each for each in examine(flow(found)).found if each.kind == "hour"] == []


@given(rows(), st.lists(rows(), max_size=3))
def test_more_flows_make_no_hour_stand_out_that_did_not_alone(found: Rows, others: list[Rows]) -> None:
    one = examine(flow([(hour + 168 * week, n, k) for week in range(4) for hour, n, k in found]))
    more = [examine(flow(other, f"other {number}")) for number, other in enumerate(others)]

    def standing(*flows: Examined) -> set[int]:
        return {slot for each in patterns(flows) if (each.flow, each.kind) == ("f", "hour") for slot in each.slots}

    assert standing(one, *more) <= standing(one)
